package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"intaglio.example/keyring"
)

// write is one write in progress: rows as they go in, and the head as it will be.
type write struct {
	store    *Store
	tx       *sql.Tx
	head     head
	revision keyring.Revision
	entries  []keyring.Entry
}

// put writes a row in place of old, which is nil when there is none.
func (w *write) put(ctx context.Context, old *record, kind, name string, body []byte) error {
	r := w.store.key.sealed(kind, name, w.revision, body)
	statement := `INSERT INTO records (revision, name, body, mac, kind) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (kind, name) DO UPDATE SET revision = excluded.revision, body = excluded.body, mac = excluded.mac`
	args := []any{int64(r.revision), r.name, r.body, r.mac, r.kind}
	if kind == kindCutoff {
		statement, args = `INSERT INTO cutoffs (revision, operation, body, mac) VALUES ($1, $2, $3, $4)`, args[:4]
	}
	if _, err := w.tx.ExecContext(ctx, statement, args...); err != nil {
		return fmt.Errorf("writing %s: %w", r, err)
	}
	if old != nil {
		w.head.live.remove(old)
	}
	w.head.live.add(r)
	w.entries = append(w.entries, keyring.Entry{Kind: kind, Name: name, Sum: r.sum()})
	return nil
}

// finish writes the history and the head, and returns the position after the write.
func (w *write) finish(ctx context.Context) (keyring.Position, error) {
	w.head.at = w.head.at.Next(w.revision, w.entries)
	insert, err := w.tx.PrepareContext(ctx, `INSERT INTO entries (revision, ordinal, kind, name, sum) VALUES ($1, $2, $3, $4, $5)`)
	if err != nil {
		return keyring.Position{}, err
	}
	defer insert.Close()
	for i, e := range w.entries {
		if _, err := insert.ExecContext(ctx, int64(w.revision), i, e.Kind, e.Name, e.Sum[:]); err != nil {
			return keyring.Position{}, fmt.Errorf("writing the history of revision %d: %w", w.revision, err)
		}
	}
	return w.head.at, w.place(ctx)
}

// place writes the head and the history's row for it.
func (w *write) place(ctx context.Context) error {
	at, key := w.head.at, w.store.key
	past := key.sealed(kindHistory, "", at.Revision, at.Digest[:])
	if _, err := w.tx.ExecContext(ctx, `INSERT INTO history (revision, digest, mac) VALUES ($1, $2, $3)`, int64(past.revision), past.body, past.mac); err != nil {
		return fmt.Errorf("writing the history of revision %d: %w", at.Revision, err)
	}
	r := key.sealed(kindHead, "", at.Revision, w.head.body())
	_, err := w.tx.ExecContext(ctx, `INSERT INTO head (one, revision, body, mac) VALUES (1, $1, $2, $3)
		ON CONFLICT (one) DO UPDATE SET revision = excluded.revision, body = excluded.body, mac = excluded.mac`, int64(r.revision), r.body, r.mac)
	if err != nil {
		return fmt.Errorf("writing the head: %w", err)
	}
	return nil
}

func encode(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", keyring.ErrInvalid, err)
	}
	return b, nil
}
