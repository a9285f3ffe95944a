package rotation

import (
	"fmt"
	"time"

	"intaglio.example/backends"
	"intaglio.example/keyring"
)

// The functions below write one step into a copy of a ring's record. Each is one Swap; none of them does anything else.

func reserve(r *keyring.Ring, cs keyring.Cutoffs, now time.Time) keyring.Ring {
	next := r.Clone()
	if home := cs.Home(r); home != r.Backend {
		next.Backend = home // what people see, and what outlasts the cutoff
	}
	next.Keys = append(next.Keys, keyring.Key{
		Serial: r.NextSerial, Nonce: keyring.NewNonce(), State: keyring.Reserved,
		Backend: next.Backend, Algorithm: r.Algorithm, Scope: r.Scope, Created: now,
	})
	next.NextSerial++
	return next
}

func stage(r *keyring.Ring, serial uint64, m backends.Minted, now time.Time) (keyring.Ring, error) {
	next := r.Clone()
	k := next.Key(serial)
	if m.Protection < r.MinProtection {
		return next, fmt.Errorf("%w: backend %s gives %s, and ring %s asks for %s", backends.ErrTooWeak, k.Backend, m.Protection, r.Name, r.MinProtection)
	}
	k.State, k.Staged = keyring.Staged, now
	k.Ref, k.Kid, k.PublicKey, k.Protection = m.Ref, m.Public.Kid(), m.Public.PKIX(), m.Protection
	// A clock may be behind ours by the skew; a successor that a cutoff promotes must not have to wait for it.
	k.Window.NotBefore = seconds(now.Add(-r.Rotation.Skew))
	k.Window.SignUntil = seconds(now.Add(r.Rotation.Propagation + r.Rotation.Lifetime))
	k.Window.VerifyUntil = verifyUntil(r, k)
	return next, nil
}

func activate(r *keyring.Ring, cs keyring.Cutoffs, serial uint64, now time.Time) keyring.Ring {
	next := r.Clone()
	for i := range next.Keys {
		old := &next.Keys[i]
		switch {
		case old.State != keyring.Active:
		case cs.Fell(r, old) != nil:
			old.State, old.Revoked = keyring.Revoked, now
		default:
			old.State, old.Retiring = keyring.Retiring, now
		}
	}
	k := next.Key(serial)
	k.State, k.Activated = keyring.Active, now
	if until := seconds(now.Add(r.Rotation.Lifetime)); until.Before(k.Window.SignUntil) {
		k.Window.SignUntil = until
		k.Window.VerifyUntil = verifyUntil(r, k)
	}
	return next
}

// change writes one of the moves that need nothing but the time.
func change(r *keyring.Ring, s Step, now time.Time) keyring.Ring {
	next := r.Clone()
	k := next.Key(s.Serial)
	switch s.Kind {
	case Revoke:
		k.State, k.Revoked = keyring.Revoked, now
	case Unpublish:
		k.State, k.Retired = keyring.Retired, now
	case Condemn:
		k.Destroy = now
	case Destroy:
		k.Destroyed = now
	case Forget:
		kept := next.Keys[:0]
		for _, k := range next.Keys {
			if k.Serial != s.Serial {
				kept = append(kept, k)
			}
		}
		next.Keys = kept
	}
	return next
}

// verifyUntil is when the last token of k has expired on every clock.
func verifyUntil(r *keyring.Ring, k *keyring.Key) time.Time {
	return seconds(k.Window.SignUntil.Add(k.Scope.MaxTTL + 2*r.Rotation.Skew))
}

func seconds(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }
