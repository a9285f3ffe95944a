package keyring

import (
	"fmt"
	"slices"
)

// State is where a key is in its life. The zero value is invalid.
//
//	reserved ──▶ staged ──▶ active ◀─▶ retiring ──▶ retired
//	    └───────────┴──────────┴───────────┴───────────┴──▶ revoked, for good
type State uint8

const (
	// Reserved is a name on paper: the backend may or may not have made the key.
	Reserved State = iota + 1
	// Staged is minted and published but not signing: the ring's one successor.
	Staged
	// Active signs.
	Active
	// Retiring verifies until its last token has expired. A rollback makes it active again.
	Retiring
	// Retired is no longer published.
	Retired
	// Revoked never signs or verifies again.
	Revoked
)

var stateNames = []string{"", "reserved", "staged", "active", "retiring", "retired", "revoked"}

// moves lists, for each state, the states it may be followed by. Staying is always allowed.
var moves = map[State][]State{
	Reserved: {Staged, Revoked},
	Staged:   {Active, Revoked},
	Active:   {Retiring, Revoked},
	Retiring: {Active, Retired, Revoked},
	Retired:  {Revoked},
	Revoked:  {},
}

func (s State) mayBecome(next State) bool { return s == next || slices.Contains(moves[s], next) }

// Published reports whether a key in state s stands in its issuer's JWK Set, unless a cutoff felled it.
func (s State) Published() bool { return s == Staged || s == Active || s == Retiring }

func (s State) String() string { return nameOf(stateNames, uint8(s)) }

// MarshalText writes the state's name.
func (s State) MarshalText() ([]byte, error) { return marshalName("state", stateNames, uint8(s)) }

// UnmarshalText reads a state's name.
func (s *State) UnmarshalText(b []byte) error {
	return unmarshalName("state", stateNames, (*uint8)(s), b)
}

// Protection is where a private key can be used, from weak to strong; compare with <. The zero value is invalid.
type Protection uint8

const (
	// Software keys are in this process's memory while it signs.
	Software Protection = iota + 1
	// Remote keys are in another service's memory, such as Vault's.
	Remote
	// HSM keys are inside a hardware module or a cloud KMS that promises one.
	HSM
)

var protectionNames = []string{"", "software", "remote", "hsm"}

func (p Protection) String() string { return nameOf(protectionNames, uint8(p)) }

// MarshalText writes the protection's name.
func (p Protection) MarshalText() ([]byte, error) {
	return marshalName("protection", protectionNames, uint8(p))
}

// UnmarshalText reads a protection's name.
func (p *Protection) UnmarshalText(b []byte) error {
	return unmarshalName("protection", protectionNames, (*uint8)(p), b)
}

// Usage is what a ring's keys sign; it never changes. The zero value is invalid.
type Usage uint8

const (
	// Tokens are JWTs whose registered claims the service sets.
	Tokens Usage = iota + 1
	// Kubernetes are service account tokens whose claims the API server sets and the service checks.
	Kubernetes
	// Raw is bytes of the caller's choosing.
	Raw
	// VerifyOnly rings hold imported public keys and never sign.
	VerifyOnly
)

var usageNames = []string{"", "tokens", "kubernetes", "raw", "verify-only"}

func (u Usage) String() string { return nameOf(usageNames, uint8(u)) }

// MarshalText writes the usage's name.
func (u Usage) MarshalText() ([]byte, error) { return marshalName("usage", usageNames, uint8(u)) }

// UnmarshalText reads a usage's name.
func (u *Usage) UnmarshalText(b []byte) error {
	return unmarshalName("usage", usageNames, (*uint8)(u), b)
}

func nameOf(names []string, v uint8) string {
	if v == 0 || int(v) >= len(names) {
		return fmt.Sprintf("invalid(%d)", v)
	}
	return names[v]
}

func marshalName(what string, names []string, v uint8) ([]byte, error) {
	if v == 0 || int(v) >= len(names) {
		return nil, fmt.Errorf("%w: %s %d has no name", ErrInvalid, what, v)
	}
	return []byte(names[v]), nil
}

func unmarshalName(what string, names []string, v *uint8, b []byte) error {
	for i, n := range names {
		if i > 0 && n == string(b) {
			*v = uint8(i)
			return nil
		}
	}
	return fmt.Errorf("%w: unknown %s %q", ErrInvalid, what, b)
}
