package keyring

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Line is one ring as a snapshot sees it: its record, its issuer, and the key that signs.
type Line struct {
	Ring   *Ring
	Issuer *Issuer
	Signer *Key // nil when nothing in the ring can sign
}

// A Snapshot is a replica's copy of the store at one position. It never changes and is safe for concurrent use; do not
// write to what it returns.
type Snapshot struct {
	Store    string
	Position Position
	Timing   Timing
	Cutoffs  Cutoffs

	issuers    map[string]*Issuer
	lines      map[string]*Line
	grants     map[string]*Grant
	principals map[string][]*Grant // live grants by principal
	sorted     *sortedLines        // of lines
	asked      instant             // before the store was asked for it
}

// Asked is when the store was asked for the snapshot, by this replica's wall clock.
func (s *Snapshot) Asked() time.Time { return time.Unix(0, int64(s.asked.wall)).UTC() }

// Line returns a ring as the snapshot sees it.
func (s *Snapshot) Line(ring string) (*Line, bool) {
	l, ok := s.lines[ring]
	return l, ok
}

// Issuer returns an issuer.
func (s *Snapshot) Issuer(name string) (*Issuer, bool) {
	i, ok := s.issuers[name]
	return i, ok
}

// Grant returns a grant, deleted or not.
func (s *Snapshot) Grant(name string) (*Grant, bool) {
	g, ok := s.grants[name]
	return g, ok
}

// Issuers returns all issuers by name.
func (s *Snapshot) Issuers() []*Issuer {
	return slices.SortedFunc(maps.Values(s.issuers), func(a, b *Issuer) int { return strings.Compare(a.Name, b.Name) })
}

// Lines returns all rings by name, in a slice of the caller's own. It sorts once for all snapshots that have the same rings.
func (s *Snapshot) Lines() []*Line {
	return s.sorted.all(s.lines)
}

// LinesOf returns the rings of one issuer by name.
func (s *Snapshot) LinesOf(issuer string) []*Line {
	all := s.sorted.all(s.lines)
	from, _ := slices.BinarySearchFunc(all, issuer+"/", compareName)
	to, _ := slices.BinarySearchFunc(all, issuer+"0", compareName) // '0' follows '/', and no name holds anything between
	return all[from:to]
}

func compareName(l *Line, name string) int { return strings.Compare(l.Ring.Name, name) }

// sortedLines is the rings of a snapshot by name, once somebody has asked.
type sortedLines struct {
	once  sync.Once
	lines []*Line
}

func (o *sortedLines) all(lines map[string]*Line) []*Line {
	o.once.Do(func() {
		o.lines = slices.SortedFunc(maps.Values(lines), func(a, b *Line) int { return compareName(a, b.Ring.Name) })
	})
	return slices.Clone(o.lines)
}

// Grants returns all grants by name, without the deleted ones.
func (s *Snapshot) Grants() []*Grant {
	live := make([]*Grant, 0, len(s.grants))
	for _, g := range s.grants {
		if !g.Deleted {
			live = append(live, g)
		}
	}
	slices.SortFunc(live, func(a, b *Grant) int { return strings.Compare(a.Name, b.Name) })
	return live
}

// Allowed reports whether some grant lets principal do v on target (see [Grant.Allows]). It does not allocate.
func (s *Snapshot) Allowed(principal string, v Verb, target string) bool {
	return slices.ContainsFunc(s.principals[principal], func(g *Grant) bool { return g.Allows(v, target) })
}

// Revoked reports whether key k of ring is dead by its record or by a cutoff.
func (s *Snapshot) Revoked(ring *Ring, k *Key) bool { return s.Cutoffs.Revoked(ring, k) }

// NewSnapshot builds a snapshot from everything a store holds. It serves tools that read a store once; a replica's
// snapshots are kept by a [Live].
func NewSnapshot(c Changes) (*Snapshot, error) {
	if !c.Full {
		return nil, fmt.Errorf("%w: a snapshot needs the whole store", ErrInvalid)
	}
	return (&Snapshot{}).with(c, instant{})
}

// with returns the snapshot that follows s after c. Rings whose signer c cannot have changed keep their line.
func (s *Snapshot) with(c Changes, asked instant) (*Snapshot, error) {
	next := &Snapshot{Store: c.Store, Position: c.Position, Timing: c.Timing, Cutoffs: s.Cutoffs, asked: asked}
	next.issuers, next.lines, next.grants, next.principals = s.issuers, s.lines, s.grants, s.principals
	next.sorted = s.sorted
	if c.Full {
		next.Cutoffs, next.issuers, next.lines, next.grants = nil, map[string]*Issuer{}, map[string]*Line{}, map[string]*Grant{}
	}
	if !c.Full && len(c.Issuers)+len(c.Rings)+len(c.Grants)+len(c.Cutoffs) == 0 {
		return next, nil
	}
	next.sorted = &sortedLines{}
	next.Cutoffs = append(slices.Clip(next.Cutoffs), c.Cutoffs...)
	if !slices.IsSortedFunc(next.Cutoffs, func(a, b Cutoff) int { return cmp.Compare(a.Revision, b.Revision) }) {
		return nil, fmt.Errorf("%w: cutoffs are out of order", ErrTampered)
	}
	next.issuers, next.grants, next.lines = maps.Clone(next.issuers), maps.Clone(next.grants), maps.Clone(next.lines)
	for i := range c.Issuers {
		next.issuers[c.Issuers[i].Name] = &c.Issuers[i]
	}
	for i := range c.Grants {
		next.grants[c.Grants[i].Name] = &c.Grants[i]
	}
	for i := range c.Rings {
		next.lines[c.Rings[i].Name] = &Line{Ring: &c.Rings[i]}
	}
	if c.Full || len(c.Grants) > 0 {
		next.index()
	}
	return next, next.draw(c)
}

func (s *Snapshot) index() {
	s.principals = map[string][]*Grant{}
	for _, g := range s.Grants() {
		s.principals[g.Principal] = append(s.principals[g.Principal], g)
	}
}

// draw works out the signers of the rings that changed, and of every ring when a cutoff was raised.
func (s *Snapshot) draw(c Changes) error {
	names := make([]string, 0, len(c.Rings))
	for i := range c.Rings {
		names = append(names, c.Rings[i].Name)
	}
	if len(c.Cutoffs) > 0 {
		names = slices.Collect(maps.Keys(s.lines))
	}
	for _, name := range names {
		ring := s.lines[name].Ring
		issuer, ok := s.issuers[ring.Issuer()]
		if !ok {
			return fmt.Errorf("%w: ring %s has no issuer", ErrTampered, name)
		}
		s.lines[name] = &Line{Ring: ring, Issuer: issuer, Signer: Signer(ring, s.Cutoffs)}
	}
	return nil
}
