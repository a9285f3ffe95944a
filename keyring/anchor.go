package keyring

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// An Anchor is a position kept in a file outside the database: the memory that a restored database does not have. A
// store that is behind it is refused. The file has four lines:
//
//	intaglio anchor 1
//	store 6f1d0c6a5e2b9a01
//	position 48632 9f86d081884c7d65…
//	sum 2c26b46b68ffc68f…        SHA-256 of the three lines above
//
// It is replaced by rename and never edited, so a crash leaves the old one or the new one. Safe for concurrent use, by
// several processes too.
type Anchor struct {
	path string

	mu    sync.Mutex // guards the rest, and the file
	store string
	at    Position
}

// ErrNoAnchor: there is no anchor file. A server without one cannot tell an old copy of the database from the real one.
var ErrNoAnchor = errors.New("no anchor")

// OpenAnchor reads the anchor at path; ErrNoAnchor when there is none, ErrInvalid when it is damaged.
func OpenAnchor(path string) (*Anchor, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w at %s", ErrNoAnchor, path)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the anchor: %w", err)
	}
	store, at, err := parseAnchor(string(b))
	if err != nil {
		return nil, fmt.Errorf("anchor %s: %w", path, err)
	}
	return &Anchor{path: path, store: store, at: at}, nil
}

// CreateAnchor writes an anchor that trusts the store's present position. It refuses to replace one.
func CreateAnchor(path, store string, at Position) (*Anchor, error) {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: there is an anchor at %s already", ErrRefused, path)
	}
	a := &Anchor{path: path, store: store, at: at}
	return a, a.write(at)
}

// Store is the id of the store the anchor belongs to.
func (a *Anchor) Store() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.store
}

// Position is the highest position this server has installed.
func (a *Anchor) Position() Position {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.at
}

// Raise moves the anchor to a later position of the same store, durably before it returns; the caller has made sure that
// the store's history leads there from the anchor's own, as [Live.Refresh] does. An earlier position than this Anchor
// holds, or another past at the same revision, is ErrRollback. What another process has raised further stays.
func (a *Anchor) Raise(store string, to Position) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if store == a.store && to == a.at {
		return nil
	}
	if store != a.store || !follows(to, a.at) {
		return fmt.Errorf("%w: store %s at %v does not follow the anchor's, %s at %v", ErrRollback, store, to, a.store, a.at)
	}
	unlock, err := lockDir(filepath.Dir(a.path))
	if err != nil {
		return fmt.Errorf("raising the anchor: %w", err)
	}
	defer unlock()
	file, err := OpenAnchor(a.path)
	if err != nil {
		return fmt.Errorf("raising the anchor: %w", err)
	}
	switch {
	case file.store != a.store, file.at.Revision == to.Revision && file.at != to && !follows(to, file.at):
		return fmt.Errorf("%w: the anchor file was set to store %s at %v meanwhile", ErrRollback, file.store, file.at)
	case follows(to, file.at):
		err = a.write(to)
	}
	if err != nil {
		return fmt.Errorf("raising the anchor: %w", err)
	}
	a.at = to
	return nil
}

// follows reports whether to is later than at; anything follows the position of a store that nobody has seen.
func follows(to, at Position) bool { return at == Position{} || to.Revision > at.Revision }

// lockDir keeps other processes of this machine from writing an anchor in dir.
func lockDir(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil // closing lets go
}

func (a *Anchor) write(at Position) error {
	f, err := os.CreateTemp(filepath.Dir(a.path), filepath.Base(a.path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already once it was renamed
	_, err = f.WriteString(renderAnchor(a.store, at))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), a.path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(a.path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func renderAnchor(store string, at Position) string {
	body := fmt.Sprintf("intaglio anchor 1\nstore %s\nposition %d %s\n", store, at.Revision, at.Digest)
	sum := sha256.Sum256([]byte(body))
	return body + "sum " + hex.EncodeToString(sum[:]) + "\n"
}

// parseAnchor reads exactly what renderAnchor writes.
func parseAnchor(s string) (store string, at Position, err error) {
	lines := strings.Split(s, "\n")
	if len(lines) < 3 || lines[0] != "intaglio anchor 1" {
		return "", at, fmt.Errorf("%w: it is half-written, or not an anchor of this version", ErrInvalid)
	}
	store = strings.TrimPrefix(lines[1], "store ")
	revision, digest, _ := strings.Cut(strings.TrimPrefix(lines[2], "position "), " ")
	n, err := strconv.ParseUint(revision, 10, 64)
	if err != nil {
		return "", at, fmt.Errorf("%w: revision %q", ErrInvalid, revision)
	}
	at.Revision = Revision(n)
	if err := at.Digest.UnmarshalText([]byte(digest)); err != nil {
		return "", at, fmt.Errorf("%w: digest %q", ErrInvalid, digest)
	}
	if s != renderAnchor(store, at) {
		return "", at, fmt.Errorf("%w: it is half-written or was edited", ErrInvalid)
	}
	return store, at, nil
}
