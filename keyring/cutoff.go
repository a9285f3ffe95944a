package keyring

import (
	"fmt"
	"slices"
	"time"
)

// ScopeKind is what a cutoff reaches. The zero value is invalid.
type ScopeKind uint8

const (
	// All is every key of the store.
	All ScopeKind = iota + 1
	// OneIssuer is every key of one issuer.
	OneIssuer
	// OneRing is every key of one ring.
	OneRing
	// OneKey is one key.
	OneKey
	// OneBackend is every key of one backend.
	OneBackend
)

var scopeNames = []string{"", "all", "issuer", "ring", "key", "backend"}

func (k ScopeKind) String() string { return nameOf(scopeNames, uint8(k)) }

// MarshalText writes the kind's name.
func (k ScopeKind) MarshalText() ([]byte, error) { return marshalName("scope", scopeNames, uint8(k)) }

// UnmarshalText reads a kind's name.
func (k *ScopeKind) UnmarshalText(b []byte) error {
	return unmarshalName("scope", scopeNames, (*uint8)(k), b)
}

// Reach is a cutoff's scope: a kind, and the name of the issuer, ring, key or backend (empty for [All]).
type Reach struct {
	Kind ScopeKind `json:"kind"`
	Name string    `json:"name,omitempty"`
}

func (r Reach) String() string {
	if r.Kind == All {
		return "all"
	}
	return r.Kind.String() + " " + r.Name
}

// Covers reports whether key k of ring is within reach, however old it is.
func (r Reach) Covers(ring *Ring, k *Key) bool {
	switch r.Kind {
	case OneKey:
		return r.Name == KeyID(ring.Name, k.Serial)
	case OneBackend:
		return r.Name == k.Backend
	default:
		return r.coversRing(ring)
	}
}

func (r Reach) coversRing(ring *Ring) bool {
	switch r.Kind {
	case All:
		return true
	case OneIssuer:
		return r.Name == ring.Issuer()
	case OneRing:
		return r.Name == ring.Name
	}
	return false
}

func (r Reach) validate() error {
	var err error
	switch r.Kind {
	case All:
		if r.Name != "" {
			err = fmt.Errorf("%w: scope all takes no name, got %q", ErrInvalid, r.Name)
		}
	case OneRing:
		_, _, err = SplitRing(r.Name)
	case OneKey:
		_, _, err = SplitKey(r.Name)
	case OneIssuer, OneBackend:
		if !ValidID(r.Name) {
			err = fmt.Errorf("%w: %s %q is not a valid name", ErrInvalid, r.Kind, r.Name)
		}
	default:
		err = fmt.Errorf("%w: a cutoff without a scope", ErrInvalid)
	}
	return err
}

// Cutoff revokes every key in reach that was reserved at or below its line, the revision of its own write, except keys
// reserved by the same operation. It is never lowered or deleted.
type Cutoff struct {
	Operation string    `json:"operation"` // unique; raising the same operation again changes nothing
	Reach     Reach     `json:"reach"`
	Into      string    `json:"into,omitempty"` // backend in which the rings in reach mint their next key; empty leaves it to the ring
	Reason    string    `json:"reason"`
	Actor     string    `json:"actor"` // who asked for it
	Time      time.Time `json:"time"`
	Revision  Revision  `json:"-"` // its line, stamped by the store
}

// Validate reports what is wrong with a cutoff about to be raised.
func (c Cutoff) Validate() error {
	if c.Operation == "" || c.Reason == "" {
		return fmt.Errorf("%w: a cutoff needs an operation and a reason", ErrInvalid)
	}
	if c.Into != "" && !ValidID(c.Into) {
		return fmt.Errorf("%w: into %q is not a backend's name", ErrInvalid, c.Into)
	}
	if c.Into != "" && c.Reach == (Reach{OneBackend, c.Into}) {
		return fmt.Errorf("%w: backend %s cannot be revoked into itself", ErrInvalid, c.Into)
	}
	return c.Reach.validate()
}

// Fells reports whether c revokes key k of ring.
func (c *Cutoff) Fells(ring *Ring, k *Key) bool {
	return k.Reserved <= c.Revision && c.Reach.Covers(ring, k) && (k.Operation == "" || k.Operation != c.Operation)
}

// Cutoffs are all cutoffs of a store, oldest first.
type Cutoffs []Cutoff

// Fell returns the newest cutoff that revokes key k of ring, or nil. A key in the state [Revoked] may have been felled
// by none: its record alone says so.
func (cs Cutoffs) Fell(ring *Ring, k *Key) *Cutoff {
	// A key is felled only by cutoffs at or above its own line, and live keys are young: the walk is short.
	for i := len(cs) - 1; i >= 0 && cs[i].Revision >= k.Reserved; i-- {
		if cs[i].Fells(ring, k) {
			return &cs[i]
		}
	}
	return nil
}

// Revoked reports whether k is dead by its record or by a cutoff.
func (cs Cutoffs) Revoked(ring *Ring, k *Key) bool {
	return k.State == Revoked || cs.Fell(ring, k) != nil
}

// Home is the backend in which ring mints its next key: the ring's own, unless newer cutoffs that reach it say into. They
// are followed in their order: a ring that was sent from one backend to a second is then reached by a cutoff of the second.
func (cs Cutoffs) Home(ring *Ring) string {
	from := len(cs)
	for from > 0 && cs[from-1].Revision > ring.BackendSet {
		from--
	}
	home := ring.Backend
	for i := range cs[from:] {
		if c := &cs[from+i]; c.Into != "" && c.Reach.rehomes(ring, home) {
			home = c.Into
		}
	}
	return home
}

func (r Reach) rehomes(ring *Ring, home string) bool {
	switch r.Kind {
	case OneKey:
		name, _, err := SplitKey(r.Name)
		return err == nil && name == ring.Name
	case OneBackend:
		return r.Name == home
	default:
		return r.coversRing(ring)
	}
}

// Since returns a cutoff raised after asOf that concerns ring, or nil: one that reaches its keys, those it may get in its
// backend, or its home. A plan for ring made as of then may be wrong. Cutoffs of other rings change nothing for this one.
func (cs Cutoffs) Since(asOf Revision, ring *Ring) *Cutoff {
	for i := len(cs) - 1; i >= 0 && cs[i].Revision > asOf; i-- {
		if r := cs[i].Reach; r.rehomes(ring, ring.Backend) || slices.ContainsFunc(ring.Keys, func(k Key) bool { return r.Covers(ring, &k) }) {
			return &cs[i]
		}
	}
	return nil
}
