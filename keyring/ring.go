package keyring

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"time"
)

// Issuer is a token authority with one published JWK Set.
type Issuer struct {
	Name     string    `json:"name"`
	URL      string    `json:"url"` // the iss claim, byte for byte; never changes
	Request  string    `json:"request,omitempty"`
	Created  time.Time `json:"created"`
	Revision Revision  `json:"-"`
}

// Validate reports what is wrong with an issuer. Its URL is https without query or fragment (RFC 8414, section 2), or
// http on a loopback host.
func (i *Issuer) Validate() error {
	if !ValidID(i.Name) {
		return fmt.Errorf("%w: issuer name %q does not match %s", ErrInvalid, i.Name, idPattern)
	}
	u, err := url.Parse(i.URL)
	loopback := err == nil && (u.Hostname() == "localhost" || u.Hostname() == "127.0.0.1" || u.Hostname() == "::1")
	if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil || u.Scheme != "https" && !(u.Scheme == "http" && loopback) {
		return fmt.Errorf("%w: issuer URL %q must be https, with a host and without query, fragment or user", ErrInvalid, i.URL)
	}
	return nil
}

// Rotation is when a ring's keys change.
type Rotation struct {
	Lifetime    time.Duration `json:"lifetime"`    // the longest a key signs: a hard cap
	Propagation time.Duration `json:"propagation"` // how long a key is published before it signs
	Skew        time.Duration `json:"skew"`        // the most by which any two clocks differ
}

// Ring is a named line of keys of which at most one signs. Name, Typ and Usage never change; Algorithm, Backend and
// MinProtection take effect with the next key.
type Ring struct {
	Name          string            `json:"name"` // issuer/ring
	Scope         Scope             `json:"scope"`
	Algorithm     string            `json:"algorithm"`
	Backend       string            `json:"backend"`
	BackendSet    Revision          `json:"backend_set"` // revision at which Backend was last set; zero asks the store to stamp it
	MinProtection Protection        `json:"min_protection"`
	DefaultTTL    time.Duration     `json:"default_ttl"`
	Rotation      Rotation          `json:"rotation"`
	Labels        map[string]string `json:"labels,omitempty"`
	Request       string            `json:"request,omitempty"` // id of the request that made the ring
	Created       time.Time         `json:"created"`
	NextSerial    uint64            `json:"next_serial"`
	Keys          []Key             `json:"keys"` // by serial; destroyed keys move to the archive
	Revision      Revision          `json:"-"`    // of its last write, stamped by the store
}

// Issuer is the name of the ring's issuer.
func (r *Ring) Issuer() string {
	issuer, _, _ := SplitRing(r.Name)
	return issuer
}

// Key returns the key with the given serial, or nil. The pointer is into r.
func (r *Ring) Key(serial uint64) *Key {
	i, ok := slices.BinarySearchFunc(r.Keys, serial, func(k Key, s uint64) int { return cmp.Compare(k.Serial, s) })
	if !ok {
		return nil
	}
	return &r.Keys[i]
}

// Clone returns a copy that shares nothing a caller would write to.
func (r *Ring) Clone() Ring {
	c := *r
	c.Keys = slices.Clone(r.Keys)
	c.Labels = maps.Clone(r.Labels)
	return c
}

// Signer returns the key of r that signs under cs: the active key unless it is revoked, else the ring's one unrevoked
// staged successor, else nil. It is a pure function of what the store holds: time may veto its answer
// ([Window.Allows]) but never chooses another key.
func Signer(r *Ring, cs Cutoffs) *Key {
	var successor *Key
	for i := range r.Keys {
		k := &r.Keys[i]
		if (k.State == Active || k.State == Staged) && !cs.Revoked(r, k) {
			if k.State == Active {
				return k
			}
			successor = k
		}
	}
	return successor
}

// Validate reports what is wrong with a ring's settings under the store's timing.
func (r *Ring) Validate(t Timing) error {
	if _, _, err := SplitRing(r.Name); err != nil {
		return err
	}
	if r.Scope.Typ == "" || r.Scope.Usage == 0 || r.Algorithm == "" || !ValidID(r.Backend) || r.MinProtection == 0 {
		return fmt.Errorf("%w: ring %s needs a typ, a usage, an algorithm, a backend and a minimum protection", ErrInvalid, r.Name)
	}
	if err := r.Scope.Audiences.validate(); err != nil {
		return fmt.Errorf("ring %s: %w", r.Name, err)
	}
	if r.DefaultTTL < time.Second || r.Scope.MaxTTL < r.DefaultTTL || r.DefaultTTL%time.Second != 0 || r.Scope.MaxTTL%time.Second != 0 {
		return fmt.Errorf("%w: ring %s: default TTL %v and max TTL %v must be whole seconds, 1 s ≤ default ≤ max", ErrInvalid, r.Name, r.DefaultTTL, r.Scope.MaxTTL)
	}
	return r.Rotation.validate(r.Name, t)
}

func (p Rotation) validate(ring string, t Timing) error {
	if p.Skew < 0 || p.Skew > 10*time.Minute {
		return fmt.Errorf("%w: ring %s: skew %v is not within 0 .. 10 min", ErrInvalid, ring, p.Skew)
	}
	if least := t.Lead(p.Skew); p.Propagation < least {
		return fmt.Errorf("%w: ring %s: propagation %v is shorter than snapshot TTL %v + shared caches %v + key set max-age %v + skew %v = %v",
			ErrInvalid, ring, p.Propagation, t.SnapshotTTL, t.SharedCaches, t.MaxAge, p.Skew, least)
	}
	if p.Lifetime < 2*p.Propagation || p.Lifetime < 8*p.Skew {
		return fmt.Errorf("%w: ring %s: lifetime %v is shorter than twice the propagation %v or eight times the skew %v", ErrInvalid, ring, p.Lifetime, p.Propagation, p.Skew)
	}
	return nil
}

// Timing is the store's own clockwork, the same for every replica, set when the store is made.
type Timing struct {
	SnapshotTTL  time.Duration `json:"snapshot_ttl"`  // how long a replica may sign from one snapshot
	SharedCaches time.Duration `json:"shared_caches"` // how long caches between us and verifiers keep a key set beyond its max-age
	MaxAge       time.Duration `json:"max_age"`       // Cache-Control max-age of the JWK Set
}

// DefaultTiming suits a fleet: 15 s snapshots and key sets good for a minute.
func DefaultTiming() Timing { return Timing{SnapshotTTL: 15 * time.Second, MaxAge: time.Minute} }

// Lead is the least time that a key must be published before it signs, given the greatest difference between clocks.
func (t Timing) Lead(skew time.Duration) time.Duration {
	return t.SnapshotTTL + t.SharedCaches + t.MaxAge + skew
}

// Validate reports what is wrong with a store's timing.
func (t Timing) Validate() error {
	if t.SnapshotTTL < time.Second || t.SnapshotTTL > 5*time.Minute || t.MaxAge < time.Second || t.MaxAge > 24*time.Hour || t.SharedCaches < 0 {
		return fmt.Errorf("%w: snapshot TTL %v must be 1 s .. 5 min, key set max-age %v 1 s .. 24 h, shared caches %v not negative", ErrInvalid, t.SnapshotTTL, t.MaxAge, t.SharedCaches)
	}
	return nil
}
