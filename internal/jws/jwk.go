package jws

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"math/big"
	"slices"
)

// b64 is base64url without padding, and with only one spelling for every value (RFC 7515 section 2; RFC 4648 section 3.5).
var b64 = base64.RawURLEncoding.Strict()

// MaxJWKSetBytes bounds the documents ParseJWKSet reads.
const MaxJWKSetBytes = 1 << 20

// publicMembers returns the public members of the key, in the order of the alphabet, names and values alternating.
func (k *PublicKey) publicMembers() []string {
	switch key := k.key.(type) {
	case *ecdsa.PublicKey:
		point, err := key.Bytes() // 0x04, then both coordinates at full width
		if err != nil {
			return nil // cannot be: the point was checked
		}
		w := k.alg.width()
		return []string{"crv", k.alg.crv(), "kty", "EC",
			"x", b64.EncodeToString(point[1 : 1+w]), "y", b64.EncodeToString(point[1+w:])}
	case *rsa.PublicKey:
		return []string{"e", b64.EncodeToString(big.NewInt(int64(key.E)).Bytes()), "kty", "RSA",
			"n", b64.EncodeToString(key.N.Bytes())}
	case ed25519.PublicKey:
		return []string{"crv", k.alg.crv(), "kty", "OKP", "x", b64.EncodeToString(key)}
	}
	return nil
}

// describe fills in what is computed from the key once: kid (RFC 7638) and JWK. Both list the members to write, and
// never take away from a larger list.
func (k *PublicKey) describe() {
	members := k.publicMembers()
	sum := sha256.Sum256(appendMembers(nil, members...))
	k.kid = b64.EncodeToString(sum[:])

	jwk := []string{"kty", k.alg.kty(), "kid", k.kid, "alg", string(k.alg), "use", "sig"}
	for i := 0; i < len(members); i += 2 {
		if members[i] != "kty" {
			jwk = append(jwk, members[i], members[i+1])
		}
	}
	k.jwk = appendMembers(nil, jwk...)
}

// appendMembers appends a JSON object of strings; pairs are names and values alternating.
func appendMembers(dst []byte, pairs ...string) []byte {
	for i, s := range pairs {
		switch {
		case i == 0:
			dst = append(dst, '{')
		case i%2 == 1:
			dst = append(dst, ':')
		default:
			dst = append(dst, ',')
		}
		dst = AppendString(dst, s)
	}
	return append(dst, '}')
}

// ParseJWK reads a public JSON Web Key (RFC 7517, RFC 7518 section 6, RFC 8037). It must say its alg, and be a key of that alg by the
// rules of [NewPublicKey]; if it has use or key_ops, they must allow verifying; all base64url must be canonical, coordinates of
// full width and integers without leading zeros. A private member is refused (Forbidden), whatever else the key
// says. Other members are ignored, kid among them: [PublicKey.Kid] is always the thumbprint. The error is an [*Error].
func ParseJWK(data []byte) (*PublicKey, error) {
	k, err := parseJWK(data)
	return k, inPart(err, "JWK")
}

func parseJWK(data []byte) (*PublicKey, error) {
	members, err := ParseObject(data, DefaultMaxBytes, DefaultMaxDepth)
	if err != nil {
		return nil, err
	}
	texts := map[string]string{}
	for _, m := range members {
		switch m.Name {
		case "d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv":
			return nil, m.refuse(Forbidden, "a private key or a secret")
		case "kty", "kid", "alg", "use", "crv", "x", "y", "n", "e":
			if texts[m.Name], err = m.Text(); err != nil {
				return nil, err
			}
			if m.Name == "use" && texts["use"] != "sig" {
				return nil, m.refuse(NotForUse, `want "sig"`)
			}
		case "key_ops":
			if err := checkKeyOps(m); err != nil {
				return nil, err
			}
		}
	}
	return keyFromTexts(texts)
}

// checkKeyOps wants "verify" among the operations, and none of them twice (RFC 7517 section 4.3).
func checkKeyOps(m Member) error {
	if m.Kind != Array {
		return m.refuse(WrongType, "want an array")
	}
	ops, err := m.Strings()
	if err != nil {
		return err
	}
	if !slices.Contains(ops, "verify") {
		return m.refuse(NotForUse, `want "verify" in it`)
	}
	slices.Sort(ops)
	if len(slices.Compact(ops)) != len(ops) {
		return m.refuse(Malformed, "an operation twice")
	}
	return nil
}

// keyFromTexts makes the key from the string members of a JWK.
func keyFromTexts(texts map[string]string) (*PublicKey, error) {
	kty := texts["kty"]
	for _, name := range []string{"kty", "alg", "crv"} {
		if texts[name] == "" && !(name == "crv" && kty == "RSA") {
			return nil, &Error{Code: Missing, Name: name, Offset: -1}
		}
	}
	if kty != "EC" && kty != "RSA" && kty != "OKP" {
		return nil, &Error{Code: UnknownKty, Name: kty, Offset: -1}
	}
	alg, err := ParseAlg(texts["alg"])
	if err != nil {
		return nil, err
	}
	if alg.kty() != kty {
		return nil, badKey("%s does not use keys of kty %s", alg, kty)
	}
	if kty != "RSA" && texts["crv"] != alg.crv() {
		return nil, badKey("%s does not use the curve it names, want %s", alg, alg.crv())
	}
	var key crypto.PublicKey
	switch kty {
	case "EC":
		key, err = ecFromTexts(alg, texts)
	case "RSA":
		key, err = rsaFromTexts(texts)
	case "OKP":
		var x []byte
		x, err = decodeWidth(texts, "x", ed25519.PublicKeySize)
		key = ed25519.PublicKey(x)
	}
	if err != nil {
		return nil, err
	}
	return NewPublicKey(alg, key)
}

func ecFromTexts(alg Alg, texts map[string]string) (crypto.PublicKey, error) {
	x, err := decodeWidth(texts, "x", alg.width())
	if err != nil {
		return nil, err
	}
	y, err := decodeWidth(texts, "y", alg.width())
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.ParseUncompressedPublicKey(alg.curve(), slices.Concat([]byte{4}, x, y))
	if err != nil {
		return nil, badKey("not a point of %s", alg.crv())
	}
	return key, nil
}

func rsaFromTexts(texts map[string]string) (crypto.PublicKey, error) {
	n, err := decodeInteger(texts, "n", maxRSABits/8)
	if err != nil {
		return nil, err
	}
	e, err := decodeInteger(texts, "e", 4)
	if err != nil {
		return nil, err
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}, nil
}

// decode returns the bytes of a base64url member. The error does not quote it: it may be long.
func decode(texts map[string]string, name string) ([]byte, error) {
	text, ok := texts[name]
	if !ok {
		return nil, &Error{Code: Missing, Name: name, Offset: -1}
	}
	b, err := decodeB64(text)
	if err != nil {
		return nil, &Error{Code: NonCanonical, Name: name, Offset: -1, Detail: "not canonical base64url"}
	}
	return b, nil
}

// decodeB64 is b64.DecodeString without its tolerance for line breaks.
func decodeB64(text string) ([]byte, error) {
	if i := firstOutside(text); i < len(text) {
		return nil, base64.CorruptInputError(i)
	}
	return b64.DecodeString(text)
}

// decodeWidth returns a value of a fixed number of bytes.
func decodeWidth(texts map[string]string, name string, width int) ([]byte, error) {
	b, err := decode(texts, name)
	if err == nil && len(b) != width {
		err = badKey("%s of %d bytes, want %d", name, len(b), width)
	}
	return b, err
}

// decodeInteger returns a Base64urlUInt (RFC 7518 section 2): at most size bytes, the first of which is not zero.
func decodeInteger(texts map[string]string, name string, size int) ([]byte, error) {
	b, err := decode(texts, name)
	switch {
	case err != nil:
		return nil, err
	case len(b) == 0 || b[0] == 0:
		return nil, &Error{Code: NonCanonical, Name: name, Offset: -1, Detail: "empty, or with a leading zero byte"}
	case len(b) > size:
		return nil, badKey("%s of %d bytes, want at most %d", name, len(b), size)
	}
	return b, nil
}

// ParseJWKSet reads a JWK Set (RFC 7517 section 5) of at most MaxJWKSetBytes. A key that ParseJWK refuses is left out and counted in skipped, as
// is one whose kid an earlier key has: other keys of the set are not harmed. What is wrong with the
// document as a whole, or a set in which no key is usable (NoUsableKey), is an [*Error].
func ParseJWKSet(data []byte) (keys []*PublicKey, skipped int, err error) {
	keys, skipped, err = parseJWKSet(data)
	return keys, skipped, inPart(err, "JWK Set")
}

func parseJWKSet(data []byte) (keys []*PublicKey, skipped int, err error) {
	members, err := parseObject(data, MaxJWKSetBytes, DefaultMaxDepth, true)
	if err != nil {
		return nil, 0, err
	}
	i := slices.IndexFunc(members, func(m Member) bool { return m.Name == "keys" })
	if i < 0 {
		return nil, 0, &Error{Code: Missing, Name: "keys", Offset: -1}
	}
	elements, err := members[i].elements()
	if err != nil {
		return nil, 0, err
	}
	known := map[string]bool{}
	for _, e := range elements {
		k, err := ParseJWK(e.Raw)
		if err != nil || known[k.Kid()] {
			skipped++
			continue
		}
		known[k.Kid()] = true
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, skipped, members[i].refuse(NoUsableKey, "")
	}
	return keys, skipped, nil
}
