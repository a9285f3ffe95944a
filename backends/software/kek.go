package software

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"intaglio.example/internal/secret"
)

// ErrKEK: the file or text is not a key-encryption key, or the keys given do not go together.
var ErrKEK = errors.New("not a usable key-encryption key")

const (
	kekMagic = "intaglio-kek-1"
	kekBytes = 32 // AES-256
)

// A kekID names a KEK in what it sealed: the first 8 bytes of SHA-256 over "intaglio kek id 1", a zero byte and the key.
type kekID [8]byte

func (id kekID) String() string { return hex.EncodeToString(id[:]) }

// A KEK is a key-encryption key: it seals private keys at rest and does nothing else. It is kept outside the database, as
// one line of text in a file that only the server's user can read:
//
//	intaglio-kek-1 2026-11-22T15:00:00Z <base64url of 32 bytes, without padding>
//
// The time is when it was made, in whole seconds of UTC; of several KEKs the newest seals. It prints as "[secret]". The
// zero value is no KEK, and [New] refuses it.
type KEK struct {
	unprintable
	id   kekID
	made time.Time
	key  secret.Bytes
}

// NewKEK draws a KEK. Its time is now.
func NewKEK(now time.Time) KEK {
	key := make([]byte, kekBytes)
	rand.Read(key) // never fails: crypto/rand ends the process rather than return weak bytes
	return newKEK(now.UTC().Truncate(time.Second), key)
}

// newKEK takes key over.
func newKEK(made time.Time, key []byte) KEK {
	h := sha256.New()
	h.Write([]byte("intaglio kek id 1\x00"))
	h.Write(key)
	return KEK{id: kekID(h.Sum(nil)[:len(kekID{})]), made: made, key: secret.New(key)}
}

// ID is what the KEK is called in sealed keys and messages: 16 hexadecimal digits. It tells nothing about the key.
func (k KEK) ID() string { return k.id.String() }

// Made is when the KEK was made.
func (k KEK) Made() time.Time { return k.made }

// ParseKEK reads a KEK from its line of text, which may end in one newline. Only the form that [WriteKEK] writes is accepted.
// The error wraps ErrKEK and quotes nothing of the line.
func ParseKEK(text secret.Bytes) (KEK, error) {
	line := strings.TrimSuffix(string(text.Reveal()), "\n")
	fields := strings.Split(line, " ")
	if len(fields) != 3 || fields[0] != kekMagic {
		return KEK{}, fmt.Errorf("%w: want one line of the form %q", ErrKEK, kekMagic+" TIME KEY")
	}
	made, err := time.Parse(time.RFC3339, fields[1])
	if err != nil || made.Format(time.RFC3339) != fields[1] || made.Location() != time.UTC {
		return KEK{}, fmt.Errorf("%w: its time is not of the form 2026-11-22T15:00:00Z", ErrKEK)
	}
	key, err := base64.RawURLEncoding.Strict().DecodeString(fields[2])
	if err != nil || len(key) != kekBytes || strings.ContainsAny(fields[2], "\r\n") {
		return KEK{}, fmt.Errorf("%w: its key is not %d bytes of base64url without padding", ErrKEK, kekBytes)
	}
	return newKEK(made, key), nil
}

// ReadKEK reads a KEK from a file, which must be its owner's alone: see [secret.ReadFile].
func ReadKEK(path string) (KEK, error) {
	text, err := secret.ReadFile(path)
	if err != nil {
		return KEK{}, fmt.Errorf("reading a key-encryption key: %w", err)
	}
	defer text.Erase()
	k, err := ParseKEK(text)
	if err != nil {
		return KEK{}, fmt.Errorf("%s: %w", path, err)
	}
	return k, nil
}

// WriteKEK writes k to a new file of mode 0600. It never replaces a file.
func WriteKEK(path string, k KEK) error {
	if k.key.Len() != kekBytes {
		return fmt.Errorf("%w: it is empty", ErrKEK)
	}
	line := fmt.Appendf(make([]byte, 0, 128), "%s %s ", kekMagic, k.made.Format(time.RFC3339))
	line = append(base64.RawURLEncoding.AppendEncode(line, k.key.Reveal()), '\n')
	text := secret.New(line)
	defer text.Erase()
	return secret.WriteFile(path, text)
}

// aead returns AES-256-GCM under the KEK, with a random nonce of 96 bits in front of what it seals. It is made anew
// for each use: unlike the KEK itself it holds the key where fmt could find it.
func (k KEK) aead() (cipher.AEAD, error) {
	block, err := aes.NewCipher(k.key.Reveal())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKEK, err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// keks are the KEKs of a backend, newest first.
type keks []KEK

// newKEKs sorts list. Two KEKs of one second or one id are refused: which of them seals would be an accident.
func newKEKs(list []KEK) (keks, error) {
	sorted := keks(slices.Clone(list))
	slices.SortFunc(sorted, func(a, b KEK) int { return b.made.Compare(a.made) })
	if len(sorted) == 0 {
		return nil, fmt.Errorf("%w: there is none", ErrKEK)
	}
	for i, k := range sorted {
		if k.key.Len() != kekBytes {
			return nil, fmt.Errorf("%w: one is empty", ErrKEK)
		}
		for _, newer := range sorted[:i] {
			if newer.id == k.id {
				return nil, fmt.Errorf("%w: %s is given twice", ErrKEK, k.id)
			}
			if newer.made.Equal(k.made) {
				return nil, fmt.Errorf("%w: %s and %s were both made at %s, so neither is the newest", ErrKEK, newer.id, k.id, k.made.Format(time.RFC3339))
			}
		}
	}
	return sorted, nil
}

func (ks keks) newest() KEK { return ks[0] }

// find returns the KEK called id.
func (ks keks) find(id kekID) (KEK, error) {
	for _, k := range ks {
		if k.id == id {
			return k, nil
		}
	}
	return KEK{}, fmt.Errorf("%w: %s", ErrNoKEK, id)
}
