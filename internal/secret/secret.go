// Package secret holds key bytes that cannot be printed by accident, and reads and writes the files they live in.
//
// Use [Bytes] for every key-encryption key, MAC key, PIN and token. Under every fmt verb, in slog and in text and JSON
// encoders it shows as "[secret]", nested or not; the bytes come out by [Bytes.Reveal] only, which is easy to search for.
package secret

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
)

const redacted = "[secret]"

// Bytes is a secret. The zero value is an absent one. Copies share the bytes. It is safe for concurrent use until it is erased.
type Bytes struct {
	// A closure: inside unexported fields of other people's structs fmt calls no method of ours, and with a wrong verb
	// it even follows a pointer to a slice. It prints a function as an address.
	reveal func() []byte
}

// New takes b over; the caller must not keep it.
func New(b []byte) Bytes { return Bytes{func() []byte { return b }} }

// Reveal returns the bytes themselves, not a copy; nil when absent.
func (s Bytes) Reveal() []byte {
	if s.reveal == nil {
		return nil
	}
	return s.reveal()
}

// Len is the number of bytes.
func (s Bytes) Len() int { return len(s.Reveal()) }

// Erase overwrites the bytes. Go may have copied them before; this shortens their life, it does not prove their end.
func (s Bytes) Erase() { clear(s.Reveal()) }

// Format prints "[secret]" for every verb.
func (Bytes) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// String is for callers of String itself.
func (Bytes) String() string { return redacted }

// GoString is for callers of GoString itself.
func (Bytes) GoString() string { return redacted }

// LogValue is for slog.
func (Bytes) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText is for encoders, JSON and YAML among them.
func (Bytes) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// ErrExposed: a secret's file can be read or written by others than its owner.
var ErrExposed = errors.New("the file is exposed to others than its owner")

// maxFile bounds what is read: no secret of ours is larger.
const maxFile = 64 << 10

// ReadFile reads a secret from a regular file that only its owner, this user or root, can touch: mode 0600 or 0400.
// ErrExposed otherwise. Symbolic links are not followed.
func ReadFile(path string) (Bytes, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return Bytes{}, err
	}
	defer f.Close()
	info, err := f.Stat() // of what was opened, not of what stands at the path now
	if err != nil {
		return Bytes{}, err
	}
	if !info.Mode().IsRegular() {
		return Bytes{}, fmt.Errorf("%s is not a regular file", path)
	}
	if mode := info.Mode().Perm(); mode&0o177 != 0 {
		return Bytes{}, fmt.Errorf("%w: %s has mode %04o; run chmod 0600 %s", ErrExposed, path, mode, path)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return Bytes{}, fmt.Errorf("%w: %s belongs to user %d", ErrExposed, path, st.Uid)
	}
	if info.Size() > maxFile {
		return Bytes{}, fmt.Errorf("%s is larger than %d bytes", path, maxFile)
	}
	b := make([]byte, info.Size())
	if _, err := io.ReadFull(f, b); err != nil {
		return Bytes{}, fmt.Errorf("reading %s: %w", path, err)
	}
	return New(b), nil
}

// WriteFile writes a secret to a new file of mode 0600, durably before it returns. It never replaces one.
func WriteFile(path string, s Bytes) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists; a secret is never overwritten: %w", path, err)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(s.Reveal())
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		os.Remove(path)
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
