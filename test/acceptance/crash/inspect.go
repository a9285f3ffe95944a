package main

import (
	"context"
	"fmt"
	"path/filepath"

	"intaglio.example/internal/secret"
	"intaglio.example/keyring"
	"intaglio.example/keyring/sqlstore"
)

// The files of a dev directory.
const (
	databaseFile = "intaglio.db"
	macKeyFile   = "mac.key"
)

// inspect opens the store that a dead server left, verifies it whole, and compares the sealed keys with the records.
// Once things have settled, a destroyed record has no key either.
func inspect(dir string, settled bool) error {
	ctx := context.Background()
	key, err := secret.ReadFile(filepath.Join(dir, macKeyFile))
	if err != nil {
		return err
	}
	store, err := sqlstore.Open(ctx, filepath.Join(dir, databaseFile), key)
	if err != nil {
		return err
	}
	defer store.Close()
	if _, err := store.Verify(ctx); err != nil {
		return err
	}
	c, err := store.Changes(ctx, keyring.Position{})
	if err != nil {
		return err
	}
	labels, err := store.Sealed().Labels(ctx)
	if err != nil {
		return err
	}
	return compare(c, labels, settled)
}

func compare(c keyring.Changes, labels []string, settled bool) error {
	sealed := map[string]bool{}
	for _, label := range labels {
		sealed[label] = true
	}
	for i := range c.Rings {
		ring := &c.Rings[i]
		for j := range ring.Keys {
			k := &ring.Keys[j]
			label := k.Backend + "/" + keyring.Label(c.Store, ring.Name, k) // each backend has a shelf of its own
			if !sealed[label] && k.State.Published() && !keyring.Cutoffs(c.Cutoffs).Revoked(ring, k) {
				return fmt.Errorf("key %s is %s and has no sealed key", keyring.KeyID(ring.Name, k.Serial), k.State)
			}
			if sealed[label] && settled && !k.Destroyed.IsZero() {
				return fmt.Errorf("key %s was destroyed and its sealed key is there", keyring.KeyID(ring.Name, k.Serial))
			}
			delete(sealed, label)
		}
	}
	for label := range sealed {
		return fmt.Errorf("sealed key %s has no record", label)
	}
	return nil
}
