package keyring

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// Key is the record of one key: one backend, one algorithm, one kid. It holds no private material.
// Times are written by the server that made the move; the zero time means it has not happened.
type Key struct {
	Serial    uint64    `json:"serial"`
	Nonce     string    `json:"nonce"` // 128 random bits, hex, drawn at reservation: see Label
	State     State     `json:"state"`
	Reserved  Revision  `json:"reserved"`            // revision of the write that reserved it; cutoffs compare this
	Operation string    `json:"operation,omitempty"` // operation that reserved it; empty when rotation did
	Backend   string    `json:"backend"`
	Algorithm string    `json:"algorithm"` // a JWS algorithm name
	Scope     Scope     `json:"scope"`
	Created   time.Time `json:"created"`

	// Set once, when the key is staged.
	Ref        string     `json:"ref,omitempty"` // names the exact key and version in the backend
	Kid        string     `json:"kid,omitempty"` // RFC 7638 thumbprint
	PublicKey  []byte     `json:"public_key,omitempty"`
	Protection Protection `json:"protection,omitempty"` // as the backend proved it, never as configured
	Window     Window     `json:"window,omitzero"`
	Staged     time.Time  `json:"staged,omitzero"`

	Activated time.Time `json:"activated,omitzero"` // the last time it became active
	Retiring  time.Time `json:"retiring,omitzero"`  // the last time it stopped signing
	Retired   time.Time `json:"retired,omitzero"`
	Revoked   time.Time `json:"revoked,omitzero"`

	Retain    bool      `json:"retain,omitempty"`   // rotation may not unpublish it, nothing may destroy it
	Destroy   time.Time `json:"destroy,omitzero"`   // the intent to destroy its backend key; retain is refused after it
	Destroyed time.Time `json:"destroyed,omitzero"` // when the backend last confirmed that it is gone
}

// NewNonce draws the nonce of a key about to be reserved.
func NewNonce() string {
	var b [16]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the process rather than return weak bytes
	return hex.EncodeToString(b[:])
}

// Label is the name under which the backend makes the key: store, ring, serial and nonce. Because of the nonce, no
// restored store and no second installation can ever adopt an older key.
func Label(store, ring string, k *Key) string {
	return fmt.Sprintf("%s.%s.%d.%s", store, strings.ReplaceAll(ring, "/", "."), k.Serial, k.Nonce)
}

// Successor reports whether the record names a key that is to sign later.
func (k *Key) Successor() bool { return k.State == Reserved || k.State == Staged }

// Dead reports whether the record says that the key never signs or verifies again.
func (k *Key) Dead() bool { return k.State == Retired || k.State == Revoked }
