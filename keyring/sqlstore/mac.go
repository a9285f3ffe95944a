package sqlstore

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"intaglio.example/internal/secret"
	"intaglio.example/keyring"
)

// The kinds of records. The first four are what a position's digest speaks of, see [keyring.Entry].
const (
	kindRing    = "ring"
	kindIssuer  = "issuer"
	kindGrant   = "grant"
	kindCutoff  = "cutoff"
	kindArchive = "archive" // a key that left its ring; named by its ID
	kindKid     = "kid"     // body: the ID of the key recorded under it
	kindHistory = "history" // body: the digest at its revision
	kindHead    = "head"
	kindMeta    = "meta" // named by the store's id; revision: the schema's version; body: the timing
)

// record is one authenticated row, whichever table it stands in.
type record struct {
	kind     string
	name     string
	revision keyring.Revision
	body     []byte
	mac      []byte
}

func (r *record) String() string {
	switch r.kind {
	case kindHead:
		return "the head"
	case kindMeta:
		return "the store's description"
	case kindHistory:
		return fmt.Sprintf("the history of revision %d", r.revision)
	case kindArchive:
		return "archived key " + r.name
	}
	return r.kind + " " + r.name
}

// sum is the hash that the history and the set hash know the record by.
func (r *record) sum() keyring.Digest { return sha256.Sum256(r.body) }

// keyLen is the length of a store's MAC key in bytes.
const keyLen = 32

// sealer makes and checks the MACs of one store: HMAC-SHA-256 (RFC 2104) over everything that a record says, each part
// with its length before it, so that no two records have one encoding.
type sealer struct {
	key   secret.Bytes
	store string
}

func (s sealer) mac(r *record) []byte {
	h := hmac.New(sha256.New, s.key.Reveal())
	b := make([]byte, 0, 256)
	b = append(b, "intaglio record 1\x00"...)
	b = appendText(b, s.store)
	b = appendText(b, r.kind)
	b = appendText(b, r.name)
	b = binary.BigEndian.AppendUint64(b, uint64(r.revision))
	b = binary.BigEndian.AppendUint64(b, uint64(len(r.body)))
	h.Write(b)
	h.Write(r.body)
	return h.Sum(nil)
}

// check reports ErrTampered unless the record carries the store's MAC.
func (s sealer) check(r *record) error {
	if !hmac.Equal(r.mac, s.mac(r)) {
		return fmt.Errorf("%w: %s was edited, its MAC does not match", keyring.ErrTampered, r)
	}
	return nil
}

// sealed returns a new record with its MAC.
func (s sealer) sealed(kind, name string, rev keyring.Revision, body []byte) *record {
	r := &record{kind: kind, name: name, revision: rev, body: body}
	r.mac = s.mac(r)
	return r
}

func appendText(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint64(b, uint64(len(s))), s...)
}
