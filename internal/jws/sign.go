package jws

import "slices"

// headerRoom is the length of a header beyond which AppendSigningInput allocates: far above alg, a thumbprint and a typ.
const headerRoom = 512

// AppendSigningInput appends what is signed to make a token: base64url(header) "." base64url(payload). The header's
// members are alg, kid and typ, in this order. payload goes in byte for byte. Nothing is checked here, and
// nothing is allocated beyond dst, for headers up to 512 bytes.
func AppendSigningInput(dst []byte, alg Alg, kid, typ string, payload []byte) []byte {
	var room [headerRoom]byte
	header := appendMembers(room[:0], "alg", string(alg), "kid", kid, "typ", typ)
	dst = slices.Grow(dst, b64.EncodedLen(len(header))+1+b64.EncodedLen(len(payload)))
	dst = append(b64.AppendEncode(dst, header), '.')
	return b64.AppendEncode(dst, payload)
}

// AppendSignature appends "." base64url(sig) to a signing input, and so completes the token.
func AppendSignature(dst []byte, sig []byte) []byte {
	return b64.AppendEncode(append(slices.Grow(dst, 1+b64.EncodedLen(len(sig))), '.'), sig)
}
