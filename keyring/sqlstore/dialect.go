package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// dialect is what differs between the databases a store can live in. Everything else, placeholders ($1) and ON CONFLICT
// included, is written so that all of them read it alike.
type dialect struct {
	words  *strings.Replacer         // for the words in braces of the schema
	guard  func(table string) string // statement that lets a table be inserted into and nothing else
	tables string                    // query for the names of all tables
	lock   string                    // appended to the SELECT of the head by a write, which no other write may overtake
	forget string                    // statement that takes deleted bytes off the disk
	// settle is run once on a database that is known to be ours.
	settle func(ctx context.Context, db *sql.DB) error
	// explain adds to an error of the driver what a person can do about it.
	explain func(err error) error
}

// sqliteDialect: a write begins with BEGIN IMMEDIATE, which locks more than the head.
func sqliteDialect() dialect {
	return dialect{
		words:   strings.NewReplacer("{bytes}", "BLOB", "{number}", "INTEGER", "{strict}", "STRICT"),
		guard:   sqliteGuard,
		tables:  `SELECT name FROM sqlite_schema WHERE type = 'table'`,
		forget:  `PRAGMA wal_checkpoint(TRUNCATE)`,
		settle:  sqliteSettle,
		explain: sqliteExplain,
	}
}

// sqliteGuard does not stop whoever can change the schema. It stops our own mistakes.
func sqliteGuard(table string) string {
	var b strings.Builder
	for _, verb := range []string{"UPDATE", "DELETE"} {
		fmt.Fprintf(&b, "CREATE TRIGGER %s_%s BEFORE %s ON %s BEGIN SELECT RAISE(ABORT, '%s: rows are inserted and never changed'); END;\n",
			table, strings.ToLower(verb), verb, table, table)
	}
	return b.String()
}

// openSQLite opens a pool on an existing file; wait is how many milliseconds a connection waits for a lock.
func openSQLite(path string, wait, connections int, extra string) (*sql.DB, error) {
	dsn := fmt.Sprintf("file:%s?mode=rw&_busy_timeout=%d&_synchronous=FULL&_foreign_keys=1&_dqs=0&_defensive=1"+
		"&_pragma=secure_delete(1)&_pragma=trusted_schema(0)%s", (&url.URL{Path: path}).EscapedPath(), wait, extra)
	connector, err := sqlite.NewConnector(dsn)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

// sqliteSettle turns the write-ahead log on, for good. A connection does not do it: it would change a file that is not
// ours. Turning it on needs the file for itself, and SQLite does not wait for that.
func sqliteSettle(ctx context.Context, db *sql.DB) error {
	for attempt := 0; ; attempt++ {
		var mode string
		err := db.QueryRowContext(ctx, `PRAGMA journal_mode = WAL`).Scan(&mode)
		if err == nil && mode != "wal" {
			return fmt.Errorf("the file system allows no write-ahead log: journal mode is %s", mode)
		}
		if err == nil {
			return nil
		}
		if attempt == settleAttempts || sqliteCode(err) != sqlite3.SQLITE_BUSY {
			return fmt.Errorf("turning the write-ahead log on: %w", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("turning the write-ahead log on: %w", ctx.Err())
		case <-time.After(settlePause):
		}
	}
}

const (
	settleAttempts = 250
	settlePause    = 20 * time.Millisecond
)

// sqliteCode is the primary result code of an error, or 0.
func sqliteCode(err error) int {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return 0
	}
	return e.Code() & 0xff
}

func sqliteExplain(err error) error {
	switch sqliteCode(err) {
	case sqlite3.SQLITE_FULL:
		return fmt.Errorf("the database is full: %w", err)
	case sqlite3.SQLITE_BUSY:
		return fmt.Errorf("the database is held by another process: %w", err)
	case sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("the file is not a database: %w", err)
	case sqlite3.SQLITE_CORRUPT:
		return fmt.Errorf("the file is truncated or damaged: %w", err)
	case sqlite3.SQLITE_READONLY:
		return fmt.Errorf("the database cannot be written to: %w", err)
	}
	return err
}
