// Package software keeps private keys in the memory of this process while they sign, and sealed in a database while they rest.
//
// Use it where there is no Vault, KMS or HSM: for development, for one node, and as the yardstick of the other backends. It
// gives [keyring.Software] protection. Who can read the memory of the process has the keys; who has the database alone, or
// the files of the key-encryption keys alone, has nothing.
//
// Keys are sealed under a [KEK] with AES-256-GCM, each to its label, algorithm and public key. To change KEKs, give all
// servers the new one beside the old, run [Backend.Rewrap], and take the old one away when nothing is left under it.
//
// What a process can clear it clears: buffers that held a private key while it was sealed or opened. Go's crypto packages make
// copies of their own while they parse, and the key that signs stays in memory until the garbage collector reuses it after the last
// use. Keep swap and core dumps off.
package software

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"intaglio.example/backends"
	"intaglio.example/internal/jws"
	"intaglio.example/keyring"
)

// Sealed is where sealed keys rest: rows of a label and a blob. It is linearizable, like the store it usually shares a
// database with, and every call is one statement or one short transaction. Blobs are opaque to it, and at most a few KiB long.
// All methods are safe for concurrent use; after an error the outcome is unknown.
type Sealed interface {
	// Put stores blob under label unless something is there already, and returns what is there now.
	Put(ctx context.Context, label string, blob []byte) (kept []byte, err error)
	// Get returns what is stored under label; ok is false when there is nothing.
	Get(ctx context.Context, label string) (blob []byte, ok bool, err error)
	// Replace stores new under label if old, byte for byte, is what is there. It reports whether it did.
	Replace(ctx context.Context, label string, old, new []byte) (ok bool, err error)
	// Delete removes label and its blob. Nothing to remove is success.
	Delete(ctx context.Context, label string) error
	// Labels lists all labels, in any order.
	Labels(ctx context.Context) ([]string, error)
}

// A Backend signs with keys in memory. It holds nothing that must be closed. It prints as "[secret]".
type Backend struct {
	unprintable
	name   string
	sealed Sealed
	keks   keks
	open   sync.Map     // label → *entry; see keys.go
	swept  atomic.Int64 // when open was last swept, in seconds since 1970
}

// New returns a backend over sealed that seals under the newest of the given KEKs and opens with all of them. name is for
// messages. ErrKEK when the KEKs do not go together; ErrNoKEK when the storage holds keys and none of the first few it lists
// was sealed under a KEK given here: this is how the wrong file shows at start, and not at the first signature.
func New(ctx context.Context, name string, sealed Sealed, keks ...KEK) (*Backend, error) {
	sorted, err := newKEKs(keks)
	if err != nil {
		return nil, fmt.Errorf("backend %s: %w", name, err)
	}
	b := &Backend{name: name, sealed: sealed, keks: sorted}
	if err := b.tryKEKs(ctx); err != nil {
		return nil, fmt.Errorf("backend %s: %w", name, err)
	}
	return b, nil
}

// tryKEKs looks for one key among the first few that a KEK of ours could open.
func (b *Backend) tryKEKs(ctx context.Context) error {
	const few = 32
	labels, err := b.sealed.Labels(ctx)
	if err != nil {
		return unavailable(ctx, err)
	}
	var missing error
	for _, label := range labels[:min(few, len(labels))] {
		data, ok, err := b.sealed.Get(ctx, label)
		if err != nil {
			return unavailable(ctx, err)
		}
		if !ok {
			continue
		}
		sealed, err := parseBlob(label, data)
		if err != nil {
			continue // one bad row must not keep a server down; signing with it fails, and Rewrap names it
		}
		if _, err = b.keks.find(sealed.kek); err == nil {
			return nil
		}
		missing = fmt.Errorf("key %s: %w", label, err)
	}
	return missing
}

// Protection is [keyring.Software].
func (*Backend) Protection() keyring.Protection { return keyring.Software }

// A ref is the label, a '#', and the thumbprint of the public key: it names that key and no other, whatever is stored
// under the label later.
func newRef(label string, public *jws.PublicKey) string { return label + "#" + public.Kid() }

func splitRef(ref string) (label, kid string, ok bool) {
	i := strings.LastIndexByte(ref, '#')
	if i < 0 {
		return "", "", false
	}
	return ref[:i], ref[i+1:], true
}

// Pins reports whether ref names the key that public is. A key is proven to be the other half of the public key it is
// named by whenever it is opened.
func (*Backend) Pins(ref string, public *jws.PublicKey) bool {
	_, kid, ok := splitRef(ref)
	return ok && kid == public.Kid()
}

// Mint makes a key, or finds the one under label; of several at once, one is kept and all return it. What it returns was
// read back from what the storage kept, opened, and proven by a signature.
func (b *Backend) Mint(ctx context.Context, label string, alg jws.Alg) (backends.Minted, error) {
	if err := backends.CheckLabel(label); err != nil {
		return backends.Minted{}, err
	}
	if err := ctx.Err(); err != nil {
		return backends.Minted{}, err
	}
	data, ok, err := b.sealed.Get(ctx, label)
	if err != nil {
		return backends.Minted{}, unavailable(ctx, err)
	}
	if !ok {
		fresh, err := b.draw(ctx, label, alg)
		if err != nil {
			return backends.Minted{}, err
		}
		if data, err = b.sealed.Put(ctx, label, fresh); err != nil {
			return backends.Minted{}, unavailable(ctx, err)
		}
	}
	p, err := b.unseal(label, data)
	if err != nil {
		return backends.Minted{}, err
	}
	if have := p.public.Alg(); have != alg {
		return backends.Minted{}, fmt.Errorf("%w: %s, not %s", backends.ErrMismatch, have, alg)
	}
	return backends.Minted{Ref: newRef(label, p.public), Public: p.public, Protection: keyring.Software}, nil
}

// draw makes a key and returns it sealed under the newest KEK.
func (b *Backend) draw(ctx context.Context, label string, alg jws.Alg) ([]byte, error) {
	key, err := generate(ctx, alg)
	if err != nil {
		return nil, err
	}
	public, err := jws.NewPublicKey(alg, key.Public())
	if err != nil {
		return nil, fmt.Errorf("drawing a key for %s: %w", alg, err)
	}
	plain, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding a key for %s failed", alg)
	}
	defer clear(plain)
	sealed := &blob{state: usable, label: label, alg: alg, public: public.PKIX()}
	if err := sealed.seal(b.keks.newest(), plain); err != nil {
		return nil, err
	}
	return sealed.encode()
}

// unseal opens what is stored under label and proves the key in it.
func (b *Backend) unseal(label string, data []byte) (*pair, error) {
	sealed, err := parseBlob(label, data)
	if err != nil {
		return nil, err
	}
	if sealed.state == disabled {
		return nil, backends.ErrDisabled
	}
	plain, err := sealed.open(b.keks)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	return newPair(sealed.alg, sealed.public, plain)
}

// Sign signs with a key in memory. The first signature of a key reads and opens it, which other keys do not wait for.
func (b *Backend) Sign(ctx context.Context, ref string, alg jws.Alg, input []byte) ([]byte, error) {
	label, kid, ok := splitRef(ref)
	if !ok {
		return nil, fmt.Errorf("%w: %q is not a ref of this backend", backends.ErrInvalid, ref)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p, err := b.pair(ctx, label)
	if err != nil {
		return nil, err
	}
	if p.public.Kid() != kid {
		return nil, fmt.Errorf("%w: another key, %s, is under its label", backends.ErrKeyNotFound, p.public.Kid())
	}
	if have := p.public.Alg(); have != alg {
		return nil, fmt.Errorf("%w: %s, not %s", backends.ErrMismatch, have, alg)
	}
	return p.sign(input)
}

// Disable drops the key from memory and marks it in the storage. A process that shares the storage and has the key open signs
// on until it is idle or restarts: what stops the whole fleet is the cutoff.
func (b *Backend) Disable(ctx context.Context, label string) error {
	if err := checkCall(ctx, label); err != nil {
		return err
	}
	b.drop(label)
	defer b.drop(label) // what was opened from a blob read before the mark
	for {
		data, ok, err := b.sealed.Get(ctx, label)
		if err != nil {
			return unavailable(ctx, err)
		}
		if !ok {
			return nil
		}
		sealed, err := parseBlob(label, data)
		if errors.Is(err, ErrDamaged) || errors.Is(err, ErrMoved) {
			return nil // it cannot sign, and must not stand in the way of Destroy
		}
		if err != nil {
			return err
		}
		if sealed.state == disabled {
			return nil
		}
		sealed.state = disabled
		marked, err := sealed.encode()
		if err != nil {
			return err
		}
		if ok, err = b.sealed.Replace(ctx, label, data, marked); ok || err != nil {
			return unavailable(ctx, err)
		}
		// rewrapped, disabled or destroyed meanwhile: look again
	}
}

// Destroy drops the key from memory and deletes it from the storage. Copies in backups of the database remain sealed.
func (b *Backend) Destroy(ctx context.Context, label string) error {
	if err := checkCall(ctx, label); err != nil {
		return err
	}
	b.drop(label)
	defer b.drop(label) // what was opened from a blob read before the deletion
	return unavailable(ctx, b.sealed.Delete(ctx, label))
}

func checkCall(ctx context.Context, label string) error {
	if err := backends.CheckLabel(label); err != nil {
		return err
	}
	return ctx.Err()
}

// unavailable classifies an error of the storage. One that comes after our caller has left says nothing about the storage.
func unavailable(ctx context.Context, err error) error {
	if err == nil || errors.Is(err, ctx.Err()) {
		return err
	}
	if gone := ctx.Err(); gone != nil {
		return fmt.Errorf("%w: %w", gone, err)
	}
	return fmt.Errorf("%w: %w", backends.ErrUnavailable, err)
}
