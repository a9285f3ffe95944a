package software

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"intaglio.example/backends"
	"intaglio.example/internal/jws"
)

// What can be wrong with a sealed key. Each wraps [backends.ErrUnusable]; none is met unless somebody touched the storage or
// took a KEK away.
var (
	// ErrNoKEK: the key is sealed under a KEK that was not given. The message names it.
	ErrNoKEK = fmt.Errorf("%w: the key-encryption key it is sealed under is missing", backends.ErrUnusable)
	// ErrDamaged: it is not a sealed key, or not all of one, or one that was edited.
	ErrDamaged = fmt.Errorf("%w: the sealed key is damaged", backends.ErrUnusable)
	// ErrMoved: it is the sealed key of another label, of this store or of another one.
	ErrMoved = fmt.Errorf("%w: the sealed key belongs to another label", backends.ErrUnusable)
	// ErrNewer: it was written by a newer release than this one.
	ErrNewer = fmt.Errorf("%w: the sealed key has a newer format than this program knows", backends.ErrUnusable)
)

const (
	blobMagic   = "IGK"
	blobVersion = 1
)

// A blobState says whether a sealed key may be used.
type blobState byte

const (
	usable   blobState = 1
	disabled blobState = 2
)

// A blob is a sealed key as it is stored. Integers are big-endian, and nothing may follow the last field:
//
//	magic     3 bytes, "IGK"
//	version   1 byte, 1
//	state     1 byte, 1 usable or 2 disabled
//	KEK id    8 bytes
//	label     2 bytes of length, then as many
//	alg       2 bytes of length, then as many: a JWS algorithm name
//	public    2 bytes of length, then as many: the public key, PKIX in DER
//	sealed    2 bytes of length, then as many: nonce (12), AES-256-GCM over the private key (PKCS#8 in DER), tag (16)
//
// The additional data of the sealing is the line "intaglio sealed key", a zero byte, the version, and label, alg and public as
// they stand above, lengths included: a private key opens only under its own label, for its own algorithm, beside its own public key. The
// state is not part of it, so that a key can be disabled while its KEK is missing. Who can write the
// storage could lift that mark, as they could put back a copy from before; what stops them is the cutoff.
type blob struct {
	state  blobState
	kek    kekID
	label  string
	alg    jws.Alg
	public []byte
	sealed []byte
}

// maxField is what two bytes of length can say. The largest field there is, an RSA-3072 key as PKCS#8, is under 2 KiB.
const maxField = 1<<16 - 1

var errTooLong = errors.New("a field of a sealed key is too long")

// encode returns b as it is stored.
func (b *blob) encode() ([]byte, error) {
	if max(len(b.label), len(b.public), len(b.sealed)) > maxField {
		return nil, errTooLong
	}
	out := append([]byte(blobMagic), blobVersion, byte(b.state))
	out = append(out, b.kek[:]...)
	out = b.appendHeader(out)
	return appendField(out, b.sealed), nil
}

func (b *blob) appendHeader(dst []byte) []byte {
	dst = appendField(dst, []byte(b.label))
	dst = appendField(dst, []byte(b.alg))
	return appendField(dst, b.public)
}

func appendField(dst, field []byte) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(field))), field...)
}

// additional is what the seal vouches for beside the private key.
func (b *blob) additional() []byte {
	return b.appendHeader(append([]byte("intaglio sealed key\x00"), blobVersion))
}

// parseBlob reads what is stored under label. It copies what it keeps.
func parseBlob(label string, data []byte) (*blob, error) {
	rest, ok := bytes.CutPrefix(data, []byte(blobMagic))
	const fixed = 2 + len(kekID{})
	if !ok || len(rest) < fixed {
		return nil, fmt.Errorf("%w: it does not begin like one", ErrDamaged)
	}
	version, b := rest[0], &blob{state: blobState(rest[1]), kek: kekID(rest[2:fixed])}
	if version > blobVersion {
		return nil, fmt.Errorf("%w: version %d", ErrNewer, version)
	}
	if version != blobVersion || b.state != usable && b.state != disabled {
		return nil, fmt.Errorf("%w: version %d, state %d", ErrDamaged, version, b.state)
	}
	rest = rest[fixed:]
	var fields [4][]byte
	for i, name := range []string{"label", "alg", "public key", "private key"} {
		if len(rest) < 2 || len(rest)-2 < int(binary.BigEndian.Uint16(rest)) {
			return nil, fmt.Errorf("%w: it ends within its %s", ErrDamaged, name)
		}
		n := 2 + int(binary.BigEndian.Uint16(rest))
		fields[i], rest = slices.Clone(rest[2:n]), rest[n:]
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%w: %d bytes follow it", ErrDamaged, len(rest))
	}
	b.label, b.alg, b.public, b.sealed = string(fields[0]), jws.Alg(fields[1]), fields[2], fields[3]
	if b.label != label {
		return nil, fmt.Errorf("%w: %q", ErrMoved, b.label)
	}
	return b, nil
}

// seal puts plain, a private key, into b under k. The caller clears plain.
func (b *blob) seal(k KEK, plain []byte) error {
	aead, err := k.aead()
	if err != nil {
		return err
	}
	b.kek = k.id
	b.sealed = aead.Seal(nil, nil, plain, b.additional())
	return nil
}

// open returns the private key in b. The caller clears it.
func (b *blob) open(ks keks) ([]byte, error) {
	k, err := ks.find(b.kek)
	if err != nil {
		return nil, err
	}
	aead, err := k.aead()
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nil, b.sealed, b.additional())
	if err != nil {
		return nil, fmt.Errorf("%w: it was edited after it was sealed under %s", ErrDamaged, k.id)
	}
	return plain, nil
}
