package keyring

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Verb is what a grant allows. The zero value is invalid.
type Verb uint8

const (
	// Sign is asking for tokens.
	Sign Verb = iota + 1
	// Verify is reading key sets over gRPC.
	Verify
	// Operate is looking at rings, rotating them, and retaining keys.
	Operate
	// Respond is revoking.
	Respond
	// Approve is being the second person.
	Approve
	// Admin is shaping issuers, rings and grants.
	Admin
	// Audit is reading what was done.
	Audit
)

var verbNames = []string{"", "sign", "verify", "operate", "respond", "approve", "admin", "audit"}

func (v Verb) String() string { return nameOf(verbNames, uint8(v)) }

// MarshalText writes the verb's name.
func (v Verb) MarshalText() ([]byte, error) { return marshalName("verb", verbNames, uint8(v)) }

// UnmarshalText reads a verb's name.
func (v *Verb) UnmarshalText(b []byte) error { return unmarshalName("verb", verbNames, (*uint8)(v), b) }

// Grant lets one principal do some verbs on some rings. A deleted grant stays as a tombstone, so that its name is never
// given to something else unseen.
type Grant struct {
	Name      string    `json:"name"`
	Principal string    `json:"principal"` // an exact URI SAN, or dns:host for a DNS SAN
	Verbs     []Verb    `json:"verbs"`
	Rings     []string  `json:"rings"` // issuer/ring, issuer/*, or * for the whole store
	Deleted   bool      `json:"deleted,omitempty"`
	Request   string    `json:"request,omitempty"`
	Created   time.Time `json:"created"`
	Revision  Revision  `json:"-"`
}

// Allows reports whether the grant lets its principal do v on target: a ring's name, "issuer/*" for something that
// concerns a whole issuer, or "*" for something that concerns the whole store. It does not allocate.
func (g *Grant) Allows(v Verb, target string) bool {
	if g.Deleted || !slices.Contains(g.Verbs, v) {
		return false
	}
	for _, pattern := range g.Rings {
		if pattern == "*" || pattern == target {
			return true
		}
		if prefix, ok := strings.CutSuffix(pattern, "*"); ok && strings.HasPrefix(target, prefix) {
			return true
		}
	}
	return false
}

// Validate reports what is wrong with a grant.
func (g *Grant) Validate() error {
	if !ValidID(g.Name) {
		return fmt.Errorf("%w: grant name %q does not match %s", ErrInvalid, g.Name, idPattern)
	}
	if !strings.Contains(g.Principal, ":") || strings.ContainsAny(g.Principal, "* \t\n") {
		return fmt.Errorf("%w: grant %s: principal %q is not an exact URI or dns:host", ErrInvalid, g.Name, g.Principal)
	}
	if len(g.Verbs) == 0 || len(g.Rings) == 0 || slices.Contains(g.Verbs, 0) {
		return fmt.Errorf("%w: grant %s needs verbs and rings", ErrInvalid, g.Name)
	}
	for _, p := range g.Rings {
		if issuer, ok := strings.CutSuffix(p, "/*"); p == "*" || ok && ValidID(issuer) {
			continue
		}
		if _, _, err := SplitRing(p); err != nil {
			return fmt.Errorf("grant %s: %w; or write issuer/* or *", g.Name, err)
		}
	}
	return nil
}
