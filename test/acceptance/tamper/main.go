// Command tamper shows what becomes of a store whose database somebody else can write: every manipulation is refused,
// each in its own words, and an older copy of the whole database serves only after it was adopted, with every key that
// it knows revoked.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"intaglio.example/internal/secret"
	"intaglio.example/keyring"
	"intaglio.example/keyring/sqlstore"
	"intaglio.example/keyring/storetest"
	"intaglio.example/test/acceptance/internal/accept"
)

func main() {
	accept.Run("tamper", "who can write the database can stop the service, and no more", show)
}

func show(r *accept.Report) error {
	dir, err := os.MkdirTemp("", "tamper")
	if err != nil {
		return fmt.Errorf("making a place for the store: %w", err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	v, err := build(ctx, dir)
	if err != nil {
		return fmt.Errorf("building the store: %w", err)
	}
	r.Ran("a store of %d rings over %d revisions: rotated, revoked, destroyed and archived keys, %d cutoffs; and a copy of it from revision %d",
		v.report.Rings, v.now.Revision, v.report.Cutoffs, v.then.Revision)
	if err := manipulate(ctx, r, v); err != nil {
		return err
	}
	return restore(ctx, r, v)
}

// manipulate tries every manipulation on a copy of its own.
func manipulate(ctx context.Context, r *accept.Report, v *victim) error {
	r.Ran("each manipulation below, in raw SQL on a copy of the file, without the MAC key; who finds it: a server that starts, one that was at revision %d, or Verify", v.then.Revision)
	refused, words := 0, map[string]bool{}
	for _, m := range manipulations {
		path, err := v.attack(m.script)
		if err != nil {
			return fmt.Errorf("%s: %w", m.what, err)
		}
		finder, err := v.look(ctx, path)
		r.Note("%-52s → %-7s %v", m.what, finder, err)
		if errors.Is(err, keyring.ErrTampered) {
			refused++
			words[err.Error()] = true
		}
	}
	path, err := v.attack("")
	if err != nil {
		return err
	}
	_, err = v.look(ctx, path)
	r.Holds("a copy that nobody touched is accepted by all three", err == nil)
	r.Equal("manipulations refused with ErrTampered", refused, len(manipulations))
	r.Equal("different error texts among them", len(words), len(manipulations))
	return nil
}

// look asks three parties in turn and returns the first that refuses.
func (v *victim) look(ctx context.Context, path string) (who string, err error) {
	s, err := sqlstore.Open(ctx, path, v.key)
	if err != nil {
		return "start", err
	}
	defer s.Close()
	if _, err := s.Changes(ctx, keyring.Position{}); err != nil {
		return "start", err
	}
	if _, err := s.Changes(ctx, v.then); err != nil {
		return "running", err
	}
	if _, err := s.Verify(ctx); err != nil {
		return "verify", err
	}
	return "nobody", nil
}

// restore puts the older copy of the whole database in place of the present one.
func restore(ctx context.Context, r *accept.Report, v *victim) error {
	r.Ran("the whole database replaced by its copy of revision %d, under an anchor of revision %d", v.then.Revision, v.now.Revision)
	path := filepath.Join(v.dir, "restored.db")
	if err := copyFile(v.old, path); err != nil {
		return err
	}
	s, err := sqlstore.Open(ctx, path, v.key)
	if err != nil {
		return err
	}
	defer s.Close()
	_, err = s.Verify(ctx)
	r.Holds("every byte of it is genuine: Verify finds nothing", err == nil)
	anchor, err := keyring.CreateAnchor(filepath.Join(v.dir, "anchor"), s.ID(), v.now)
	if err != nil {
		return err
	}
	_, err = refresh(ctx, s, anchor)
	r.Note("a server with that anchor: %v", err)
	r.Holds("it is refused with ErrRollback", errors.Is(err, keyring.ErrRollback))

	at, err := s.Adopt(ctx, anchor.Position(), "op-restore", "spiffe://example/ann", "restored from the backup", when)
	if err != nil {
		return err
	}
	if err := anchor.Raise(s.ID(), at); err != nil {
		return err
	}
	snapshot, err := refresh(ctx, s, anchor)
	r.Holds(fmt.Sprintf("adopted at revision %d, it serves again", at.Revision), err == nil)
	if err != nil {
		return err
	}
	alive, signers := 0, 0
	for _, line := range snapshot.Lines() {
		if line.Signer != nil {
			signers++
		}
		for i := range line.Ring.Keys {
			if !snapshot.Revoked(line.Ring, &line.Ring.Keys[i]) {
				alive++
			}
		}
	}
	r.Equal("keys of the backup that are not revoked", alive, 0)
	r.Equal("rings that still sign", signers, 0)
	return renew(ctx, r, s, anchor)
}

// renew mints a key after the adoption: it stands above the line.
func renew(ctx context.Context, r *accept.Report, s *sqlstore.Store, anchor *keyring.Anchor) error {
	w := &writer{ctx: ctx, store: s}
	w.ring("acme/access", func(ring *keyring.Ring) { storetest.Reserve(ring) })
	w.ring("acme/access", func(ring *keyring.Ring) { storetest.Move(ring.Key(ring.NextSerial-1), keyring.Staged) })
	if w.err != nil {
		return w.err
	}
	snapshot, err := refresh(ctx, s, anchor)
	if err != nil {
		return err
	}
	line, ok := snapshot.Line("acme/access")
	r.Holds("a key minted after the adoption signs", ok && line.Signer != nil && line.Signer.Serial == line.Ring.NextSerial-1)
	return nil
}

// refresh is what a server does first.
func refresh(ctx context.Context, s *sqlstore.Store, anchor *keyring.Anchor) (*keyring.Snapshot, error) {
	live := keyring.NewLive(s, anchor, slog.New(slog.DiscardHandler), nil)
	if err := live.Refresh(ctx); err != nil {
		return nil, err
	}
	return live.Current()
}

func newKey() secret.Bytes {
	b := make([]byte, 32)
	rand.Read(b)
	return secret.New(b)
}
