package jws

import (
	"bytes"
	"strings"
)

// maxHeaderDepth is how deep a header may nest. Ours are flat; the rest is room to name what is wrong.
const maxHeaderDepth = 4

// maxKid is the longest kid: an RFC 7638 thumbprint with SHA-256 in base64url.
const maxKid = 43

// A Compact is a JWS in compact form (RFC 7515 section 7.1), taken apart. Nothing in it has been verified, and
// what its header may say is hardly narrowed: tokens are read with [Parse].
type Compact struct {
	SigningInput []byte // header and payload as they were received: what the signature is over
	Header       []Member
	Payload      []byte
	Signature    []byte
}

// ParseCompact checks the form of any compact JWS and takes it apart: its size (TooLarge; 0 means DefaultMaxBytes), its
// alphabet (BadCharacter), its three parts (NotThree, EmptyPart, Encrypted), canonical base64url (NonCanonical), a header that is one
// strict JSON object, and in it none of crit, b64, jku, jwk, x5u, x5c and zip (Forbidden). An empty
// payload is within RFC 7515. The error is an [*Error].
func ParseCompact(token string, maxBytes int) (*Compact, error) {
	if err := checkForm(token, maxBytes); err != nil {
		return nil, inPart(err, "token")
	}
	raw := []byte(token)
	parts := bytes.Split(raw, []byte{'.'})
	room := make([]byte, 0, len(raw)) // for all three: base64 only shrinks
	for i, name := range []string{"header", "payload", "signature"} {
		start := len(room)
		var err error
		if room, err = b64.AppendDecode(room, parts[i]); err != nil {
			return nil, &Error{Code: NonCanonical, Part: "token", Name: name, Offset: -1}
		}
		parts[i] = room[start:len(room):len(room)]
	}
	header, err := ParseObject(parts[0], maxBytes, maxHeaderDepth)
	if err != nil {
		return nil, inPart(err, "header")
	}
	c := &Compact{SigningInput: raw[:strings.LastIndexByte(token, '.')], Header: header, Payload: parts[1], Signature: parts[2]}
	for _, m := range c.Header {
		switch m.Name {
		case "crit", "b64", "jku", "jwk", "x5u", "x5c", "zip":
			return nil, inPart(m.refuse(Forbidden, ""), "header")
		}
	}
	return c, nil
}

// checkForm checks what can be checked before anything is decoded.
func checkForm(token string, maxBytes int) error {
	if maxBytes <= 0 {
		maxBytes = DefaultMaxBytes
	}
	if len(token) > maxBytes {
		return &Error{Code: TooLarge, Offset: maxBytes}
	}
	dots := 0
	for rest := token; ; dots++ {
		i := firstOutside(rest)
		if i == len(rest) {
			break
		}
		if rest[i] != '.' {
			return &Error{Code: BadCharacter, Offset: len(token) - len(rest) + i}
		}
		rest = rest[i+1:]
	}
	switch {
	case dots == 4:
		return &Error{Code: Encrypted, Offset: -1, Detail: "five parts are an encrypted token (JWE)"}
	case dots != 2:
		return &Error{Code: NotThree, Offset: -1}
	case token[0] == '.' || token[len(token)-1] == '.':
		return &Error{Code: EmptyPart, Offset: -1, Detail: "no header, or no signature"}
	}
	return nil
}

// firstOutside returns the offset of the first byte of s outside the alphabet of base64url, len(s) if there is none.
func firstOutside(s string) int {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || isDigit(c) || c == '-' || c == '_') {
			return i
		}
	}
	return len(s)
}

// An Unverified is a token whose form [Parse] has found right, and nothing else. Its header names the key to
// look for; its payload comes out of [Unverified.Verify] only.
type Unverified struct {
	compact       Compact
	alg, kid, typ string
}

// Parse reads a token of ours: a compact JWS (see [ParseCompact]) whose header has alg, kid and typ and no other member, all of
// them strings, kid in the form of a thumbprint (BadKid), and whose payload [ParseClaims] accepts. It does everything that can
// be done without a key. maxBytes bounds the token; 0 means DefaultMaxBytes. The error is an [*Error].
func Parse(token string, maxBytes int) (*Unverified, error) {
	c, err := ParseCompact(token, maxBytes)
	if err != nil {
		return nil, err
	}
	u := &Unverified{compact: *c}
	if err := u.readHeader(); err != nil {
		return nil, inPart(err, "header")
	}
	if len(c.Payload) == 0 {
		return nil, &Error{Code: EmptyPart, Part: "token", Offset: -1}
	}
	if _, err := ParseClaims(c.Payload, maxBytes); err != nil {
		return nil, inPart(err, "payload")
	}
	return u, nil
}

func (u *Unverified) readHeader() error {
	for _, m := range u.compact.Header {
		text := (*string)(nil)
		switch m.Name {
		case "alg":
			text = &u.alg
		case "kid":
			text = &u.kid
		case "typ":
			text = &u.typ
		default:
			return m.refuse(Unexpected, "")
		}
		var err error
		if *text, err = m.Text(); err != nil {
			return err
		}
		if m.Name == "kid" && (*text == "" || len(*text) > maxKid || firstOutside(*text) < len(*text)) {
			return m.refuse(BadKid, "")
		}
	}
	for _, required := range []struct{ name, value string }{{"alg", u.alg}, {"typ", u.typ}, {"kid", u.kid}} {
		if required.value == "" {
			return &Error{Code: Missing, Name: required.name, Offset: -1}
		}
	}
	return nil
}

// Kid returns the key the token names: at most 43 characters of A-Z a-z 0-9 - _. Keys are looked up by issuer and kid, never
// by kid alone.
func (u *Unverified) Kid() string { return u.kid }

// Alg returns the algorithm the token claims, which may be anything. [Unverified.Verify] compares it with the key's.
func (u *Unverified) Alg() string { return u.alg }

// Typ returns the type the token claims, which may be anything.
func (u *Unverified) Typ() string { return u.typ }

// Verify checks the token against the key, and returns its payload, which the caller owns. The token's alg must be
// the key's byte for byte (AlgMismatch), its typ the one asked for (TypMismatch; one without a slash means the same with
// "application/" before it, RFC 7515 section 4.1.9), its kid the key's (KidMismatch), and its signature must be right (BadSignature).
// Issuer, audience and times are the caller's to check. The error is an [*Error].
func (u *Unverified) Verify(key *PublicKey, typ string) (payload []byte, err error) {
	refuse := func(code Code, name, detail string) error {
		return &Error{Code: code, Part: "token", Name: name, Offset: -1, Detail: detail}
	}
	switch {
	case key == nil:
		return nil, refuse(KidMismatch, u.kid, "no key to verify with")
	case u.alg != string(key.Alg()):
		return nil, refuse(AlgMismatch, u.alg, "the key is for "+string(key.Alg()))
	case typ == "":
		return nil, refuse(TypMismatch, u.typ, "no typ was asked for")
	case mediaType(u.typ) != mediaType(typ):
		return nil, refuse(TypMismatch, u.typ, "want "+typ)
	case u.kid != key.Kid():
		return nil, refuse(KidMismatch, u.kid, "the key is "+key.Kid())
	}
	if err := key.Verify(u.compact.SigningInput, u.compact.Signature); err != nil {
		return nil, inPart(err, "token")
	}
	return bytes.Clone(u.compact.Payload), nil
}

// mediaType returns typ with the "application/" that RFC 7515 section 4.1.9 lets a token leave out.
func mediaType(typ string) string {
	if strings.Contains(typ, "/") {
		return typ
	}
	return "application/" + typ
}
