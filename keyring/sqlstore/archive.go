package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"intaglio.example/keyring"
)

// KeyByKid returns the ID of the key that kid was ever recorded under, whether it is still in its ring or in the archive.
func (s *Store) KeyByKid(ctx context.Context, kid string) (id string, ok bool, err error) {
	err = s.read(ctx, func(ctx context.Context, tx *sql.Tx) error {
		id, ok, err = s.keyByKid(ctx, tx, kid)
		return err
	})
	if err != nil {
		return "", false, fmt.Errorf("looking for kid %s: %w", kid, err)
	}
	return id, ok, nil
}

func (s *Store) keyByKid(ctx context.Context, tx *sql.Tx, kid string) (id string, ok bool, err error) {
	r := record{kind: kindKid, name: kid}
	err = tx.QueryRowContext(ctx, `SELECT key_id, mac FROM kids WHERE kid = $1`, kid).Scan(&r.body, &r.mac)
	if errors.Is(err, sql.ErrNoRows) {
		return "", false, nil
	}
	if err == nil {
		err = s.key.check(&r)
	}
	return string(r.body), err == nil, err
}

// Archived returns the records of the keys that left a ring, by serial, as they were when they left.
func (s *Store) Archived(ctx context.Context, ring string) ([]keyring.Key, error) {
	var keys []keyring.Key
	err := s.read(ctx, func(ctx context.Context, tx *sql.Tx) error {
		records, err := list(ctx, tx, scanArchived, `SELECT ring, serial, revision, body, mac FROM archive WHERE ring = $1 ORDER BY serial`, ring)
		if err != nil {
			return err
		}
		keys, err = decodeKind(s, records, &setHash{}, func(*keyring.Key, keyring.Revision) {})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the archive of ring %s: %w", ring, err)
	}
	return keys, nil
}

func scanArchived(rows *sql.Rows, r *record) error {
	var ring string
	var serial uint64
	err := rows.Scan(&ring, &serial, &r.revision, &r.body, &r.mac)
	r.kind, r.name = kindArchive, keyring.KeyID(ring, serial)
	return err
}

// readArchive shows every archived key and returns the set hash of them all.
func (s *Store) readArchive(ctx context.Context, tx *sql.Tx, show func(id string, k *keyring.Key) error) (set setHash, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT ring, serial, revision, body, mac FROM archive ORDER BY ring, serial`)
	if err != nil {
		return set, err
	}
	defer rows.Close()
	last := ""
	for rows.Next() {
		var r record
		var k keyring.Key
		if err := scanArchived(rows, &r); err != nil {
			return set, err
		}
		if r.name == last {
			return set, fmt.Errorf("%w: there are two rows of %s", keyring.ErrTampered, &r)
		}
		last = r.name
		if err := s.key.check(&r); err != nil {
			return set, err
		}
		if err := json.Unmarshal(r.body, &k); err != nil {
			return set, err
		}
		set.add(&r)
		if err := show(r.name, &k); err != nil {
			return set, err
		}
	}
	return set, rows.Err()
}
