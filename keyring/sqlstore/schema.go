package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"intaglio.example/keyring"
)

// migration is the statements that lead from one version of the schema to the next.
type migration func(d dialect) []string

// schema lists all migrations; version n of the schema is what the first n make. A release may append to it and never
// changes what stands there.
func schema() []migration { return []migration{version1} }

// version1 is the first schema. Each table that carries a MAC says in its columns what mac.go calls a record.
func version1(d dialect) []string {
	tables := `
CREATE TABLE meta (
	one    {number} PRIMARY KEY CHECK (one = 1),
	store  TEXT NOT NULL,
	schema {number} NOT NULL,
	timing {bytes} NOT NULL,
	mac    {bytes} NOT NULL
) {strict};
CREATE TABLE head (
	one      {number} PRIMARY KEY CHECK (one = 1),
	revision {number} NOT NULL,
	body     {bytes} NOT NULL,
	mac      {bytes} NOT NULL
) {strict};
CREATE TABLE records (
	kind     TEXT NOT NULL,
	name     TEXT NOT NULL,
	revision {number} NOT NULL,
	body     {bytes} NOT NULL,
	mac      {bytes} NOT NULL,
	PRIMARY KEY (kind, name)
) {strict};
CREATE TABLE cutoffs (
	revision  {number} PRIMARY KEY,
	operation TEXT NOT NULL UNIQUE,
	body      {bytes} NOT NULL,
	mac       {bytes} NOT NULL
) {strict};
CREATE TABLE history (
	revision {number} PRIMARY KEY,
	digest   {bytes} NOT NULL,
	mac      {bytes} NOT NULL
) {strict};
CREATE TABLE entries (
	revision {number} NOT NULL,
	ordinal  {number} NOT NULL,
	kind     TEXT NOT NULL,
	name     TEXT NOT NULL,
	sum      {bytes} NOT NULL,
	PRIMARY KEY (revision, ordinal)
) {strict};
CREATE INDEX entries_by_name ON entries (kind, name, revision);
CREATE TABLE kids (
	kid    TEXT PRIMARY KEY,
	key_id TEXT NOT NULL,
	mac    {bytes} NOT NULL
) {strict};
CREATE TABLE archive (
	ring     TEXT NOT NULL,
	serial   {number} NOT NULL,
	revision {number} NOT NULL,
	body     {bytes} NOT NULL,
	mac      {bytes} NOT NULL,
	PRIMARY KEY (ring, serial)
) {strict};
CREATE TABLE sealed (
	label TEXT PRIMARY KEY,
	blob  {bytes} NOT NULL
) {strict};`
	statements := []string{d.words.Replace(tables)}
	for _, table := range []string{"cutoffs", "history", "entries", "kids", "archive"} {
		statements = append(statements, d.guard(table))
	}
	return statements
}

// migrate runs the migrations after version from, inside the caller's transaction.
func migrate(ctx context.Context, tx *sql.Tx, d dialect, steps []migration, from int) error {
	for i := from; i < len(steps); i++ {
		for _, statement := range steps[i](d) {
			if _, err := tx.ExecContext(ctx, statement); err != nil {
				return fmt.Errorf("migrating the schema to version %d: %w", i+1, err)
			}
		}
	}
	return nil
}

// meta is the store's description of itself.
type meta struct {
	store   string
	version int
	timing  keyring.Timing
}

// readVersion returns the schema's version, or ErrNotInitialised when there is none. It reads nothing that a newer
// release may have moved.
func readVersion(ctx context.Context, tx *sql.Tx, d dialect) (int, error) {
	tables, err := list(ctx, tx, func(rows *sql.Rows, name *string) error { return rows.Scan(name) }, d.tables)
	if err != nil {
		return 0, err
	}
	if len(tables) == 0 {
		return 0, keyring.ErrNotInitialised
	}
	if !slices.Contains(tables, "meta") {
		return 0, fmt.Errorf("%w: the database belongs to something else, it has tables %.5q", keyring.ErrInvalid, tables)
	}
	return version(ctx, tx)
}

func version(ctx context.Context, tx *sql.Tx) (v int, err error) {
	err = tx.QueryRowContext(ctx, `SELECT schema FROM meta`).Scan(&v)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, fmt.Errorf("%w: the store's description was deleted", keyring.ErrTampered)
	}
	return v, err
}

// checkVersion refuses a schema that this release does not know.
func checkVersion(v, known int) error {
	if v > known {
		return fmt.Errorf("%w: schema %d was written by a newer release; this one knows up to %d", keyring.ErrNewerSchema, v, known)
	}
	return nil
}

func readMeta(ctx context.Context, tx *sql.Tx, key sealer) (meta, error) {
	r := record{kind: kindMeta}
	if err := tx.QueryRowContext(ctx, `SELECT store, schema, timing, mac FROM meta`).Scan(&r.name, &r.revision, &r.body, &r.mac); err != nil {
		return meta{}, err
	}
	key.store = r.name
	if err := key.check(&r); err != nil {
		return meta{}, fmt.Errorf("%w: this is the wrong MAC key file, or the store's description was edited", keyring.ErrTampered)
	}
	m := meta{store: r.name, version: int(r.revision)}
	return m, json.Unmarshal(r.body, &m.timing)
}

func writeMeta(ctx context.Context, tx *sql.Tx, key sealer, m meta) error {
	timing, err := json.Marshal(m.timing)
	if err != nil {
		return err
	}
	key.store = m.store
	r := key.sealed(kindMeta, m.store, keyring.Revision(m.version), timing)
	_, err = tx.ExecContext(ctx, `INSERT INTO meta (one, store, schema, timing, mac) VALUES (1, $1, $2, $3, $4)
		ON CONFLICT (one) DO UPDATE SET store = excluded.store, schema = excluded.schema, timing = excluded.timing, mac = excluded.mac`,
		r.name, int64(r.revision), r.body, r.mac)
	return err
}

// list gathers the rows of a query.
func list[T any](ctx context.Context, tx *sql.Tx, scan func(*sql.Rows, *T) error, query string, args ...any) ([]T, error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		var v T
		if err := scan(rows, &v); err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}
