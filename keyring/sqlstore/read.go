package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"

	"intaglio.example/keyring"
)

// Changes is [keyring.Store.Changes], in one transaction. What it costs follows what changed: nothing, three small rows;
// a few rows, those and their history; everything (the zero since), every row once, and the history not at all.
func (s *Store) Changes(ctx context.Context, since keyring.Position) (keyring.Changes, error) {
	c := keyring.Changes{Store: s.store, Timing: s.timing}
	err := s.read(ctx, func(ctx context.Context, tx *sql.Tx) error {
		h, err := s.head(ctx, tx, forReading)
		if err != nil {
			return err
		}
		c.Position = h.at
		if since == h.at {
			return nil
		}
		if since == (keyring.Position{}) {
			c.Full = true
			return s.full(ctx, tx, h, &c)
		}
		if err := s.contains(ctx, tx, h, since); err != nil {
			return err
		}
		return s.delta(ctx, tx, since, h, &c)
	})
	if err != nil {
		return keyring.Changes{}, fmt.Errorf("reading store %s: %w", s.store, err)
	}
	return c, nil
}

type intent bool

const (
	forReading intent = false
	forUpdate  intent = true
)

// head reads where the store stands. The schema comes first: a newer release may have moved everything else.
func (s *Store) head(ctx context.Context, tx *sql.Tx, why intent) (head, error) {
	v, err := version(ctx, tx)
	if err == nil {
		err = checkVersion(v, s.known)
	}
	if err != nil {
		return head{}, err
	}
	query := `SELECT revision, body, mac FROM head`
	if why == forUpdate {
		query += s.dialect.lock
	}
	r := record{kind: kindHead}
	err = tx.QueryRowContext(ctx, query).Scan(&r.revision, &r.body, &r.mac)
	if errors.Is(err, sql.ErrNoRows) {
		return head{}, fmt.Errorf("%w: the head was deleted", keyring.ErrTampered)
	}
	if err != nil {
		return head{}, err
	}
	if err := s.key.check(&r); err != nil {
		return head{}, err
	}
	h, err := parseHead(r.revision, r.body)
	if err != nil {
		return head{}, err
	}
	return h, s.checkTip(ctx, tx, h.at)
}

// checkTip refuses a head that is not where the history ends, such as an older copy of itself.
func (s *Store) checkTip(ctx context.Context, tx *sql.Tx, at keyring.Position) error {
	tip := record{kind: kindHistory}
	err := tx.QueryRowContext(ctx, `SELECT revision, digest, mac FROM history ORDER BY revision DESC LIMIT 1`).Scan(&tip.revision, &tip.body, &tip.mac)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if err != nil || tip.revision < at.Revision {
		return fmt.Errorf("%w: the history of revision %d, the newest, was deleted", keyring.ErrTampered, at.Revision)
	}
	if err := s.key.check(&tip); err != nil {
		return err
	}
	if tip.revision > at.Revision {
		return fmt.Errorf("%w: the head was replaced by its copy of revision %d, the history goes on to %d", keyring.ErrTampered, at.Revision, tip.revision)
	}
	if string(tip.body) != string(at.Digest[:]) {
		return fmt.Errorf("%w: the head and the history of revision %d are of different pasts", keyring.ErrTampered, at.Revision)
	}
	return nil
}

// positionAt returns the position that the store was at when it was at revision rev.
func (s *Store) positionAt(ctx context.Context, tx *sql.Tx, rev keyring.Revision) (at keyring.Position, ok bool, err error) {
	r := record{kind: kindHistory, revision: rev}
	err = tx.QueryRowContext(ctx, `SELECT digest, mac FROM history WHERE revision = $1`, int64(rev)).Scan(&r.body, &r.mac)
	if errors.Is(err, sql.ErrNoRows) {
		return at, false, nil
	}
	if err == nil {
		err = s.key.check(&r)
	}
	if err != nil {
		return at, false, err
	}
	at.Revision = rev
	copy(at.Digest[:], r.body)
	return at, true, nil
}

// contains reports ErrRollback unless p is the zero position or one the store was at.
func (s *Store) contains(ctx context.Context, tx *sql.Tx, h head, p keyring.Position) error {
	if p == (keyring.Position{}) {
		return nil
	}
	if p.Revision > h.at.Revision {
		return fmt.Errorf("%w: it is at %v and was asked about %v", keyring.ErrRollback, h.at, p)
	}
	at, ok, err := s.positionAt(ctx, tx, p.Revision)
	if err != nil {
		return err
	}
	if ok && at == p {
		return nil
	}
	// Either the store was never there, or somebody deleted what it remembers of it.
	if _, err := s.walk(ctx, tx, h); err != nil {
		return err
	}
	return fmt.Errorf("%w: it is at %v and was never at %v", keyring.ErrRollback, h.at, p)
}

// full reads every row and proves by the set hash that none is missing, added, or older than it should be.
func (s *Store) full(ctx context.Context, tx *sql.Tx, h head, c *keyring.Changes) error {
	var set setHash
	records, err := s.rows(ctx, tx)
	if err != nil {
		return err
	}
	if err := s.decode(records, c, &set); err != nil {
		return err
	}
	if set != h.live {
		return s.blame(ctx, tx, h, records)
	}
	return nil
}

// rows reads all current rows and cutoffs, by name, and the cutoffs after them, oldest first. It checks nothing but that no row stands
// there twice: a set hash is blind to 65,536 copies of one row.
func (s *Store) rows(ctx context.Context, tx *sql.Tx) ([]record, error) {
	scan := func(rows *sql.Rows, r *record) error {
		return rows.Scan(&r.kind, &r.name, &r.revision, &r.body, &r.mac)
	}
	records, err := list(ctx, tx, scan, `SELECT kind, name, revision, body, mac FROM records ORDER BY name`)
	if err != nil {
		return nil, err
	}
	cutoffs, err := list(ctx, tx, scan, `SELECT 'cutoff', operation, revision, body, mac FROM cutoffs ORDER BY revision`)
	if err != nil {
		return nil, err
	}
	records = append(records, cutoffs...)
	seen := make(map[rowName]bool, len(records))
	for i := range records {
		r := &records[i]
		name := rowName{r.kind, r.name}
		if seen[name] {
			return nil, fmt.Errorf("%w: there are two rows of %s", keyring.ErrTampered, name)
		}
		seen[name] = true
	}
	return records, nil
}

// delta reads the history from since to the head, recomputes the digest over it, and reads the rows that it names.
func (s *Store) delta(ctx context.Context, tx *sql.Tx, since keyring.Position, h head, c *keyring.Changes) error {
	entries, err := list(ctx, tx, scanEntry, `SELECT revision, kind, name, sum FROM entries WHERE revision > $1 ORDER BY revision, ordinal`, int64(since.Revision))
	if err != nil {
		return err
	}
	if follow(since, entries) != h.at {
		if _, err := s.walk(ctx, tx, h); err != nil {
			return err
		}
		return fmt.Errorf("%w: the history after %v does not lead to %v", keyring.ErrTampered, since, h.at)
	}
	last := map[rowName]*entry{}
	for i := range entries {
		last[entries[i].rowName] = &entries[i]
	}
	order := slices.SortedFunc(maps.Keys(last), func(a, b rowName) int {
		if a.kind == kindCutoff && b.kind == kindCutoff {
			return cmp.Compare(last[a].revision, last[b].revision)
		}
		return cmp.Or(strings.Compare(a.kind, b.kind), strings.Compare(a.name, b.name))
	})
	records := make([]record, 0, len(order))
	for _, name := range order {
		r, err := s.current(ctx, tx, name, last[name])
		if err != nil {
			return err
		}
		records = append(records, *r)
	}
	return s.decode(records, c, &setHash{})
}

// current reads a row that must agree with its last entry in the history; nil if there is neither.
func (s *Store) current(ctx context.Context, tx *sql.Tx, name rowName, last *entry) (*record, error) {
	r, err := s.lookup(ctx, tx, name)
	if err != nil {
		return nil, err
	}
	return r, agree(name, r, last)
}

// lookup reads a row with a good MAC; nil if there is none.
func (s *Store) lookup(ctx context.Context, tx *sql.Tx, name rowName) (*record, error) {
	query := `SELECT revision, body, mac FROM records WHERE name = $1 AND kind = $2`
	args := []any{name.name, name.kind}
	if name.kind == kindCutoff {
		query, args = `SELECT revision, body, mac FROM cutoffs WHERE operation = $1`, args[:1]
	}
	r := &record{kind: name.kind, name: name.name}
	err := tx.QueryRowContext(ctx, query, args...).Scan(&r.revision, &r.body, &r.mac)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return r, s.key.check(r)
}

// decode checks the records' MACs, adds them to set, and appends what they hold to c, in their order.
func (s *Store) decode(records []record, c *keyring.Changes, set *setHash) error {
	by := map[string][]record{}
	for _, r := range records {
		by[r.kind] = append(by[r.kind], r)
	}
	for kind, rs := range by {
		if kind != kindIssuer && kind != kindRing && kind != kindGrant && kind != kindCutoff {
			return fmt.Errorf("%w: %s is of a kind that the store does not know", keyring.ErrTampered, &rs[0])
		}
	}
	var err error
	if c.Issuers, err = decodeKind(s, by[kindIssuer], set, func(v *keyring.Issuer, rev keyring.Revision) { v.Revision = rev }); err != nil {
		return err
	}
	if c.Rings, err = decodeKind(s, by[kindRing], set, func(v *keyring.Ring, rev keyring.Revision) { v.Revision = rev }); err != nil {
		return err
	}
	if c.Grants, err = decodeKind(s, by[kindGrant], set, func(v *keyring.Grant, rev keyring.Revision) { v.Revision = rev }); err != nil {
		return err
	}
	c.Cutoffs, err = decodeKind(s, by[kindCutoff], set, func(v *keyring.Cutoff, rev keyring.Revision) { v.Revision = rev })
	return err
}

// decodeKind does the work of decode for the records of one kind, on all processors.
func decodeKind[T any](s *Store, records []record, set *setHash, stamp func(*T, keyring.Revision)) ([]T, error) {
	out := make([]T, len(records))
	shares := runtime.GOMAXPROCS(0)
	sums, errs := make([]setHash, shares), make([]error, shares)
	var wg sync.WaitGroup
	for n := range shares {
		wg.Go(func() {
			for i := n * len(records) / shares; i < (n+1)*len(records)/shares && errs[n] == nil; i++ {
				r := &records[i]
				sums[n].add(r)
				if errs[n] = s.key.check(r); errs[n] == nil {
					errs[n] = json.Unmarshal(r.body, &out[i])
				}
				stamp(&out[i], r.revision)
			}
		})
	}
	wg.Wait()
	for n := range shares {
		if errs[n] != nil {
			return nil, errs[n]
		}
		set.merge(&sums[n])
	}
	return out, nil
}
