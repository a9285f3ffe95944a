package backendtest

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"math/big"
	"testing"
)

// TestLeaksAreSeen prints values that do leak: a search that finds nothing in these would find nothing anywhere.
func TestLeaksAreSeen(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	scalar, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]struct {
		leaky  any
		secret []byte
	}{
		"bytes":              {scalar, scalar},
		"an array":           {[32]byte(scalar), scalar},
		"a string":           {string(scalar), scalar},
		"a number":           {new(big.Int).SetBytes(scalar), scalar},
		"an ECDSA key":       {key, scalar},
		"an Ed25519 key":     {ed, ed.Seed()},
		"an unexported one":  {struct{ k []byte }{scalar}, scalar},
		"behind a pointer":   {&struct{ k []byte }{scalar}, scalar},
		"behind a bad verb":  {struct{ k *hidden }{&hidden{scalar}}, scalar},
		"an error of a sort": {quoting(scalar), scalar},
	} {
		if len(leaks([][]byte{v.secret}, v.leaky)) == 0 {
			t.Errorf("%s leaks, and it was not seen", name)
		}
		if found := leaks([][]byte{v.secret}, "nothing in here"); len(found) > 0 {
			t.Errorf("%s: %v was seen in a plain string", name, found)
		}
	}
}

// hidden prints as nothing, unless fmt reaches it without calling its method: in an unexported field, behind a pointer,
// with a verb that pointers do not have.
type hidden struct{ k []byte }

func (hidden) String() string { return "" }

type quoting []byte

func (q quoting) Error() string { return "cannot read key " + string(q) }
