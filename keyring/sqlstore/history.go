package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"math"

	"intaglio.example/keyring"
)

// rowName names a row that the history speaks of.
type rowName struct{ kind, name string }

func (n rowName) String() string { return n.kind + " " + n.name }

// entry is one row of one write, as the history has it.
type entry struct {
	rowName
	revision keyring.Revision
	sum      keyring.Digest
}

func scanEntry(rows *sql.Rows, e *entry) error {
	var sum []byte
	err := rows.Scan(&e.revision, &e.kind, &e.name, &sum)
	copy(e.sum[:], sum)
	return err
}

// follow returns the position that entries, in order, lead to from at.
func follow(at keyring.Position, entries []entry) keyring.Position {
	var write []keyring.Entry
	for i, e := range entries {
		write = append(write, keyring.Entry{Kind: e.kind, Name: e.name, Sum: e.sum})
		if i == len(entries)-1 || entries[i+1].revision != e.revision {
			at, write = at.Next(e.revision, write), write[:0]
		}
	}
	return at
}

// agree holds a row whose MAC is good against its last entry in the history. Either may be nil: not there.
func agree(name rowName, r *record, last *entry) error {
	switch {
	case r == nil && last == nil:
		return nil
	case r == nil:
		return fmt.Errorf("%w: %s was deleted", keyring.ErrTampered, name)
	case last == nil:
		return fmt.Errorf("%w: %s is unknown to the history", keyring.ErrTampered, name)
	case r.revision < last.revision:
		return fmt.Errorf("%w: %s was replaced by its copy of revision %d, the last is of %d", keyring.ErrTampered, name, r.revision, last.revision)
	case r.revision > last.revision || r.sum() != last.sum:
		return fmt.Errorf("%w: the history of %s at revision %d was deleted or edited", keyring.ErrTampered, name, r.revision)
	}
	return nil
}

// lastEntry returns the newest entry of a row, or nil.
func lastEntry(ctx context.Context, tx *sql.Tx, name rowName) (*entry, error) {
	last, err := list(ctx, tx, scanEntry, `SELECT revision, kind, name, sum FROM entries WHERE kind = $1 AND name = $2
		ORDER BY revision DESC LIMIT 1`, name.kind, name.name)
	if err != nil || len(last) == 0 {
		return nil, err
	}
	return &last[0], nil
}

// trail is the whole history, once it has proved to be what led to the head.
type trail struct {
	writes int
	last   map[rowName]*entry // of every row ever written
}

// page is how many writes walk reads at a time.
const page = 1000

// walk goes through the whole history and reports the first revision that was deleted or edited.
func (s *Store) walk(ctx context.Context, tx *sql.Tx, h head) (trail, error) {
	t := trail{last: map[rowName]*entry{}}
	at, err := s.first(ctx, tx)
	for more := true; more && err == nil; {
		at, more, err = s.walkPage(ctx, tx, at, &t)
	}
	if err == nil && at != h.at {
		err = fmt.Errorf("%w: the history ends at %v, the head stands at %v", keyring.ErrTampered, at, h.at)
	}
	return t, err
}

// first returns the position of revision 0.
func (s *Store) first(ctx context.Context, tx *sql.Tx) (keyring.Position, error) {
	origin, err := s.origin()
	if err != nil {
		return origin, err
	}
	at, ok, err := s.positionAt(ctx, tx, 0)
	if err == nil && (!ok || at != origin) {
		err = fmt.Errorf("%w: the history of revision 0 was deleted or replaced", keyring.ErrTampered)
	}
	return at, err
}

func (s *Store) walkPage(ctx context.Context, tx *sql.Tx, at keyring.Position, t *trail) (_ keyring.Position, more bool, err error) {
	scan := func(rows *sql.Rows, r *record) error {
		r.kind = kindHistory
		return rows.Scan(&r.revision, &r.body, &r.mac)
	}
	writes, err := list(ctx, tx, scan, `SELECT revision, digest, mac FROM history WHERE revision > $1 ORDER BY revision LIMIT $2`, int64(at.Revision), page)
	if err != nil {
		return at, false, err
	}
	upTo := int64(math.MaxInt64)
	if len(writes) == page {
		upTo = int64(writes[page-1].revision)
	}
	entries, err := list(ctx, tx, scanEntry, `SELECT revision, kind, name, sum FROM entries WHERE revision > $1 AND revision <= $2
		ORDER BY revision, ordinal`, int64(at.Revision), upTo)
	if err != nil {
		return at, false, err
	}
	for i := range writes {
		if err := s.key.check(&writes[i]); err != nil {
			return at, false, err
		}
		n := 0
		for n < len(entries) && entries[n].revision == writes[i].revision {
			t.last[entries[n].rowName] = &entries[n]
			n++
		}
		if n == 0 && len(entries) > 0 && entries[0].revision < writes[i].revision {
			break
		}
		at = follow(at, entries[:n])
		if at.Revision != writes[i].revision || string(at.Digest[:]) != string(writes[i].body) {
			return at, false, fmt.Errorf("%w: %s does not follow from what stands before it", keyring.ErrTampered, &writes[i])
		}
		entries = entries[n:]
		t.writes++
	}
	if len(entries) > 0 {
		return at, false, fmt.Errorf("%w: the history of revision %d was deleted", keyring.ErrTampered, entries[0].revision)
	}
	return at, len(writes) == page, nil
}
