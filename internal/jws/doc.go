// Package jws reads and writes signed tokens (RFC 7515 compact form), public keys (RFC 7517) and the JSON inside them, strictly.
package jws
