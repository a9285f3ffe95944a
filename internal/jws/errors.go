package jws

import (
	"strconv"
	"strings"
)

// A Code says why something was refused. The set is closed; codes are stable, and fit for metrics and reason fields.
type Code string

// What can be wrong with a JSON text.
const (
	Malformed   Code = "malformed"    // not JSON, or not the form asked for
	NotObject   Code = "not_object"   // JSON, but not an object
	Trailing    Code = "trailing"     // something follows the object
	NotUTF8     Code = "not_utf8"     // invalid UTF-8, or an escape that is half a surrogate pair
	Duplicate   Code = "duplicate"    // one name twice in one object
	CaseVariant Code = "case_variant" // two top-level names that differ only in case
	TooLarge    Code = "too_large"    // over the limit of bytes
	TooDeep     Code = "too_deep"     // nested beyond the limit
	WrongType   Code = "wrong_type"   // a value of another JSON type than asked for
	OutOfRange  Code = "out_of_range" // a date outside years 1970 to 9999
)

// What can be wrong with a compact token, beside its JSON.
const (
	BadCharacter Code = "bad_character" // a byte outside A-Z a-z 0-9 - _ .
	NotThree     Code = "not_three"     // not exactly three parts
	EmptyPart    Code = "empty_part"    // one of the three is empty
	Encrypted    Code = "encrypted"     // five parts: a JWE
	NonCanonical Code = "non_canonical" // padding, impossible length or unused bits in base64url; superfluous bytes in a key or in DER
	Forbidden    Code = "forbidden"     // a member that is never accepted: crit, jku, a private key ...
	Unexpected   Code = "unexpected"    // a header member beside alg, kid and typ
	Missing      Code = "missing"       // a required member is absent
	BadKid       Code = "bad_kid"       // kid empty, too long or outside the alphabet of thumbprints
	AlgMismatch  Code = "alg_mismatch"  // not the algorithm of the key
	KidMismatch  Code = "kid_mismatch"  // not the kid of the key
	TypMismatch  Code = "typ_mismatch"  // not the typ asked for
	BadSignature Code = "bad_signature" // wrong length, or it does not verify
)

// What can be wrong with a key.
const (
	UnknownKty  Code = "unknown_kty"   // a key type this package does not know
	UnknownAlg  Code = "unknown_alg"   // an algorithm not in Algs
	BadKey      Code = "bad_key"       // not a key of the algorithm: wrong type, curve, size, or not on the curve
	NotForUse   Code = "not_for_use"   // use or key_ops do not allow verifying
	NoUsableKey Code = "no_usable_key" // a set without one key that can be used
)

// An Error is the refusal of an input. It carries no key material. What it quotes of the input is
// bounded and escaped, so that it may be logged.
type Error struct {
	Code   Code
	Part   string // the part of the input: "token", "header", "payload", "JWK", "JWK Set"; "" for a bare JSON text
	Name   string // the member or the value that offends, unescaped and as long as the input had it; may be ""
	Offset int    // byte offset of the offending name or byte in the part; -1 if it has none
	Detail string // more, for a person; may be ""
}

// maxQuoted bounds what Error quotes of an input, in bytes.
const maxQuoted = 64

// Error returns one line of printable text.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("jws: ")
	if e.Part != "" {
		b.WriteString(e.Part + ": ")
	}
	b.WriteString(strings.ReplaceAll(string(e.Code), "_", " "))
	if e.Name != "" {
		name, more := e.Name, ""
		if len(name) > maxQuoted {
			name, more = name[:maxQuoted], "..."
		}
		b.WriteString(" " + strconv.QuoteToASCII(name) + more)
	}
	if e.Offset >= 0 {
		b.WriteString(" at byte " + strconv.Itoa(e.Offset))
	}
	if e.Detail != "" {
		b.WriteString(": " + e.Detail)
	}
	return b.String()
}

// inPart says in which part of the input err, an *Error just made, was found; nil stays nil.
func inPart(err error, part string) error {
	if e, ok := err.(*Error); ok {
		e.Part = part
	}
	return err
}
