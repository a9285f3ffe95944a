// Package backends says what a store of private keys must be able to do, and calls the ones a server has by name.
//
// Use a [Set] to mint, sign, disable and destroy: it is the one door to every backend, and the guard stands in it. No
// signature leaves a [Set] unverified, except from a backend in this very process that pins the key pair itself. Implement
// [Backend] to add a store, and hold it to the conformance suite in package backendtest.
//
// There is no function here, nor in any backend, that returns a private key.
package backends

import (
	"context"
	"errors"
	"fmt"

	"intaglio.example/internal/jws"
	"intaglio.example/keyring"
)

// A Backend holds private keys and has no way to hand one out. All methods are idempotent, safe for concurrent use, and
// return soon after ctx is done, with its error in the chain. Errors wrap one of this package's wherever one fits.
//
// A key is made under a label (see [CheckLabel]), which is never used for a second key, and signs under a ref, which the
// backend chooses at minting. A label lets a key be found, disabled and destroyed although the answer to Mint was lost; a ref
// says exactly which key and which version of it signs. "The latest version" is never signed with.
//
// A Backend may have two more methods, which [Set] finds by type assertion:
//
//	// Protection is the least protection that Mint vouches for, known before anything is minted.
//	Protection() keyring.Protection
//	// Pins reports whether ref can be signed with by the private half of pub and by no other key, as this process has
//	// checked, or will before it signs. It does no input or output.
//	Pins(ref string, pub *jws.PublicKey) bool
type Backend interface {
	// Mint makes a non-exportable key for alg under label, or finds the one made before, whoever made it: concurrent
	// calls with one label, from several processes too, return one key. It proves the key's protection by reading its
	// attributes back, and that the key signs. ErrExportable if the backend could give the key away, ErrMismatch if a key for another
	// algorithm stands under label, ErrDisabled if the key was disabled, ErrUnsupported if the backend has no such algorithm.
	Mint(ctx context.Context, label string, alg jws.Alg) (Minted, error)
	// Sign returns a signature in the form of RFC 7518 section 3 (R||S for ECDSA, a salt as long as the hash for PSS)
	// over input by exactly the key and version that ref names. ErrKeyNotFound if there is none, ErrDisabled,
	// ErrMismatch if it is a key for another algorithm than alg.
	Sign(ctx context.Context, ref string, alg jws.Alg, input []byte) ([]byte, error)
	// Disable stops the key under label from signing, as fast as the backend can, and for good: nothing here enables it
	// again. An absent key is success.
	Disable(ctx context.Context, label string) error
	// Destroy ends the key under label for good. An absent key is success.
	Destroy(ctx context.Context, label string) error
}

// Minted is a key that a backend holds, as proven at minting.
type Minted struct {
	Ref        string             // names the exact key and version to Sign; at most MaxRef bytes of printable ASCII
	Public     *jws.PublicKey     // bound to the algorithm that was asked for
	Protection keyring.Protection // read back from the backend, never assumed from configuration
}

// MaxRef is the length in bytes of the longest ref.
const MaxRef = 1024

// The errors of backends: a closed set. Compare with errors.Is: they arrive wrapped, naming backend and key. What is
// none of them, and no error of the context either, is a defect of the backend.
var (
	// ErrUnknownBackend: the server has no backend of this name.
	ErrUnknownBackend = errors.New("no such backend")
	// ErrInvalid: a label, a ref or a public key that cannot be one. No retry will help.
	ErrInvalid = errors.New("invalid")
	// ErrUnsupported: the backend cannot make or use keys for the algorithm.
	ErrUnsupported = errors.New("the backend does not support the algorithm")
	// ErrKeyNotFound: there is no such key, or it was destroyed.
	ErrKeyNotFound = errors.New("no such key")
	// ErrDisabled: the key is there, but was disabled for good.
	ErrDisabled = errors.New("the key is disabled")
	// ErrMismatch: there is a key, but it is for another algorithm.
	ErrMismatch = errors.New("the key is for another algorithm")
	// ErrUnusable: the key is there, and what the backend needs to use it is missing or damaged.
	ErrUnusable = errors.New("the key cannot be used")
	// ErrExportable: the backend could give the private key away. The key must not be used.
	ErrExportable = errors.New("the private key is exportable")
	// ErrTooWeak: the key's protection is below what was promised or asked for.
	ErrTooWeak = errors.New("the key is not protected enough")
	// ErrWrongSignature: the backend returned something that the recorded public key does not verify. It was withheld.
	ErrWrongSignature = errors.New("the backend returned a wrong signature")
	// ErrUnavailable: the backend did not answer, or could not work. A retry may help.
	ErrUnavailable = errors.New("the backend is unavailable")
)

// MaxLabel is the length in bytes of the longest label.
const MaxLabel = 255

// CheckLabel reports whether label can name a key in every backend: 1 to MaxLabel ASCII letters, digits, dots, hyphens and
// underscores, the first one a letter or a digit. The error wraps ErrInvalid.
func CheckLabel(label string) error {
	if label == "" || len(label) > MaxLabel {
		return fmt.Errorf("%w: a label has 1 to %d bytes, this one %d", ErrInvalid, MaxLabel, len(label))
	}
	for i, c := range []byte(label) {
		alphanumeric := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !alphanumeric && (i == 0 || c != '.' && c != '-' && c != '_') {
			return fmt.Errorf("%w: a label cannot hold %q at byte %d", ErrInvalid, c, i)
		}
	}
	return nil
}

// checkRef reports whether ref can be one.
func checkRef(ref string) error {
	if ref == "" || len(ref) > MaxRef {
		return fmt.Errorf("%w: a ref has 1 to %d bytes, this one %d", ErrInvalid, MaxRef, len(ref))
	}
	for i, c := range []byte(ref) {
		if c <= ' ' || c > '~' {
			return fmt.Errorf("%w: a ref cannot hold %q at byte %d", ErrInvalid, c, i)
		}
	}
	return nil
}
