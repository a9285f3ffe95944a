// Package jws reads and writes signed tokens, public keys and the JSON inside them, strictly and on the
// standard library alone.
//
// To check a token: [Parse] it, find the key by issuer and [Unverified.Kid], then [Unverified.Verify] with that key and
// the typ the caller expects; only then is there a payload. Read the payload with [ParseClaims].
// To sign: [AppendSigningInput], let a backend sign those bytes, check its answer with [PublicKey.Verify] and
// put it behind with [AppendSignature]. A backend that answers in DER goes through [SignatureFromDER] first.
// A key comes from [NewPublicKey], [ParsePKIX], [ParseJWK] or [ParseJWKSet]; a [PublicKey] is one key with one algorithm,
// checked once, and never changes.
//
// The rules are those of RFC 7515, 7517, 7518, 7519, 7638 and 8037, read as RFC 8725 and its revision read them: one
// spelling for everything. What a lenient reader would repair is refused here, with a [Code] of its own, because two
// readers that repair differently can be played against each other.
//
// Values of this package are immutable or owned by the caller; every function may be called concurrently.
// No function here keeps or prints a private key: there is no type for one.
package jws
