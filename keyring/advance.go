package keyring

import (
	"fmt"
	"time"
)

// Advance checks that a ring may change from old (nil when it is new) to next in the write at revision rev, under every
// cutoff raised so far, and returns next as it is to be kept, with reservations and the backend stamped. It refuses
// what no correct program asks for: vanished records, backward or felled moves, a second active key, a second
// unrevoked successor. Every store calls it inside the write's transaction; it is pure.
func Advance(old *Ring, next Ring, cs Cutoffs, t Timing, rev Revision) (Ring, error) {
	next = next.Clone()
	next.Revision = rev
	if old == nil {
		old = &Ring{Name: next.Name, Scope: next.Scope, Created: next.Created, Request: next.Request, NextSerial: 1}
	}
	if err := next.Validate(t); err != nil {
		return Ring{}, err
	}
	if old.Name != next.Name || old.Scope.Typ != next.Scope.Typ || old.Scope.Usage != next.Scope.Usage ||
		!old.Created.Equal(next.Created) || old.Request != next.Request {
		return Ring{}, fmt.Errorf("%w: ring %s: name, typ, usage and origin never change", ErrRefused, next.Name)
	}
	if err := stampBackend(old, &next, rev); err != nil {
		return Ring{}, err
	}
	if err := advanceKeys(old, &next, cs, rev); err != nil {
		return Ring{}, err
	}
	return next, checkRoles(&next, cs)
}

// stampBackend dates the choice of backend, so that an older cutoff's into gives way to it.
func stampBackend(old, next *Ring, rev Revision) error {
	if next.Backend != old.Backend || next.BackendSet == 0 {
		next.BackendSet = rev
		return nil
	}
	if next.BackendSet != old.BackendSet {
		return fmt.Errorf("%w: ring %s: the revision of its backend setting was changed", ErrRefused, next.Name)
	}
	return nil
}

func advanceKeys(old, next *Ring, cs Cutoffs, rev Revision) error {
	if next.NextSerial < old.NextSerial {
		return fmt.Errorf("%w: ring %s: serials never run backwards", ErrRefused, next.Name)
	}
	for i := range next.Keys {
		k := &next.Keys[i]
		if i > 0 && k.Serial <= next.Keys[i-1].Serial {
			return fmt.Errorf("%w: ring %s: keys are not in the order of their serials", ErrRefused, next.Name)
		}
		before := old.Key(k.Serial)
		var err error
		if before == nil {
			err = checkReservation(old, next, k)
			k.Reserved = rev
		} else {
			err = checkStep(old, before, k, cs)
		}
		if err != nil {
			return fmt.Errorf("key %s: %w", KeyID(next.Name, k.Serial), err)
		}
	}
	for i := range old.Keys {
		if k := &old.Keys[i]; next.Key(k.Serial) == nil && !(k.Dead() && !k.Destroyed.IsZero()) {
			return fmt.Errorf("%w: key %s: its record vanished before it was dead and destroyed", ErrRefused, KeyID(next.Name, k.Serial))
		}
	}
	return nil
}

func checkReservation(old, next *Ring, k *Key) error {
	blank := Key{
		Serial: k.Serial, Nonce: k.Nonce, State: Reserved, Operation: k.Operation,
		Backend: k.Backend, Algorithm: k.Algorithm, Scope: k.Scope, Created: k.Created,
	}
	switch {
	case k.Serial < old.NextSerial || k.Serial >= next.NextSerial:
		return fmt.Errorf("%w: serial %d is not a new one", ErrRefused, k.Serial)
	case len(k.Nonce) != 32 || !ValidID(k.Backend) || k.Algorithm == "" || k.Created.IsZero():
		return fmt.Errorf("%w: a reservation needs a nonce, a backend, an algorithm and a time", ErrInvalid)
	case !sameRecord(k, &blank):
		return fmt.Errorf("%w: a new record is a reservation and nothing more", ErrRefused)
	}
	return nil
}

// checkStep holds one key's record against the one before it.
func checkStep(ring *Ring, before, k *Key, cs Cutoffs) error {
	if !sameOrigin(before, k) {
		return fmt.Errorf("%w: what a key was reserved with never changes", ErrRefused)
	}
	if !before.State.mayBecome(k.State) {
		return fmt.Errorf("%w: %s never becomes %s", ErrRefused, before.State, k.State)
	}
	if c := cs.Fell(ring, before); c != nil && k.State != before.State && k.State != Revoked {
		return fmt.Errorf("%w: the cutoff at revision %d revoked it; it cannot become %s", ErrRefused, c.Revision, k.State)
	}
	if before.State == Retiring && k.State == Retired && before.Retain {
		return fmt.Errorf("%w: it is retained and cannot be unpublished", ErrRefused)
	}
	if err := checkMinting(before, k); err != nil {
		return err
	}
	return checkEnd(before, k)
}

// checkMinting lets what staging proves be written once, and windows only shrink after.
func checkMinting(before, k *Key) error {
	if before.State == Reserved && k.State == Staged {
		if k.Ref == "" || k.Kid == "" || len(k.PublicKey) == 0 || k.Protection == 0 || k.Staged.IsZero() {
			return fmt.Errorf("%w: a staged key needs a ref, a kid, a public key, a proven protection and a time", ErrInvalid)
		}
		return k.Window.validate()
	}
	if k.Ref != before.Ref || k.Kid != before.Kid || string(k.PublicKey) != string(before.PublicKey) ||
		k.Protection != before.Protection || !k.Staged.Equal(before.Staged) {
		return fmt.Errorf("%w: what minting proved never changes", ErrRefused)
	}
	if before.Window == k.Window {
		return nil
	}
	if !k.Window.NotBefore.Equal(before.Window.NotBefore) || k.Window.SignUntil.After(before.Window.SignUntil) || k.Window.VerifyUntil.After(before.Window.VerifyUntil) {
		return fmt.Errorf("%w: a window may only be shortened", ErrRefused)
	}
	return k.Window.validate()
}

// checkEnd guards the order intent, then destruction, and that retain and the intent exclude each other.
func checkEnd(before, k *Key) error {
	switch {
	case !before.Destroy.IsZero() && !k.Destroy.Equal(before.Destroy):
		return fmt.Errorf("%w: the intent to destroy is never taken back", ErrRefused)
	case !k.Destroy.IsZero() && (!k.Dead() || k.Retain):
		return fmt.Errorf("%w: only a retired or revoked key that is not retained may be destroyed", ErrRefused)
	case !k.Destroyed.IsZero() && before.Destroy.IsZero():
		return fmt.Errorf("%w: destroyed before the intent was recorded", ErrRefused)
	case !before.Destroyed.IsZero() && k.Destroyed.Before(before.Destroyed):
		return fmt.Errorf("%w: a destruction is never taken back", ErrRefused)
	}
	return nil
}

// checkRoles refuses a second active key and a second unrevoked successor.
func checkRoles(r *Ring, cs Cutoffs) error {
	var active, successors []uint64
	for i := range r.Keys {
		k := &r.Keys[i]
		if k.State == Active {
			active = append(active, k.Serial)
		}
		if k.Successor() && !cs.Revoked(r, k) {
			successors = append(successors, k.Serial)
		}
	}
	if len(active) > 1 {
		return fmt.Errorf("%w: ring %s would have two active keys, %v", ErrRefused, r.Name, active)
	}
	if len(successors) > 1 {
		return fmt.Errorf("%w: ring %s would have two successors, %v", ErrRefused, r.Name, successors)
	}
	return nil
}

func sameOrigin(a, b *Key) bool {
	return a.Serial == b.Serial && a.Nonce == b.Nonce && a.Reserved == b.Reserved && a.Operation == b.Operation &&
		a.Backend == b.Backend && a.Algorithm == b.Algorithm && a.Scope.Equal(b.Scope) && a.Created.Equal(b.Created)
}

func sameRecord(a, b *Key) bool {
	times := func(k *Key) [6]time.Time {
		return [6]time.Time{k.Staged, k.Activated, k.Retiring, k.Retired, k.Revoked, k.Destroy}
	}
	return sameOrigin(a, b) && a.State == b.State && a.Ref == b.Ref && a.Kid == b.Kid && string(a.PublicKey) == string(b.PublicKey) &&
		a.Protection == b.Protection && a.Window == b.Window && times(a) == times(b) && a.Retain == b.Retain && a.Destroyed.Equal(b.Destroyed)
}
