package storetest

import (
	"crypto/rand"
	"encoding/hex"
	"time"

	"intaglio.example/keyring"
)

// epoch is when everything in a fixture was made: a whole second of UTC.
var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// Issuer returns a valid issuer.
func Issuer(name string) keyring.Issuer {
	return keyring.Issuer{Name: name, URL: "https://" + name + ".example", Created: epoch}
}

// Grant returns a valid grant on everything.
func Grant(name string) keyring.Grant {
	return keyring.Grant{
		Name: name, Principal: "spiffe://example/" + name, Verbs: []keyring.Verb{keyring.Sign, keyring.Admin}, Rings: []string{"*"}, Created: epoch,
	}
}

// Ring returns a valid ring without keys, for a store with the default timing or a quicker one.
func Ring(name string) keyring.Ring {
	return keyring.Ring{
		Name:          name,
		Scope:         keyring.Scope{Typ: "at+jwt", Usage: keyring.Tokens, Audiences: keyring.Audiences{Any: true}, MaxTTL: time.Hour},
		Algorithm:     "ES256",
		Backend:       "software",
		MinProtection: keyring.Software,
		DefaultTTL:    5 * time.Minute,
		Rotation:      keyring.Rotation{Lifetime: 14 * 24 * time.Hour, Propagation: 24 * time.Hour, Skew: time.Minute},
		Created:       epoch,
		NextSerial:    1,
	}
}

// Reserve adds a reservation to a ring and returns its serial.
func Reserve(r *keyring.Ring) uint64 {
	serial := r.NextSerial
	r.NextSerial++
	r.Keys = append(r.Keys, keyring.Key{
		Serial: serial, Nonce: keyring.NewNonce(), State: keyring.Reserved,
		Backend: r.Backend, Algorithm: r.Algorithm, Scope: r.Scope, Created: epoch,
	})
	return serial
}

// Move takes a key one step further, with the proofs and the times that the step needs. Staging makes up a public key
// and a kid of its own.
func Move(k *keyring.Key, to keyring.State) {
	k.State = to
	switch to {
	case keyring.Staged:
		k.PublicKey = make([]byte, 91)
		rand.Read(k.PublicKey)
		k.Kid = hex.EncodeToString(k.PublicKey[:16])
		k.Ref, k.Protection, k.Staged = "software/"+k.Nonce, keyring.Software, epoch
		k.Window = keyring.Window{NotBefore: epoch, SignUntil: epoch.Add(14 * 24 * time.Hour), VerifyUntil: epoch.Add(15 * 24 * time.Hour)}
	case keyring.Active:
		k.Activated = epoch
	case keyring.Retiring:
		k.Retiring = epoch
	case keyring.Retired:
		k.Retired = epoch
	case keyring.Revoked:
		k.Revoked = epoch
	}
}
