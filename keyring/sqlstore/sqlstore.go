package sqlstore

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"intaglio.example/internal/secret"
	"intaglio.example/keyring"
)

// Store is a [keyring.Store] in an SQLite file. Any number of processes on one machine may have it open. All methods
// are safe for concurrent use.
type Store struct {
	meta
	dialect dialect
	key     sealer
	known   int // newest version of the schema that this release knows

	readers *sql.DB // cannot write
	writer  *sql.DB // one connection, taken in turn
	brake   *sql.DB // one connection that only Cut uses
	turn    *turn
}

// How many milliseconds a connection waits while another process writes. A cut waits less: whoever asks for it must
// learn soon that it did not happen.
const (
	readWait  = 5000
	writeWait = 5000
	brakeWait = 2000
)

const readConnections = 4

// Init makes a store in the file at path, with e as its first rows, and returns its id and position. It makes the file
// with mode 0600, or takes one that holds no table. keyring.ErrRefused if there is a store already, keyring.ErrInvalid if
// there is something else. The MAC key has 32 bytes, and is needed to open the store ever after. An Init that failed can
// be repeated.
func Init(ctx context.Context, path string, macKey secret.Bytes, timing keyring.Timing, e keyring.Edit) (id string, at keyring.Position, err error) {
	var b [8]byte
	rand.Read(b[:])
	id = hex.EncodeToString(b[:])
	at, err = initialise(ctx, path, macKey, meta{store: id, timing: timing}, e, schema())
	if err != nil {
		return "", keyring.Position{}, fmt.Errorf("making a store in %s: %w", path, err)
	}
	return id, at, nil
}

func initialise(ctx context.Context, path string, macKey secret.Bytes, m meta, e keyring.Edit, steps []migration) (at keyring.Position, err error) {
	if err := m.timing.Validate(); err != nil {
		return at, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		err = f.Close()
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return at, err
	}
	s, err := connect(path, macKey, steps)
	if err != nil {
		return at, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	m.version = len(steps)
	s.adoptMeta(m)
	err = s.write(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if _, err := readVersion(ctx, tx, s.dialect); err == nil {
			return fmt.Errorf("%w: there is a store already", keyring.ErrRefused)
		} else if !errors.Is(err, keyring.ErrNotInitialised) {
			return err
		}
		if err := migrate(ctx, tx, s.dialect, steps, 0); err != nil {
			return err
		}
		at, err = s.found(ctx, tx, e)
		return err
	})
	if err != nil {
		return at, err
	}
	return at, s.failed(ctx, s.dialect.settle(ctx, s.writer))
}

// found writes the first rows: revision 0, whose digest no other store has, and the edit on top of it.
func (s *Store) found(ctx context.Context, tx *sql.Tx, e keyring.Edit) (keyring.Position, error) {
	origin, err := s.origin()
	if err != nil {
		return origin, err
	}
	h := head{at: origin}
	w := &write{store: s, tx: tx, head: h}
	if err := errors.Join(writeMeta(ctx, tx, s.key, s.meta), w.place(ctx)); err != nil {
		return h.at, err
	}
	if len(e.Issuers)+len(e.Rings)+len(e.Grants) == 0 {
		return h.at, nil
	}
	return s.swap(ctx, tx, h.at, e)
}

// origin is the position of revision 0. Its digest binds the store's id and timing, so that no two stores share a past.
func (s *Store) origin() (keyring.Position, error) {
	timing, err := json.Marshal(s.timing)
	b := append(appendText([]byte("intaglio store 1\x00"), s.store), timing...)
	return keyring.Position{Digest: sha256.Sum256(b)}, err
}

// Open opens the store at path and migrates an older schema to this release's. It never makes a store:
// keyring.ErrNotInitialised if there is none, keyring.ErrNewerSchema if a newer release wrote it, keyring.ErrTampered
// if its description does not carry a MAC of this key.
func Open(ctx context.Context, path string, macKey secret.Bytes) (*Store, error) {
	s, err := open(ctx, path, macKey, schema())
	if err != nil {
		return nil, fmt.Errorf("opening the store in %s: %w", path, err)
	}
	return s, nil
}

func open(ctx context.Context, path string, macKey secret.Bytes, steps []migration) (*Store, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: there is no such file", keyring.ErrNotInitialised)
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: it is not a regular file", keyring.ErrInvalid)
	}
	s, err := connect(path, macKey, steps)
	if err != nil {
		return nil, err
	}
	if err := s.begin(ctx, steps); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// begin makes sure that the database is this store and of this release's schema.
func (s *Store) begin(ctx context.Context, steps []migration) error {
	var m meta
	err := s.read(ctx, func(ctx context.Context, tx *sql.Tx) (err error) {
		m, err = s.describe(ctx, tx)
		return err
	})
	if err != nil {
		return err
	}
	s.adoptMeta(m)
	if err := s.failed(ctx, s.dialect.settle(ctx, s.writer)); err != nil {
		return err
	}
	if m.version < len(steps) {
		err = s.write(ctx, func(ctx context.Context, tx *sql.Tx) error { return s.upgrade(ctx, tx, steps) })
	}
	return errors.Join(err, s.brake.PingContext(ctx))
}

// describe reads the store's description, if this release can.
func (s *Store) describe(ctx context.Context, tx *sql.Tx) (meta, error) {
	v, err := readVersion(ctx, tx, s.dialect)
	if err == nil {
		err = checkVersion(v, s.known)
	}
	if err != nil {
		return meta{}, err
	}
	return readMeta(ctx, tx, s.key)
}

// upgrade brings the schema to this release's version, unless another process has just done so.
func (s *Store) upgrade(ctx context.Context, tx *sql.Tx, steps []migration) error {
	m, err := s.describe(ctx, tx)
	if err != nil {
		return err
	}
	if err := migrate(ctx, tx, s.dialect, steps, m.version); err != nil {
		return err
	}
	m.version = len(steps)
	s.adoptMeta(m)
	return writeMeta(ctx, tx, s.key, m)
}

func (s *Store) adoptMeta(m meta) {
	s.meta = m
	s.key.store = m.store
}

func connect(path string, macKey secret.Bytes, steps []migration) (*Store, error) {
	if macKey.Len() != keyLen {
		return nil, fmt.Errorf("%w: a MAC key has %d bytes, this one %d", keyring.ErrInvalid, keyLen, macKey.Len())
	}
	s := &Store{dialect: sqliteDialect(), key: sealer{key: macKey}, known: len(steps), turn: newTurn()}
	var errs [3]error
	s.readers, errs[0] = openSQLite(path, readWait, readConnections, "&_query_only=1")
	s.writer, errs[1] = openSQLite(path, writeWait, 1, "&_txlock=immediate")
	s.brake, errs[2] = openSQLite(path, brakeWait, 1, "&_txlock=immediate")
	if err := errors.Join(errs[:]...); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// ID is the store's id: 16 hexadecimal digits, drawn when it was made.
func (s *Store) ID() string { return s.store }

// Timing is the store's clockwork, set when it was made.
func (s *Store) Timing() keyring.Timing { return s.timing }

// Close ends all connections. The last process to close the store folds the write-ahead log into the database.
func (s *Store) Close() error {
	var err error
	for _, db := range []*sql.DB{s.readers, s.brake, s.writer} {
		if db != nil {
			err = errors.Join(err, db.Close())
		}
	}
	return err
}

// read runs do in a transaction that sees one instant of the database.
func (s *Store) read(ctx context.Context, do func(context.Context, *sql.Tx) error) error {
	tx, err := s.readers.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return s.failed(ctx, err)
	}
	defer tx.Rollback()
	return s.failed(ctx, do(ctx, tx))
}

// write runs do in a transaction that no other write overlaps, when it is its turn.
func (s *Store) write(ctx context.Context, do func(context.Context, *sql.Tx) error) error {
	ctx, release, err := s.turn.take(ctx)
	if err != nil {
		return err
	}
	defer release()
	return s.transact(ctx, s.writer, do)
}

func (s *Store) transact(ctx context.Context, db *sql.DB, do func(context.Context, *sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return s.failed(ctx, err)
	}
	defer tx.Rollback() // does nothing after Commit
	if err := do(ctx, tx); err != nil {
		return s.failed(ctx, err)
	}
	return s.failed(ctx, tx.Commit())
}

// failed explains an error of the database; one that comes of the context's end is the context's.
func (s *Store) failed(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w (%w)", cause, err)
	}
	return s.dialect.explain(err)
}
