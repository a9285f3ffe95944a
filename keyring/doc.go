// Package keyring is the heart of Intaglio: it says which key signs, and which keys never may again.
//
// Use it to hold the rules and nothing else. It knows rings of keys, the cutoffs that fell them, the snapshot a
// replica decides by, and the contract of the store they live in. It imports the standard library only, keeps no
// goroutine of its own besides [Live.Run], and never sees a private key.
//
// Three functions carry the promises of the whole service, and each is pure:
//
//   - [Cutoffs.Fell] tells whether a cutoff revoked a key, whatever the key's record says.
//   - [Signer] names the one key of a ring that signs, or none.
//   - [Advance] is the only way a ring's record changes: it refuses every step that the protocol does not know.
//
// A [Store] applies Advance inside its transaction; a [Live] carries what the store holds to the sign path and stops
// the replica when it can no longer be sure of it.
package keyring
