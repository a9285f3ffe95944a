package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"intaglio.example/internal/secret"
	"intaglio.example/keyring"
	"intaglio.example/keyring/sqlstore"
	"intaglio.example/keyring/storetest"
)

// victim is a store with a past, and a copy of it from that past.
type victim struct {
	dir    string
	path   string
	old    string // the copy
	key    secret.Bytes
	then   keyring.Position // of the copy
	now    keyring.Position
	report sqlstore.Report
}

var when = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func build(ctx context.Context, dir string) (*victim, error) {
	v := &victim{dir: dir, path: filepath.Join(dir, "store.db"), old: filepath.Join(dir, "old.db"), key: newKey()}
	edit := keyring.Edit{Issuers: []keyring.Issuer{storetest.Issuer("acme")}, Grants: []keyring.Grant{storetest.Grant("ann"), storetest.Grant("bob")}}
	for _, name := range []string{"acme/access", "acme/id", "acme/old", "acme/partner"} {
		r := storetest.Ring(name)
		storetest.Reserve(&r)
		edit.Rings = append(edit.Rings, r)
	}
	if _, _, err := sqlstore.Init(ctx, v.path, v.key, keyring.DefaultTiming(), edit); err != nil {
		return nil, err
	}
	if err := v.live(ctx, youth); err != nil {
		return nil, err
	}
	v.then = v.now
	if err := copyFile(v.path, v.old); err != nil {
		return nil, err
	}
	return v, v.live(ctx, age)
}

// youth rotates every ring once.
func youth(w *writer) {
	w.each(func(r *keyring.Ring) { storetest.Move(r.Key(1), keyring.Staged) })
	w.each(func(r *keyring.Ring) { storetest.Move(r.Key(1), keyring.Active) })
	w.each(func(r *keyring.Ring) { storetest.Reserve(r) })
	w.each(func(r *keyring.Ring) { storetest.Move(r.Key(2), keyring.Staged) })
	w.each(func(r *keyring.Ring) {
		storetest.Move(r.Key(1), keyring.Retiring)
		storetest.Move(r.Key(2), keyring.Active)
	})
}

// age revokes, retains, destroys and archives keys, deletes a grant, and raises cutoffs.
func age(w *writer) {
	w.each(func(r *keyring.Ring) { storetest.Move(r.Key(1), keyring.Revoked) })
	w.ring("acme/access", func(r *keyring.Ring) { r.Key(2).Retain = true })
	w.ring("acme/id", func(r *keyring.Ring) { storetest.Move(r.Key(2), keyring.Revoked) })
	w.ring("acme/old", func(r *keyring.Ring) { r.Key(1).Destroy = when })
	w.ring("acme/old", func(r *keyring.Ring) { r.Key(1).Destroyed = when })
	w.ring("acme/old", func(r *keyring.Ring) { r.Keys = r.Keys[1:] })
	gone := storetest.Grant("ann")
	gone.Deleted = true
	w.swap(keyring.Edit{Grants: []keyring.Grant{gone}})
	w.cut(keyring.Cutoff{Operation: "op-1", Reach: keyring.Reach{Kind: keyring.OneRing, Name: "acme/id"}, Reason: "leaked", Time: when})
	w.cut(keyring.Cutoff{Operation: "op-2", Reach: keyring.Reach{Kind: keyring.OneBackend, Name: "vault"}, Reason: "stolen", Time: when})
}

// writer writes to the store until something fails.
type writer struct {
	ctx   context.Context
	store *sqlstore.Store
	at    keyring.Position
	err   error
}

// live opens the store, runs a piece of its life, verifies it, and closes it, so that one file holds everything.
func (v *victim) live(ctx context.Context, piece func(*writer)) error {
	s, err := sqlstore.Open(ctx, v.path, v.key)
	if err != nil {
		return err
	}
	w := &writer{ctx: ctx, store: s}
	piece(w)
	if w.err == nil {
		v.now = w.at
		v.report, w.err = s.Verify(ctx)
	}
	if err := s.Close(); w.err == nil {
		w.err = err
	}
	return w.err
}

func (w *writer) each(change func(r *keyring.Ring)) {
	if w.err != nil {
		return
	}
	c, err := w.store.Changes(w.ctx, keyring.Position{})
	if err != nil {
		w.err = err
		return
	}
	for i := range c.Rings {
		change(&c.Rings[i])
	}
	w.at, w.err = w.store.Swap(w.ctx, c.Position, keyring.Edit{Rings: c.Rings})
}

func (w *writer) ring(name string, change func(r *keyring.Ring)) {
	w.each(func(r *keyring.Ring) {
		if r.Name == name {
			change(r)
		}
	})
}

func (w *writer) swap(e keyring.Edit) {
	if w.err == nil {
		w.at, w.err = w.store.Swap(w.ctx, w.at, e)
	}
}

func (w *writer) cut(c keyring.Cutoff) {
	if w.err == nil {
		w.at, w.err = w.store.Cut(w.ctx, c)
	}
}

// attack runs a script on a copy of the store, where nothing guards any table and the copy of the past is attached as old.
func (v *victim) attack(script string) (path string, err error) {
	path = filepath.Join(v.dir, "attacked.db") // always the same, for errors name it
	if err := copyFile(v.path, path); err != nil {
		return "", err
	}
	db, err := sql.Open("sqlite", path) // the driver comes with package sqlstore
	if err != nil {
		return "", err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	unguard := fmt.Sprintf("ATTACH '%s' AS old;", v.old)
	for _, table := range []string{"cutoffs", "history", "entries", "kids", "archive"} {
		unguard += fmt.Sprintf("DROP TRIGGER %s_update; DROP TRIGGER %s_delete;", table, table)
	}
	_, err = db.Exec(unguard + script)
	return path, err
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o600)
}
