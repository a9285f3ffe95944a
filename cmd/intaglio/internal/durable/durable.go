// Package durable puts whole files in place: who reads finds the old one or the new one, also after a crash.
//
// Use [Write] for text, and [Rename] for a file that something else has written and synced.
package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Write puts a file of that mode at path: written beside it, synced, renamed over it. It is durable before it returns.
func Write(path string, text []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already once it was renamed
	_, err = f.Write(text)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	return Rename(f.Name(), path)
}

// Rename moves a file over another of the same folder, durably before it returns.
func Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
