// Package server answers for Intaglio over gRPC and HTTP.
//
// Use [New] with a live snapshot, the backends and a rotator, then serve [Server.GRPC] over mutual TLS and
// [Server.HTTP] for the public keys. Every call reads as a straight line. For a token it is
//
//	caller → grant → vet → snapshot → signer → header.payload → backend → verify → still the signer? → token
//
// and nothing in that line takes a lock shared with rotation, calls the store, or waits for another caller's backend.
// Handlers hold no state of their own: what may be done is decided by the snapshot, what was done is in the store.
package server
