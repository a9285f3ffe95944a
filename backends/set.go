package backends

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"intaglio.example/internal/jws"
	"intaglio.example/keyring"
)

// A Set is the backends of one server, by name. It never changes and is safe for concurrent use. Every error names the
// backend and the key; the caller's context reaches the backend.
type Set struct {
	members map[string]member
}

// member is a backend and what it says of itself.
type member struct {
	Backend
	protection keyring.Protection
	pins       func(ref string, pub *jws.PublicKey) bool // nil: nothing the backend returns is believed
}

// NewSet returns the set of the given backends. Names are as [keyring.ValidID] has them. A backend that does not say what
// protection it gives counts as the weakest.
func NewSet(named map[string]Backend) (*Set, error) {
	s := &Set{members: make(map[string]member, len(named))}
	for name, b := range named {
		if !keyring.ValidID(name) || b == nil {
			return nil, fmt.Errorf("%w: backend %q needs a name of lower-case letters, digits and hyphens, and a backend behind it", ErrInvalid, name)
		}
		m := member{Backend: b, protection: keyring.Software}
		if p, ok := b.(interface{ Protection() keyring.Protection }); ok {
			m.protection = p.Protection()
		}
		p, ok := b.(interface {
			Pins(ref string, pub *jws.PublicKey) bool
		})
		if ok && m.protection == keyring.Software {
			m.pins = p.Pins
		}
		s.members[name] = m
	}
	return s, nil
}

// Names returns the names of all backends, sorted.
func (s *Set) Names() []string { return slices.Sorted(maps.Keys(s.members)) }

// Protection returns the least protection that a key minted in backend will have: what a move into it is judged by
// beforehand. What a key really has is in [Minted]. ErrUnknownBackend.
func (s *Set) Protection(backend string) (keyring.Protection, error) {
	m, err := s.member(backend)
	if err != nil {
		return 0, fmt.Errorf("%w: %q", err, backend)
	}
	return m.protection, nil
}

// Mint makes or finds the key under label; see [Backend]. ErrTooWeak if it has less protection than the backend vouched for.
func (s *Set) Mint(ctx context.Context, backend, label string, alg jws.Alg) (Minted, error) {
	minted, err := s.mint(ctx, backend, label, alg)
	if err != nil {
		return Minted{}, fmt.Errorf("minting %s in backend %s: %w", label, backend, err)
	}
	return minted, nil
}

func (s *Set) mint(ctx context.Context, backend, label string, alg jws.Alg) (Minted, error) {
	m, err := s.labelled(ctx, backend, label)
	if err != nil {
		return Minted{}, err
	}
	if _, err := jws.ParseAlg(string(alg)); err != nil {
		return Minted{}, fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	minted, err := m.Mint(ctx, label, alg)
	if err != nil {
		return Minted{}, err
	}
	if err := checkRef(minted.Ref); err != nil {
		return Minted{}, err
	}
	if minted.Public == nil || minted.Public.Alg() != alg {
		return Minted{}, fmt.Errorf("%w: asked for %s, got %v", ErrMismatch, alg, minted.Public)
	}
	if minted.Protection < m.protection {
		return Minted{}, fmt.Errorf("%w: the backend vouches for %s, the key has %s", ErrTooWeak, m.protection, minted.Protection)
	}
	return minted, nil
}

// Sign returns the signature over input by the key that ref names in backend, whose recorded public key is pub. It is
// checked against pub before it is returned (ErrWrongSignature). Only a backend in this process that pins ref to pub
// (see [Backend]) is believed: there the check would cost twice the signature, and be done in the memory it doubts.
func (s *Set) Sign(ctx context.Context, backend, ref string, pub *jws.PublicKey, input []byte) ([]byte, error) {
	sig, err := s.sign(ctx, backend, ref, pub, input)
	if err != nil {
		return nil, fmt.Errorf("signing with %s in backend %s: %w", ref, backend, err)
	}
	return sig, nil
}

func (s *Set) sign(ctx context.Context, backend, ref string, pub *jws.PublicKey, input []byte) ([]byte, error) {
	m, err := s.member(backend)
	if err != nil {
		return nil, err
	}
	if pub == nil || ref == "" {
		return nil, fmt.Errorf("%w: a signature needs a ref and a public key to hold it against", ErrInvalid)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	sig, err := m.Sign(ctx, ref, pub.Alg(), input)
	if err != nil {
		return nil, err
	}
	if m.pins != nil && m.pins(ref, pub) {
		return sig, nil
	}
	if err := pub.Verify(input, sig); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrWrongSignature, err)
	}
	return sig, nil
}

// Disable stops the key under label from signing; see [Backend].
func (s *Set) Disable(ctx context.Context, backend, label string) error {
	m, err := s.labelled(ctx, backend, label)
	if err == nil {
		err = m.Disable(ctx, label)
	}
	if err != nil {
		return fmt.Errorf("disabling %s in backend %s: %w", label, backend, err)
	}
	return nil
}

// Destroy ends the key under label; see [Backend].
func (s *Set) Destroy(ctx context.Context, backend, label string) error {
	m, err := s.labelled(ctx, backend, label)
	if err == nil {
		err = m.Destroy(ctx, label)
	}
	if err != nil {
		return fmt.Errorf("destroying %s in backend %s: %w", label, backend, err)
	}
	return nil
}

// labelled returns the backend for a call about label.
func (s *Set) labelled(ctx context.Context, backend, label string) (member, error) {
	m, err := s.member(backend)
	if err != nil {
		return m, err
	}
	if err := CheckLabel(label); err != nil {
		return m, err
	}
	return m, ctx.Err()
}

func (s *Set) member(backend string) (member, error) {
	m, ok := s.members[backend]
	if !ok {
		return m, ErrUnknownBackend
	}
	return m, nil
}
