package main

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"

	"intaglio.example/cmd/intaglio/internal/cli"
	"intaglio.example/cmd/intaglio/internal/config"
)

// errLocked: another process has the lock.
var errLocked = errors.New("another process holds it")

// lockFile takes the lock that path stands for, and makes the file where there is none. Closing it, or the end of the process
// however it ends, lets go; the file stays.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return f, nil
	}
	f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = errLocked
	}
	return nil, &os.PathError{Op: "lock", Path: path, Err: err}
}

// lockStore makes this process the only server of its store. A revocation is confirmed once the server that answers has installed
// it, and that says something of all servers only while there is no other. Verbs that work on the store beside it take no lock.
func lockStore(cfg *config.Config) (*os.File, error) {
	store := cfg.Store.Path
	if real, err := filepath.EvalSymlinks(store); err == nil { // one store, by whatever name
		store = real
	}
	path := store + ".serving"
	f, err := lockFile(path)
	if errors.Is(err, errLocked) {
		return nil, &cli.Failure{
			What: "another server serves the store " + cfg.Store.Path, Reason: "STORE_IN_USE", Code: cli.Conflict, Cause: err,
			Why:  "an SQLite store has one server: a second would sign on for a while with what the first has revoked. It holds " + path,
			Next: "Use that one, or stop it first.    Wrong path?  check store.path in " + cfg.Path,
		}
	}
	if err != nil {
		return nil, fileFailure(err, "cannot make sure that this is the only server of the store", path)
	}
	return f, nil
}
