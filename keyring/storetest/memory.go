package storetest

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"intaglio.example/keyring"
)

// The operations that [Memory.Before] and [Memory.After] are asked about.
const (
	OpChanges = "changes"
	OpSwap    = "swap"
	OpCut     = "cut"
)

// Memory is a complete [keyring.Store] in memory, for tests that simulate time: it has a mutex, no goroutine and no
// clock. Rows are kept as JSON, so what comes out shares nothing with what went in. Make one with [NewMemory]; the
// zero value is a store that was never initialised.
type Memory struct {
	// Before, when set, is asked as a call begins: an error is the call's, and nothing has happened. After is asked when
	// a call has succeeded: an error is the call's although it took effect. Together they are the two sides of every
	// failure. Set them before the store is shared; they may call the store.
	Before, After func(op string) error

	mu      sync.Mutex // guards the rest
	id      string
	timing  keyring.Timing
	rows    map[address]row
	cutoffs keyring.Cutoffs   // as in rows
	history []write           // by revision, from 0
	urls    map[string]string // of issuers, to their names
	kids    map[string]string // kid to key ID
	archive map[string][]keyring.Key
}

// address names a row.
type address struct{ kind, name string }

const (
	kindIssuer = "issuer"
	kindRing   = "ring"
	kindGrant  = "grant"
	kindCutoff = "cutoff"
)

type row struct {
	revision keyring.Revision
	body     []byte
}

// write is one write of the history.
type write struct {
	at      keyring.Position
	entries []keyring.Entry
}

// NewMemory returns an initialised store without rows.
func NewMemory(id string, timing keyring.Timing) *Memory {
	origin := sha256.Sum256([]byte("store in memory " + id))
	return &Memory{
		id: id, timing: timing,
		rows: map[address]row{}, urls: map[string]string{}, kids: map[string]string{}, archive: map[string][]keyring.Key{},
		history: []write{{at: keyring.Position{Digest: origin}}},
	}
}

// call runs do under the lock, between the two hooks. An error comes with the zero T.
func call[T any](ctx context.Context, m *Memory, op string, do func() (T, error)) (T, error) {
	var none T
	if err := ctx.Err(); err != nil {
		return none, fmt.Errorf("%s: %w", op, err)
	}
	if m.Before != nil {
		if err := m.Before(op); err != nil {
			return none, err
		}
	}
	v, err := locked(m, do)
	if err != nil {
		return none, fmt.Errorf("%s: %w", op, err)
	}
	if m.After != nil {
		if err := m.After(op); err != nil {
			return none, err
		}
	}
	return v, nil
}

func locked[T any](m *Memory, do func() (T, error)) (v T, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.history == nil {
		return v, keyring.ErrNotInitialised
	}
	return do()
}

// Changes is [keyring.Store.Changes].
func (m *Memory) Changes(ctx context.Context, since keyring.Position) (keyring.Changes, error) {
	return call(ctx, m, OpChanges, func() (keyring.Changes, error) { return m.changesLocked(since) })
}

func (m *Memory) changesLocked(since keyring.Position) (keyring.Changes, error) {
	if err := m.containsLocked(since); err != nil {
		return keyring.Changes{}, err
	}
	c := keyring.Changes{Store: m.id, Timing: m.timing, Position: m.headLocked(), Full: since == keyring.Position{}}
	for _, a := range m.changedLocked(since, c.Full) {
		if err := m.rows[a].appendTo(&c, a.kind); err != nil {
			return keyring.Changes{}, err
		}
	}
	slices.SortFunc(c.Cutoffs, func(a, b keyring.Cutoff) int { return cmp.Compare(a.Revision, b.Revision) })
	return c, nil
}

// changedLocked lists the rows written after since, or all of them, sorted.
func (m *Memory) changedLocked(since keyring.Position, all bool) []address {
	var changed []address
	if all {
		changed = slices.AppendSeq(changed, maps.Keys(m.rows))
	} else {
		for _, w := range m.history[since.Revision+1:] {
			for _, e := range w.entries {
				changed = append(changed, address{e.Kind, e.Name})
			}
		}
	}
	slices.SortFunc(changed, func(a, b address) int {
		return cmp.Or(strings.Compare(a.kind, b.kind), strings.Compare(a.name, b.name))
	})
	return slices.Compact(changed)
}

// appendTo decodes the row to where it belongs in c.
func (r row) appendTo(c *keyring.Changes, kind string) error {
	var err error
	switch kind {
	case kindIssuer:
		v := keyring.Issuer{}
		err = json.Unmarshal(r.body, &v)
		v.Revision = r.revision
		c.Issuers = append(c.Issuers, v)
	case kindRing:
		v := keyring.Ring{}
		err = json.Unmarshal(r.body, &v)
		v.Revision = r.revision
		c.Rings = append(c.Rings, v)
	case kindGrant:
		v := keyring.Grant{}
		err = json.Unmarshal(r.body, &v)
		v.Revision = r.revision
		c.Grants = append(c.Grants, v)
	case kindCutoff:
		v := keyring.Cutoff{}
		err = json.Unmarshal(r.body, &v)
		v.Revision = r.revision
		c.Cutoffs = append(c.Cutoffs, v)
	}
	return err
}

func (m *Memory) headLocked() keyring.Position { return m.history[len(m.history)-1].at }

// containsLocked reports ErrRollback unless p is the zero position or one the store was at. Revisions have no gaps here.
func (m *Memory) containsLocked(p keyring.Position) error {
	if p == (keyring.Position{}) {
		return nil
	}
	if p.Revision >= keyring.Revision(len(m.history)) || m.history[p.Revision].at != p {
		return fmt.Errorf("%w: store %s at %v was never at %v", keyring.ErrRollback, m.id, m.headLocked(), p)
	}
	return nil
}

// Cut is [keyring.Store.Cut].
func (m *Memory) Cut(ctx context.Context, c keyring.Cutoff) (keyring.Position, error) {
	return call(ctx, m, OpCut, func() (keyring.Position, error) { return m.cutLocked(c) })
}

func (m *Memory) cutLocked(c keyring.Cutoff) (keyring.Position, error) {
	if err := c.Validate(); err != nil {
		return keyring.Position{}, err
	}
	body, err := encode(c)
	if err != nil {
		return keyring.Position{}, err
	}
	c = keyring.Cutoff{} // read back, so that it is compared and kept as a reader will see it
	if err := json.Unmarshal(body, &c); err != nil {
		return keyring.Position{}, err
	}
	for _, was := range m.cutoffs {
		if was.Operation != c.Operation {
			continue
		}
		if was.Reach != c.Reach || was.Into != c.Into || was.Reason != c.Reason {
			return keyring.Position{}, fmt.Errorf("%w: operation %s raised another cutoff at revision %d", keyring.ErrInvalid, c.Operation, was.Revision)
		}
		return m.history[was.Revision].at, nil
	}
	at := m.writeLocked([]pending{{address{kindCutoff, c.Operation}, body}})
	c.Revision = at.Revision
	m.cutoffs = append(m.cutoffs, c)
	return at, nil
}

// KeyByKid returns the ID of the key that kid was ever recorded under, the archive included.
func (m *Memory) KeyByKid(_ context.Context, kid string) (id string, ok bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	id, ok = m.kids[kid]
	return id, ok, nil
}

// Archived returns the keys that left a ring, by serial.
func (m *Memory) Archived(_ context.Context, ring string) ([]keyring.Key, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.archive[ring]), nil
}

// pending is a row about to be written.
type pending struct {
	address
	body []byte
}

// writeLocked is the only writer of rows and history.
func (m *Memory) writeLocked(rows []pending) keyring.Position {
	rev := m.headLocked().Revision + 1
	w := write{}
	for _, p := range rows {
		m.rows[p.address] = row{rev, p.body}
		w.entries = append(w.entries, keyring.Entry{Kind: p.kind, Name: p.name, Sum: sha256.Sum256(p.body)})
	}
	w.at = m.headLocked().Next(rev, w.entries)
	m.history = append(m.history, w)
	return w.at
}

func encode(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", keyring.ErrInvalid, err)
	}
	return b, nil
}
