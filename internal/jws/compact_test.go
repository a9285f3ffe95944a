package jws

import (
	"fmt"
	"strings"
	"testing"
)

const goodPayload = `{"iss":"https://issuer.example/payments","aud":"billing","exp":1700000300}`

// compact encodes a header and a payload and puts a signature behind them.
func compact(header, payload string) string {
	return b64.EncodeToString([]byte(header)) + "." + b64.EncodeToString([]byte(payload)) + ".c2ln"
}

func TestTokenRoundTrip(t *testing.T) {
	for _, a := range Algs() {
		k := publicKey(t, a)
		u, err := Parse(token(t, a, "at+jwt", goodPayload), 0)
		if err != nil {
			t.Errorf("%s: %v", a, err)
			continue
		}
		if u.Kid() != k.Kid() || u.Alg() != string(a) || u.Typ() != "at+jwt" {
			t.Errorf("%s: header reads %s %s %s", a, u.Kid(), u.Alg(), u.Typ())
		}
		if payload, err := u.Verify(k, "at+jwt"); err != nil || string(payload) != goodPayload {
			t.Errorf("%s: %q %v", a, payload, err)
		}
	}
}

func TestAppendSigningInput(t *testing.T) {
	got := string(AppendSigningInput([]byte("before "), ES256, "kid-1", "at+jwt", []byte(`{"a":1}`)))
	want := "before " + b64.EncodeToString([]byte(`{"alg":"ES256","kid":"kid-1","typ":"at+jwt"}`)) + "." + b64.EncodeToString([]byte(`{"a":1}`))
	if got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := string(AppendSignature([]byte("a.b"), []byte{0xfb, 0xff})); got != "a.b.-_8" {
		t.Errorf("AppendSignature: %s", got)
	}
	// A typ or kid cannot break out of its string, and a header beyond the room on the stack is not cut.
	hostile := `","alg":"none"` + strings.Repeat("x", 600)
	c, err := ParseCompact(string(AppendSigningInput(nil, ES256, hostile, hostile, nil))+".c2ln", 0)
	if err != nil || len(c.Header) != 3 {
		t.Fatalf("%v %v", c, err)
	}
	if kid, err := c.Header[1].Text(); err != nil || kid != hostile {
		t.Errorf("%q %v", kid, err)
	}
}

// TestRefusals holds the rules a token must keep before any key is looked at: one line, one code.
func TestRefusals(t *testing.T) {
	const header = `{"alg":"ES256","kid":"abc-_9","typ":"at+jwt"}`
	with := func(name, value string) string { return strings.Replace(header, "{", `{"`+name+`":`+value+`,`, 1) }
	ok := compact(header, goodPayload)
	if _, err := Parse(ok, 0); err != nil {
		t.Fatal(err)
	}
	h, rest, _ := strings.Cut(ok, ".")
	p, s, _ := strings.Cut(rest, ".")
	cases := []struct {
		rule, name, token string
		want              Code
		part              string
	}{
		{"size", "over the limit", ok + strings.Repeat("A", DefaultMaxBytes), TooLarge, "token"},

		{"alphabet", "padding", h + "." + p + ".c2lnbg==", BadCharacter, "token"},
		{"alphabet", "space before", " " + ok, BadCharacter, "token"}, {"alphabet", "newline after", ok + "\n", BadCharacter, "token"},
		{"alphabet", "newline inside", h[:4] + "\n" + h[4:] + "." + p + "." + s, BadCharacter, "token"}, {"alphabet", "NUL", ok + "\x00", BadCharacter, "token"},
		{"alphabet", "standard base64", h + "." + p + ".+/8A", BadCharacter, "token"}, {"alphabet", "not ASCII", h + ".é." + s, BadCharacter, "token"},
		{"alphabet", "JSON serialization", `{"payload":"` + p + `","signatures":[]}`, BadCharacter, "token"}, {"alphabet", "quotes", `"` + ok + `"`, BadCharacter, "token"},

		{"parts", "nothing", "", NotThree, "token"}, {"parts", "one", h, NotThree, "token"}, {"parts", "two", h + "." + p, NotThree, "token"}, {"parts", "four", ok + ".AAAA", NotThree, "token"}, {"parts", "six", ok + ".AA.AA.AA", NotThree, "token"},
		{"parts", "JWE", "AAAA.AAAA.AAAA.AAAA.AAAA", Encrypted, "token"}, {"parts", "empty JWE", "....", Encrypted, "token"},
		{"parts", "no header", "." + p + "." + s, EmptyPart, "token"}, {"parts", "no payload", h + ".." + s, EmptyPart, "token"}, {"parts", "no signature", h + "." + p + ".", EmptyPart, "token"}, {"parts", "only dots", "..", EmptyPart, "token"},

		{"base64url", "header of impossible length", "AAAAA." + p + "." + s, NonCanonical, "token"},
		{"base64url", "signature of one character", h + "." + p + ".A", NonCanonical, "token"},
		{"base64url", "unused bits in the signature", h + "." + p + ".AB", NonCanonical, "token"}, {"base64url", "unused bits in the payload", h + ".e31." + s, NonCanonical, "token"},
		{"base64url", "unused bits in the header", "e31." + p + "." + s, NonCanonical, "token"},

		{"header", "an array", compact(`[`+header+`]`, goodPayload), NotObject, "header"}, {"header", "no JSON", compact(`header`, goodPayload), NotObject, "header"},
		{"header", "trailing data", compact(header+header, goodPayload), Trailing, "header"}, {"header", "invalid UTF-8", compact(with("x", "\"\xff\""), goodPayload), NotUTF8, "header"},
		{"header", "alg twice", compact(with("alg", `"none"`), goodPayload), Duplicate, "header"}, {"header", "alg twice, escaped", compact(with(`\u0061lg`, `"none"`), goodPayload), Duplicate, "header"},
		{"header", "alg and ALG", compact(with("ALG", `"none"`), goodPayload), CaseVariant, "header"}, {"header", "too deep", compact(with("x", `[[[[]]]]`), goodPayload), TooDeep, "header"},
		{"header", "cut", compact(header[:20], goodPayload), Malformed, "header"},

		{"members", "one of somebody else's", compact(with("cty", `"JWT"`), goodPayload), Unexpected, "header"}, {"members", "x5t", compact(with("x5t#S256", `"AA"`), goodPayload), Unexpected, "header"},
		{"members", "Crit", compact(with("Crit", `[]`), goodPayload), Unexpected, "header"},

		{"alg", "absent", compact(`{"kid":"abc","typ":"at+jwt"}`, goodPayload), Missing, "header"}, {"alg", "null", compact(`{"alg":null,"kid":"abc","typ":"at+jwt"}`, goodPayload), WrongType, "header"},
		{"alg", "a list", compact(`{"alg":["ES256"],"kid":"abc","typ":"at+jwt"}`, goodPayload), WrongType, "header"},
		{"typ", "absent", compact(`{"alg":"ES256","kid":"abc"}`, goodPayload), Missing, "header"}, {"typ", "empty", compact(`{"alg":"ES256","kid":"abc","typ":""}`, goodPayload), Missing, "header"},
		{"typ", "a number", compact(`{"alg":"ES256","kid":"abc","typ":1}`, goodPayload), WrongType, "header"},
		{"kid", "absent", compact(`{"alg":"ES256","typ":"at+jwt"}`, goodPayload), Missing, "header"}, {"kid", "empty", compact(`{"alg":"ES256","kid":"","typ":"at+jwt"}`, goodPayload), BadKid, "header"},
		{"kid", "too long", compact(`{"alg":"ES256","kid":"`+strings.Repeat("a", 44)+`","typ":"at+jwt"}`, goodPayload), BadKid, "header"},
		{"kid", "a path", compact(`{"alg":"ES256","kid":"../../etc/passwd","typ":"at+jwt"}`, goodPayload), BadKid, "header"}, {"kid", "SQL", compact(`{"alg":"ES256","kid":"' OR 1=1","typ":"at+jwt"}`, goodPayload), BadKid, "header"},
		{"kid", "a format", compact(`{"alg":"ES256","kid":"%s%n","typ":"at+jwt"}`, goodPayload), BadKid, "header"}, {"kid", "a URL", compact(`{"alg":"ES256","kid":"https:\/\/evil.example","typ":"at+jwt"}`, goodPayload), BadKid, "header"},
		{"kid", "a number", compact(`{"alg":"ES256","kid":7,"typ":"at+jwt"}`, goodPayload), WrongType, "header"},

		{"payload", "an array", compact(header, `[]`), NotObject, "payload"}, {"payload", "text", compact(header, `foo`), NotObject, "payload"}, {"payload", "two objects", compact(header, `{}{}`), Trailing, "payload"},
		{"payload", "a claim twice", compact(header, `{"iss":"good","iss":"evil"}`), Duplicate, "payload"}, {"payload", "iss and ISS", compact(header, `{"iss":"good","ISS":"evil"}`), CaseVariant, "payload"},
		{"payload", "a nested claim twice", compact(header, `{"cnf":{"jkt":"a","jkt":"b"}}`), Duplicate, "payload"}, {"payload", "exp as text", compact(header, `{"exp":"1700000000"}`), WrongType, "payload"},
		{"payload", "aud as a number", compact(header, `{"aud":7}`), WrongType, "payload"}, {"payload", "exp without end", compact(header, `{"exp":1e99}`), OutOfRange, "payload"},
		{"payload", "invalid UTF-8", compact(header, "{\"sub\":\"\xff\"}"), NotUTF8, "payload"}, {"payload", "too deep", compact(header, `{"a":`+strings.Repeat("[", 16)+strings.Repeat("]", 16)+`}`), TooDeep, "payload"},
	}
	for _, name := range []string{"crit", "b64", "jku", "jwk", "x5u", "x5c", "zip"} {
		for _, value := range []string{`["exp"]`, `false`, `null`, `"https://evil.example/jwks"`, `{"kty":"EC"}`} {
			c := cases[0]
			c.rule, c.name, c.token, c.want, c.part = "members", name+" "+value, compact(with(name, value), goodPayload), Forbidden, "header"
			cases = append(cases, c)
		}
	}
	for _, c := range cases {
		u, err := Parse(c.token, 0)
		if codeOf(t, err) != c.want || u != nil {
			t.Errorf("%s, %s: %v, want %s", c.rule, c.name, err, c.want)
			continue
		}
		if part := err.(*Error).Part; part != c.part {
			t.Errorf("%s, %s: found in the %s, want %s", c.rule, c.name, part, c.part)
		}
	}
	if _, err := Parse(ok, len(ok)); err != nil {
		t.Errorf("just within the limit: %v", err)
	}
	if _, err := Parse(ok, len(ok)-1); codeOf(t, err) != TooLarge {
		t.Errorf("one byte over the limit: %v", err)
	}
}

func TestUnverifiedVerify(t *testing.T) {
	k := publicKey(t, ES256)
	parse := func(token string) *Unverified {
		t.Helper()
		u, err := Parse(token, 0)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	signed := func(header string) *Unverified {
		input := b64.EncodeToString([]byte(header)) + "." + b64.EncodeToString([]byte(goodPayload))
		return parse(string(AppendSignature([]byte(input), sign(t, ES256, []byte(input)))))
	}
	header := func(alg, kid, typ string) string {
		return fmt.Sprintf(`{"alg":"%s","kid":"%s","typ":"%s"}`, alg, kid, typ)
	}
	for _, c := range []struct {
		name   string
		header string
		key    *PublicKey
		typ    string
		want   Code
	}{
		{"all right", header("ES256", k.Kid(), "at+jwt"), k, "at+jwt", ""},
		{"other order", `{"typ":"at+jwt", "alg":"ES256", "kid":"` + k.Kid() + `"}`, k, "at+jwt", ""},
		{"typ in full in the token", header("ES256", k.Kid(), "application/at+jwt"), k, "at+jwt", ""},
		{"typ in full in the policy", header("ES256", k.Kid(), "at+jwt"), k, "application/at+jwt", ""},
		{"alg in lower case", header("es256", k.Kid(), "at+jwt"), k, "at+jwt", AlgMismatch},
		{"alg with a space", header("ES256 ", k.Kid(), "at+jwt"), k, "at+jwt", AlgMismatch},
		{"alg none", header("none", k.Kid(), "at+jwt"), k, "at+jwt", AlgMismatch},
		{"alg None", header("None", k.Kid(), "at+jwt"), k, "at+jwt", AlgMismatch},
		{"alg HS256", header("HS256", k.Kid(), "at+jwt"), k, "at+jwt", AlgMismatch},
		{"alg of another key", header("ES384", k.Kid(), "at+jwt"), k, "at+jwt", AlgMismatch},
		{"another typ", header("ES256", k.Kid(), "JWT"), k, "at+jwt", TypMismatch},
		{"typ in capitals", header("ES256", k.Kid(), "AT+JWT"), k, "at+jwt", TypMismatch},
		{"typ of another tree", header("ES256", k.Kid(), "text/at+jwt"), k, "at+jwt", TypMismatch},
		{"typ prefixed twice", header("ES256", k.Kid(), "application/application/at+jwt"), k, "at+jwt", TypMismatch},
		{"typ with a parameter", header("ES256", k.Kid(), "at+jwt;a=b"), k, "at+jwt", TypMismatch},
		{"no typ asked for", header("ES256", k.Kid(), "at+jwt"), k, "", TypMismatch},
		{"no typ asked for, none given", header("ES256", k.Kid(), "application/"), k, "", TypMismatch},
		{"another kid", header("ES256", "another", "at+jwt"), k, "at+jwt", KidMismatch},
		{"kid cut", header("ES256", k.Kid()[:42], "at+jwt"), k, "at+jwt", KidMismatch},
		{"another key", header("ES256", k.Kid(), "at+jwt"), publicKey(t, ES384), "at+jwt", AlgMismatch},
		{"no key", header("ES256", k.Kid(), "at+jwt"), nil, "at+jwt", KidMismatch},
		{"the zero key", header("ES256", k.Kid(), "at+jwt"), new(PublicKey), "at+jwt", AlgMismatch},
	} {
		payload, err := signed(c.header).Verify(c.key, c.typ)
		if codeOf(t, err) != c.want || (payload != nil) != (c.want == "") {
			t.Errorf("%s: %q %v, want %q", c.name, payload, err, c.want)
		}
	}
	// One bit anywhere in what is signed, or in the signature, and it is over.
	good := token(t, ES256, "at+jwt", goodPayload)
	other := strings.Replace(good, ".", "."+b64.EncodeToString([]byte(`{"iss":"evil"}`))+".", 1)
	h, _, _ := strings.Cut(good, ".")
	swapped := h + "." + b64.EncodeToString([]byte(`{"iss":"evil"}`)) + good[strings.LastIndex(good, "."):]
	if _, err := parse(swapped).Verify(k, "at+jwt"); codeOf(t, err) != BadSignature || err.(*Error).Part != "token" {
		t.Errorf("another payload: %v", err)
	}
	if _, err := Parse(other, 0); codeOf(t, err) != NotThree {
		t.Errorf("a payload slipped in: %v", err)
	}
	for _, typ := range []string{"", "at+jwt", "application/"} {
		if _, err := new(Unverified).Verify(new(PublicKey), typ); err == nil {
			t.Errorf("zero values verify with typ %q", typ)
		}
	}
}

// TestPayloadIsTheCallers: what Verify gave out cannot change what it gives out next.
func TestPayloadIsTheCallers(t *testing.T) {
	u, err := Parse(token(t, ES256, "at+jwt", goodPayload), 0)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		payload, err := u.Verify(publicKey(t, ES256), "at+jwt")
		if err != nil || string(payload) != goodPayload {
			t.Fatalf("%q %v", payload, err)
		}
		clear(payload)
	}
}
