package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// Sealed keeps the sealed keys of the software backend, by label. The store knows nothing of what is in them: they are
// sealed under keys that never come here. They are no part of the store's revision and history. All methods are safe
// for concurrent use.
type Sealed struct{ s *Store }

// Sealed returns the sealed keys in this store's database.
func (s *Store) Sealed() Sealed { return Sealed{s} }

// Put keeps blob under label unless there is one, and returns the one that is there now.
func (k Sealed) Put(ctx context.Context, label string, blob []byte) (kept []byte, err error) {
	err = k.s.write(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `INSERT INTO sealed (label, blob) VALUES ($1, $2) ON CONFLICT (label) DO NOTHING`, label, blob); err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, `SELECT blob FROM sealed WHERE label = $1`, label).Scan(&kept)
	})
	if err != nil {
		return nil, fmt.Errorf("keeping sealed key %s: %w", label, err)
	}
	return kept, nil
}

// Get returns the blob under label.
func (k Sealed) Get(ctx context.Context, label string) (blob []byte, ok bool, err error) {
	err = k.s.read(ctx, func(ctx context.Context, tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, `SELECT blob FROM sealed WHERE label = $1`, label).Scan(&blob)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("reading sealed key %s: %w", label, err)
	}
	return blob, true, nil
}

// Replace puts blob next in the place of old, and reports whether old was there.
func (k Sealed) Replace(ctx context.Context, label string, old, next []byte) (ok bool, err error) {
	err = k.s.write(ctx, func(ctx context.Context, tx *sql.Tx) error {
		done, err := tx.ExecContext(ctx, `UPDATE sealed SET blob = $1 WHERE label = $2 AND blob = $3`, next, label, old)
		if err != nil {
			return err
		}
		n, err := done.RowsAffected()
		ok = n == 1
		return err
	})
	if err != nil {
		return false, fmt.Errorf("replacing sealed key %s: %w", label, err)
	}
	return ok, nil
}

// Delete removes the blob under label, if there is one. Its bytes are overwritten in the database, and the write-ahead
// log that may still hold them is emptied, unless a reader is in the way for longer than a moment: then at a later Delete,
// or when the store is closed.
func (k Sealed) Delete(ctx context.Context, label string) error {
	err := k.s.write(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM sealed WHERE label = $1`, label)
		return err
	})
	if err == nil {
		err = k.forget(ctx)
	}
	if err != nil {
		return fmt.Errorf("deleting sealed key %s: %w", label, err)
	}
	return nil
}

// forget takes deleted bytes off the disk. A reader in its way is no failure, and is not waited for longer than a
// moment: the next checkpoint will do it.
func (k Sealed) forget(ctx context.Context) error {
	turn, release, err := k.s.turn.take(ctx)
	if err != nil {
		return err
	}
	defer release()
	brief, cancel := context.WithTimeout(turn, moment)
	defer cancel()
	_, err = k.s.writer.ExecContext(brief, k.s.dialect.forget)
	if brief.Err() != nil && ctx.Err() == nil {
		return nil
	}
	return k.s.failed(ctx, err)
}

// Labels returns all labels, sorted.
func (k Sealed) Labels(ctx context.Context) (labels []string, err error) {
	err = k.s.read(ctx, func(ctx context.Context, tx *sql.Tx) error {
		labels, err = list(ctx, tx, func(rows *sql.Rows, label *string) error { return rows.Scan(label) }, `SELECT label FROM sealed ORDER BY label`)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing sealed keys: %w", err)
	}
	return labels, nil
}
