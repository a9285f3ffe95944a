package sqlstore

import (
	"context"
	"database/sql"
	"fmt"

	"intaglio.example/keyring"
)

// Report counts what [Store.Verify] found in order.
type Report struct {
	Store    string
	Position keyring.Position
	Schema   int
	Issuers  int
	Rings    int
	Grants   int
	Cutoffs  int
	Keys     int // in rings
	Archived int // keys that left their ring
	Kids     int // ever recorded
	Writes   int // in the history
	Sealed   int // keys of the software backend, which are not looked into
}

// Verify walks through everything: every MAC, the set hashes, the whole history from revision 0, the archive, and whether
// the index of kids agrees with the records. keyring.ErrTampered names the first thing that is not as it was written.
func (s *Store) Verify(ctx context.Context) (Report, error) {
	var report Report
	err := s.read(ctx, func(ctx context.Context, tx *sql.Tx) error {
		h, err := s.head(ctx, tx, forReading)
		if err == nil {
			report, err = s.verify(ctx, tx, h)
		}
		return err
	})
	if err != nil {
		return Report{}, fmt.Errorf("verifying store %s: %w", s.store, err)
	}
	return report, nil
}

func (s *Store) verify(ctx context.Context, tx *sql.Tx, h head) (Report, error) {
	m, err := readMeta(ctx, tx, s.key)
	if err != nil {
		return Report{}, err
	}
	if m != s.meta {
		return Report{}, fmt.Errorf("%w: the store's description was replaced by another one", keyring.ErrTampered)
	}
	records, err := s.rows(ctx, tx)
	if err != nil {
		return Report{}, err
	}
	var c keyring.Changes
	var live setHash
	if err := s.decode(records, &c, &live); err != nil {
		return Report{}, err
	}
	trail, err := s.compare(ctx, tx, h, records)
	if err != nil {
		return Report{}, err
	}
	if live != h.live {
		return Report{}, errUnexplained
	}
	kids := map[string]string{} // as the records have them
	r := Report{
		Store: s.store, Position: h.at, Schema: m.version, Writes: trail.writes,
		Issuers: len(c.Issuers), Rings: len(c.Rings), Grants: len(c.Grants), Cutoffs: len(c.Cutoffs),
	}
	for i := range c.Rings {
		r.Keys += len(c.Rings[i].Keys)
		for k := range c.Rings[i].Keys {
			kids[c.Rings[i].Keys[k].Kid] = keyring.KeyID(c.Rings[i].Name, c.Rings[i].Keys[k].Serial)
		}
	}
	gone, err := s.readArchive(ctx, tx, func(id string, k *keyring.Key) error {
		r.Archived++
		kids[k.Kid] = id
		return nil
	})
	if err != nil {
		return Report{}, err
	}
	delete(kids, "") // keys that were never minted
	r.Kids = len(kids)
	if err := s.compareKids(ctx, tx, kids); err != nil {
		return Report{}, err
	}
	if gone != h.gone {
		return Report{}, fmt.Errorf("%w: a key is missing from the archive or was replaced there, and no kid tells which", keyring.ErrTampered)
	}
	return r, tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM sealed`).Scan(&r.Sealed)
}

// errUnexplained cannot happen while SHA-256 and the set hash hold: every row agrees with the history, and the history with the head.
var errUnexplained = fmt.Errorf("%w: the rows are not the ones that the head speaks of", keyring.ErrTampered)

// blame finds out why the set hash of the rows is not the head's.
func (s *Store) blame(ctx context.Context, tx *sql.Tx, h head, records []record) error {
	if _, err := s.compare(ctx, tx, h, records); err != nil {
		return err
	}
	return errUnexplained
}

// compare holds all rows, whose MACs are good, against the whole history.
func (s *Store) compare(ctx context.Context, tx *sql.Tx, h head, records []record) (trail, error) {
	t, err := s.walk(ctx, tx, h)
	if err != nil {
		return t, err
	}
	here := make(map[rowName]bool, len(records))
	for i := range records {
		name := rowName{records[i].kind, records[i].name}
		here[name] = true
		if err := agree(name, &records[i], t.last[name]); err != nil {
			return t, err
		}
	}
	for name, last := range t.last {
		if !here[name] {
			return t, agree(name, nil, last)
		}
	}
	return t, nil
}

// compareKids holds the index of kids against the records it was made from.
func (s *Store) compareKids(ctx context.Context, tx *sql.Tx, want map[string]string) error {
	index, err := list(ctx, tx, func(rows *sql.Rows, r *record) error {
		r.kind = kindKid
		return rows.Scan(&r.name, &r.body, &r.mac)
	}, `SELECT kid, key_id, mac FROM kids`)
	if err != nil {
		return err
	}
	for i := range index {
		r := &index[i]
		if err := s.key.check(r); err != nil {
			return err
		}
		if want[r.name] != string(r.body) {
			return fmt.Errorf("%w: %s belongs to key %s, whose record was deleted from the archive", keyring.ErrTampered, r, r.body)
		}
		delete(want, r.name)
	}
	for kid, id := range want {
		return fmt.Errorf("%w: kid %s of key %s was deleted from the index", keyring.ErrTampered, kid, id)
	}
	return nil
}
