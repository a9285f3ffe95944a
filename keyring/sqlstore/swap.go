package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"intaglio.example/keyring"
)

// Swap is [keyring.Store.Swap]. A Swap that takes longer than a moment while a cutoff waits is ended with a plain error.
func (s *Store) Swap(ctx context.Context, asOf keyring.Position, e keyring.Edit) (keyring.Position, error) {
	var at keyring.Position
	err := s.write(ctx, func(ctx context.Context, tx *sql.Tx) (err error) {
		at, err = s.swap(ctx, tx, asOf, e)
		return err
	})
	if err != nil {
		return keyring.Position{}, fmt.Errorf("writing to store %s: %w", s.store, err)
	}
	return at, nil
}

func (s *Store) swap(ctx context.Context, tx *sql.Tx, asOf keyring.Position, e keyring.Edit) (keyring.Position, error) {
	h, err := s.head(ctx, tx, forUpdate)
	if err != nil {
		return keyring.Position{}, err
	}
	if err := s.contains(ctx, tx, h, asOf); err != nil {
		return keyring.Position{}, err
	}
	w := &swap{
		write:   write{store: s, tx: tx, head: h, revision: h.at.Revision + 1},
		asOf:    asOf.Revision,
		present: map[rowName]*record{},
	}
	if err := w.edit(ctx, e); err != nil {
		return keyring.Position{}, err
	}
	return w.finish(ctx)
}

// swap is one Swap in progress.
type swap struct {
	write
	asOf    keyring.Revision
	present map[rowName]*record // the rows that the edit replaces, nil where it adds one
	cutoffs keyring.Cutoffs     // those that can concern a key of the rings in the edit
}

// edit makes sure of every row that is to be replaced, then writes.
func (w *swap) edit(ctx context.Context, e keyring.Edit) error {
	if len(e.Issuers)+len(e.Rings)+len(e.Grants) == 0 {
		return fmt.Errorf("%w: the edit is empty", keyring.ErrInvalid)
	}
	for i := range e.Issuers {
		if err := w.claim(ctx, kindIssuer, e.Issuers[i].Name); err != nil {
			return err
		}
	}
	for i := range e.Rings {
		if err := w.claim(ctx, kindRing, e.Rings[i].Name); err != nil {
			return err
		}
	}
	for i := range e.Grants {
		if err := w.claim(ctx, kindGrant, e.Grants[i].Name); err != nil {
			return err
		}
	}
	old, oldest, err := w.decodeRings(e.Rings)
	if err != nil {
		return err
	}
	if err := w.loadCutoffs(ctx, oldest); err != nil {
		return err
	}
	if err := w.issuers(ctx, e.Issuers); err != nil {
		return err
	}
	if err := w.rings(ctx, old, e.Rings); err != nil {
		return err
	}
	return w.grants(ctx, e.Grants)
}

// claim reads the row that is to be replaced. It refuses a row that the edit names twice, and one that was written after asOf.
func (w *swap) claim(ctx context.Context, kind, name string) error {
	n := rowName{kind, name}
	if _, ok := w.present[n]; ok {
		return fmt.Errorf("%w: %s is in the edit twice", keyring.ErrInvalid, n)
	}
	last, err := lastEntry(ctx, w.tx, n)
	if err != nil {
		return err
	}
	r, err := w.store.current(ctx, w.tx, n, last)
	if err != nil {
		return err
	}
	if r != nil && r.revision > w.asOf {
		return fmt.Errorf("%w: %s was written at revision %d, after %d", keyring.ErrConflict, n, r.revision, w.asOf)
	}
	w.present[n] = r
	return nil
}

// replace writes a row in the place of the one that was claimed.
func (w *swap) replace(ctx context.Context, kind, name string, v any) error {
	body, err := encode(v)
	if err != nil {
		return fmt.Errorf("%s %s: %w", kind, name, err)
	}
	return w.put(ctx, w.present[rowName{kind, name}], kind, name, body)
}

// issuers writes issuers. It reads all there are, to keep their URLs apart.
func (w *swap) issuers(ctx context.Context, next []keyring.Issuer) error {
	if len(next) == 0 {
		return nil
	}
	scan := func(rows *sql.Rows, r *record) error {
		return rows.Scan(&r.kind, &r.name, &r.revision, &r.body, &r.mac)
	}
	all, err := list(ctx, w.tx, scan, `SELECT kind, name, revision, body, mac FROM records WHERE kind = 'issuer'`)
	if err != nil {
		return err
	}
	urls, owners := map[string]string{}, map[string]string{}
	for i := range all {
		var v keyring.Issuer
		if err := w.store.key.check(&all[i]); err != nil {
			return err
		}
		if err := json.Unmarshal(all[i].body, &v); err != nil {
			return err
		}
		urls[v.Name], owners[v.URL] = v.URL, v.Name
	}
	for _, i := range next {
		if err := i.Validate(); err != nil {
			return err
		}
		if url, ok := urls[i.Name]; ok && url != i.URL {
			return fmt.Errorf("%w: the URL of issuer %s never changes, it is %s", keyring.ErrRefused, i.Name, url)
		}
		if owner, ok := owners[i.URL]; ok && owner != i.Name {
			return fmt.Errorf("%w: URL %s of issuer %s belongs to issuer %s", keyring.ErrInvalid, i.URL, i.Name, owner)
		}
		owners[i.URL] = i.Name
		if err := w.replace(ctx, kindIssuer, i.Name, i); err != nil {
			return err
		}
	}
	return nil
}

func (w *swap) grants(ctx context.Context, next []keyring.Grant) error {
	for _, g := range next {
		if err := g.Validate(); err != nil {
			return err
		}
		if err := w.replace(ctx, kindGrant, g.Name, g); err != nil {
			return err
		}
	}
	return nil
}
