package jws

import (
	"crypto"
	"errors"
	"time"
)

var errSkeleton = errors.New("jws: skeleton")

type PublicKey struct{ alg Alg }

func NewPublicKey(alg Alg, key crypto.PublicKey) (*PublicKey, error) { return nil, errSkeleton }
func ParsePKIX(alg Alg, der []byte) (*PublicKey, error)              { return nil, errSkeleton }
func ParseJWK(data []byte) (*PublicKey, error)                       { return nil, errSkeleton }
func ParseJWKSet(data []byte) (keys []*PublicKey, skipped int, err error) {
	return nil, 0, errSkeleton
}
func (k *PublicKey) Alg() Alg                       { return k.alg }
func (k *PublicKey) Kid() string                    { return "" }
func (k *PublicKey) PKIX() []byte                   { return nil }
func (k *PublicKey) JWK() []byte                    { return nil }
func (k *PublicKey) Equal(x *PublicKey) bool        { return false }
func (k *PublicKey) Crypto() crypto.PublicKey       { return nil }
func (k *PublicKey) Verify(input, sig []byte) error { return errSkeleton }
func (k *PublicKey) SignatureSize() int             { return 0 }

func SignatureFromDER(alg Alg, der []byte) ([]byte, error) { return nil, errSkeleton }
func AppendSigningInput(dst []byte, alg Alg, kid, typ string, payload []byte) []byte {
	return dst
}
func AppendSignature(dst []byte, sig []byte) []byte { return dst }
func AppendString(dst []byte, s string) []byte      { return dst }

type Unverified struct{}

func Parse(token string, maxBytes int) (*Unverified, error) { return nil, errSkeleton }
func (u *Unverified) Kid() string                           { return "" }
func (u *Unverified) Alg() string                           { return "" }
func (u *Unverified) Typ() string                           { return "" }
func (u *Unverified) Verify(key *PublicKey, typ string) (payload []byte, err error) {
	return nil, errSkeleton
}

type Kind int

const (
	Object Kind = 1 + iota
	Array
	String
	Number
	True
	False
	Null
)

type Member struct {
	Name   string
	Kind   Kind
	Raw    []byte
	Offset int
}

func ParseObject(data []byte, maxBytes, maxDepth int) ([]Member, error) { return nil, errSkeleton }
func (m Member) Text() (string, error)                                  { return "", errSkeleton }
func (m Member) Strings() ([]string, error)                             { return nil, errSkeleton }
func (m Member) NumericDate() (time.Time, error)                        { return time.Time{}, errSkeleton }
