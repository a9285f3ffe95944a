package keyring

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Audiences says whom tokens may be meant for. The zero value allows nobody.
type Audiences struct {
	Exact    []string `json:"exact,omitempty"`
	Prefixes []string `json:"prefixes,omitempty"`
	Any      bool     `json:"any,omitempty"` // written out on purpose: ID tokens name a client_id, and clients register all day
}

// Allows reports whether aud is one of the audiences. It does not allocate.
func (a Audiences) Allows(aud string) bool {
	if a.Any || slices.Contains(a.Exact, aud) {
		return true
	}
	return slices.ContainsFunc(a.Prefixes, func(p string) bool { return strings.HasPrefix(aud, p) })
}

// maxAudiences and maxAudience, in bytes, bound a scope: every key record and key set carries a copy.
const (
	maxAudiences = 256
	maxAudience  = 512
)

func (a Audiences) validate() error {
	if a.Any == (len(a.Exact)+len(a.Prefixes) > 0) {
		return fmt.Errorf("%w: audiences must be either a list of exact values and prefixes, or any", ErrInvalid)
	}
	for _, aud := range slices.Concat(a.Exact, a.Prefixes) {
		if len(aud) > maxAudience {
			return fmt.Errorf("%w: audience %.40q… is longer than %d bytes", ErrInvalid, aud, maxAudience)
		}
	}
	if n := len(a.Exact) + len(a.Prefixes); n > maxAudiences {
		return fmt.Errorf("%w: %d audiences; at most %d, as every key carries a copy. Split the ring, or use prefixes", ErrInvalid, n, maxAudiences)
	}
	if slices.Contains(a.Exact, "") || slices.Contains(a.Prefixes, "") {
		return fmt.Errorf("%w: an audience is empty; to allow every audience write any", ErrInvalid)
	}
	return nil
}

// Scope is what a key may sign. A key carries the copy it was reserved with.
type Scope struct {
	Typ       string        `json:"typ"` // JOSE header typ, such as at+jwt
	Usage     Usage         `json:"usage"`
	Audiences Audiences     `json:"audiences"`
	MaxTTL    time.Duration `json:"max_ttl"` // longest exp − iat
}

// Equal reports whether two scopes allow the same.
func (s Scope) Equal(t Scope) bool {
	return s.Typ == t.Typ && s.Usage == t.Usage && s.MaxTTL == t.MaxTTL && s.Audiences.Any == t.Audiences.Any &&
		slices.Equal(s.Audiences.Exact, t.Audiences.Exact) && slices.Equal(s.Audiences.Prefixes, t.Audiences.Prefixes)
}

// Window is when a key may be used, in whole seconds of UTC. It is set at staging and may only be shortened after.
type Window struct {
	NotBefore   time.Time `json:"not_before"`
	SignUntil   time.Time `json:"sign_until"`   // nothing signs at or after it, even if rotation is dead
	VerifyUntil time.Time `json:"verify_until"` // no token of the key is alive at or after it
}

func (w Window) validate() error {
	for _, t := range []time.Time{w.NotBefore, w.SignUntil, w.VerifyUntil} {
		if t.IsZero() || t.Nanosecond() != 0 || t.Location() != time.UTC {
			return fmt.Errorf("%w: window bound %v is not a whole second of UTC", ErrInvalid, t)
		}
	}
	if !w.NotBefore.Before(w.SignUntil) || w.VerifyUntil.Before(w.SignUntil) {
		return fmt.Errorf("%w: window %v .. %v .. %v runs backwards", ErrInvalid, w.NotBefore, w.SignUntil, w.VerifyUntil)
	}
	return nil
}

// Allows reports whether a key with this window may sign at t. It only ever vetoes a signer; it never makes one.
func (w Window) Allows(t time.Time) bool { return !t.Before(w.NotBefore) && t.Before(w.SignUntil) }
