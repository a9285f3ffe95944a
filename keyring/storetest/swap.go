package storetest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"intaglio.example/keyring"
)

// Swap is [keyring.Store.Swap].
func (m *Memory) Swap(ctx context.Context, asOf keyring.Position, e keyring.Edit) (keyring.Position, error) {
	return call(ctx, m, OpSwap, func() (keyring.Position, error) { return m.swapLocked(asOf, e) })
}

func (m *Memory) swapLocked(asOf keyring.Position, e keyring.Edit) (keyring.Position, error) {
	if err := m.containsLocked(asOf); err != nil {
		return keyring.Position{}, err
	}
	s := swap{
		store: m, asOf: asOf.Revision, rev: m.headLocked().Revision + 1, claimed: map[address]bool{},
		urls: maps.Clone(m.urls), kids: map[string]string{}, left: map[string][]keyring.Key{},
	}
	if err := s.prepare(e); err != nil {
		return keyring.Position{}, err
	}
	m.urls = s.urls
	maps.Copy(m.kids, s.kids)
	for ring, keys := range s.left {
		m.archive[ring] = append(m.archive[ring], keys...)
		slices.SortFunc(m.archive[ring], func(a, b keyring.Key) int { return cmp.Compare(a.Serial, b.Serial) })
	}
	return m.writeLocked(s.rows), nil
}

// swap gathers everything one Swap is about to do, so that a refusal halfway leaves nothing behind.
type swap struct {
	store   *Memory
	asOf    keyring.Revision
	rev     keyring.Revision
	claimed map[address]bool
	rows    []pending
	urls    map[string]string        // of all issuers
	kids    map[string]string        // of the rings in the edit
	left    map[string][]keyring.Key // for the archive, by ring
}

func (s *swap) prepare(e keyring.Edit) error {
	if len(e.Issuers)+len(e.Rings)+len(e.Grants) == 0 {
		return fmt.Errorf("%w: the edit is empty", keyring.ErrInvalid)
	}
	for i := range e.Issuers {
		if err := s.issuer(&e.Issuers[i]); err != nil {
			return err
		}
	}
	for i := range e.Rings {
		if err := s.ring(&e.Rings[i]); err != nil {
			return err
		}
	}
	for i := range e.Grants {
		if err := s.grant(&e.Grants[i]); err != nil {
			return err
		}
	}
	return nil
}

// claim takes a row for the write and decodes what it was into old. It refuses a row that the edit names twice, and one
// that was written after asOf.
func (s *swap) claim(a address, old any) (existed bool, err error) {
	if s.claimed[a] {
		return false, fmt.Errorf("%w: %s %s is in the edit twice", keyring.ErrInvalid, a.kind, a.name)
	}
	s.claimed[a] = true
	r, existed := s.store.rows[a]
	if !existed {
		return false, nil
	}
	if r.revision > s.asOf {
		return true, fmt.Errorf("%w: %s %s was written at revision %d", keyring.ErrConflict, a.kind, a.name, r.revision)
	}
	return true, json.Unmarshal(r.body, old)
}

func (s *swap) put(a address, v any) error {
	body, err := encode(v)
	if err != nil {
		return fmt.Errorf("%s %s: %w", a.kind, a.name, err)
	}
	s.rows = append(s.rows, pending{a, body})
	return nil
}

func (s *swap) issuer(next *keyring.Issuer) error {
	a := address{kindIssuer, next.Name}
	if err := next.Validate(); err != nil {
		return err
	}
	var old keyring.Issuer
	existed, err := s.claim(a, &old)
	if err != nil {
		return err
	}
	if existed && old.URL != next.URL {
		return fmt.Errorf("%w: the URL of issuer %s never changes", keyring.ErrRefused, next.Name)
	}
	if owner, ok := s.urls[next.URL]; ok && owner != next.Name {
		return fmt.Errorf("%w: URL %s of issuer %s belongs to issuer %s", keyring.ErrInvalid, next.URL, next.Name, owner)
	}
	s.urls[next.URL] = next.Name
	return s.put(a, next)
}

func (s *swap) grant(next *keyring.Grant) error {
	a := address{kindGrant, next.Name}
	if err := next.Validate(); err != nil {
		return err
	}
	if _, err := s.claim(a, &keyring.Grant{}); err != nil {
		return err
	}
	return s.put(a, next)
}

func (s *swap) ring(next *keyring.Ring) error {
	a := address{kindRing, next.Name}
	old := &keyring.Ring{}
	existed, err := s.claim(a, old)
	if err != nil {
		return err
	}
	if !existed {
		old = nil
	}
	for _, r := range []*keyring.Ring{old, next} {
		if r == nil {
			continue
		}
		if c := s.store.cutoffs.Since(s.asOf, r); c != nil {
			return fmt.Errorf("%w: cutoff %s was raised", keyring.ErrConflict, c.Operation)
		}
	}
	kept, err := keyring.Advance(old, *next, s.store.cutoffs, s.store.timing, s.rev)
	if err != nil {
		return err
	}
	issuer := address{kindIssuer, kept.Issuer()}
	if _, ok := s.store.rows[issuer]; !ok && !s.claimed[issuer] {
		return fmt.Errorf("%w: ring %s has no issuer", keyring.ErrInvalid, kept.Name)
	}
	if err := s.record(&kept); err != nil {
		return err
	}
	if existed {
		s.archive(old, &kept)
	}
	return s.put(a, kept)
}

// record notes the kids of a ring, each for good.
func (s *swap) record(r *keyring.Ring) error {
	for i := range r.Keys {
		kid, id := r.Keys[i].Kid, keyring.KeyID(r.Name, r.Keys[i].Serial)
		if kid == "" {
			continue
		}
		if owner := cmp.Or(s.store.kids[kid], s.kids[kid], id); owner != id {
			return fmt.Errorf("%w: kid %s of key %s belongs to key %s", keyring.ErrKidKnown, kid, id, owner)
		}
		s.kids[kid] = id
	}
	return nil
}

// archive notes the keys that leave a ring.
func (s *swap) archive(old, next *keyring.Ring) {
	for i := range old.Keys {
		if k := &old.Keys[i]; next.Key(k.Serial) == nil {
			s.left[old.Name] = append(s.left[old.Name], *k)
		}
	}
}
