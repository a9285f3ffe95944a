package sqlstore

import (
	"crypto/sha3"
	"encoding/binary"
	"fmt"

	"intaglio.example/keyring"
)

const (
	lanes      = 1024
	setHashLen = 2 * lanes
)

// setHash is a hash of a set of records that is kept up to date by adding and subtracting single records: LtHash16 of
// Lewi, Kim, Maykov and Weis, "Securing Update Propagation with Homomorphic Hashing" (2019, IACR ePrint 2019/227).
// Each record is expanded by SHAKE256 (FIPS 202) to 1024 numbers of 16 bits, and the hash of a set is their sum, lane
// by lane. Finding two sets of one hash is a short-vector problem on lattices; the paper puts these parameters above
// 200 bits of security.
//
// It is a hash of a multiset modulo 2^16: whoever compares it must refuse a set that names one record twice.
type setHash [lanes]uint16

// add puts a record into the set.
func (s *setHash) add(r *record) {
	var e [setHashLen]byte
	expand(r, &e)
	for i := range s {
		s[i] += binary.LittleEndian.Uint16(e[2*i:])
	}
}

// remove takes a record out of the set again.
func (s *setHash) remove(r *record) {
	var e [setHashLen]byte
	expand(r, &e)
	for i := range s {
		s[i] -= binary.LittleEndian.Uint16(e[2*i:])
	}
}

// merge puts all records of another set into this one.
func (s *setHash) merge(t *setHash) {
	for i := range s {
		s[i] += t[i]
	}
}

func expand(r *record, to *[setHashLen]byte) {
	b := make([]byte, 0, 256)
	b = append(b, "intaglio set 1\x00"...)
	b = appendText(b, r.kind)
	b = appendText(b, r.name)
	b = binary.BigEndian.AppendUint64(b, uint64(r.revision))
	sum := r.sum()
	b = append(b, sum[:]...)
	h := sha3.NewSHAKE256()
	h.Write(b)
	h.Read(to[:])
}

func (s *setHash) appendTo(b []byte) []byte {
	for _, lane := range s {
		b = binary.LittleEndian.AppendUint16(b, lane)
	}
	return b
}

func (s *setHash) parse(b []byte) {
	for i := range s {
		s[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
}

// head is where the store stands: its position and the set hashes of what it holds.
type head struct {
	at   keyring.Position
	live setHash // current rows and cutoffs
	gone setHash // the archive
}

func (h *head) body() []byte {
	b := make([]byte, 0, len(h.at.Digest)+2*setHashLen)
	b = append(b, h.at.Digest[:]...)
	b = h.live.appendTo(b)
	return h.gone.appendTo(b)
}

func parseHead(rev keyring.Revision, b []byte) (head, error) {
	h := head{at: keyring.Position{Revision: rev}}
	n := len(h.at.Digest)
	if len(b) != n+2*setHashLen {
		return head{}, fmt.Errorf("%w: a head of %d bytes", keyring.ErrTampered, len(b))
	}
	copy(h.at.Digest[:], b)
	h.live.parse(b[n:])
	h.gone.parse(b[n+setHashLen:])
	return h, nil
}
