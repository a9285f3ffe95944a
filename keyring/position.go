package keyring

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// Revision numbers the writes to rings, issuers, grants and cutoffs, in commit order, from 1.
type Revision uint64

// Digest is a SHA-256 hash; it prints as hex.
type Digest [sha256.Size]byte

func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// MarshalText writes hex.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads hex of exactly 32 bytes.
func (d *Digest) UnmarshalText(b []byte) error {
	if len(b) != 2*len(d) {
		return fmt.Errorf("%w: digest of %d characters", ErrInvalid, len(b))
	}
	_, err := hex.Decode(d[:], b)
	return err
}

// Position is a point in a store's history: a revision, and the digest of everything that was written up to it. Two
// stores at one revision with different digests have different pasts.
type Position struct {
	Revision Revision `json:"revision"`
	Digest   Digest   `json:"digest"`
}

func (p Position) String() string { return fmt.Sprintf("revision %d (%.12s)", p.Revision, p.Digest) }

// Entry is one row of one write: what it was, and the hash of its bytes.
type Entry struct {
	Kind string `json:"kind"` // ring, issuer, grant or cutoff
	Name string `json:"name"`
	Sum  Digest `json:"sum"`
}

// Next is the position after a write at revision rev of the given rows, in order. Every field is length-prefixed, so no
// two histories share a digest.
func (p Position) Next(rev Revision, entries []Entry) Position {
	h := sha256.New()
	var n [8]byte
	number := func(v uint64) {
		binary.BigEndian.PutUint64(n[:], v)
		h.Write(n[:])
	}
	h.Write([]byte("intaglio history 1\x00"))
	h.Write(p.Digest[:])
	number(uint64(rev))
	number(uint64(len(entries)))
	for _, e := range entries {
		for _, s := range []string{e.Kind, e.Name} {
			number(uint64(len(s)))
			h.Write([]byte(s))
		}
		h.Write(e.Sum[:])
	}
	next := Position{Revision: rev}
	h.Sum(next.Digest[:0])
	return next
}
