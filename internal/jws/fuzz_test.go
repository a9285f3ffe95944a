package jws

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
)

// FuzzParseObject holds ParseObject against encoding/json. What we accept it accepts, with the same names and values; what
// it accepts and we refuse has one of the faults it does not look for; and no accepted text has a name twice.
func FuzzParseObject(f *testing.F) {
	for _, s := range []string{
		`{}`, ` { "a" : [ 1 , -2.5e3 , true , false , null , "x" , {} ] } `, `{"iss":"good","ISS":"evil"}`, `{"iss":"good","iss":"evil"}`,
		`{"a":{"b":1,"\u0062":2}}`, `{"a":"\ud83d\ude00"}`, `{"a":"\ud83d"}`, "{\"a\":\"\xff\"}", `{"` + "\u212a" + `":1,"k":2}`, `{"a":1}{}`, `[1]`,
		strings.Repeat(`{"a":`, 20) + "1" + strings.Repeat("}", 20), `{"a":01}`, `{"a":1e5,"b":1E+5,"c":-0}`, `{"exp":1700000000.5,"aud":["a","b"]}`,
		`{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1,"j":1,"k":1,"l":1,"m":1,"n":1,"o":1,"p":1,"q":1,"P":1}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		members, err := ParseObject(data, 0, 0)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("%T", err)
			}
			if e.Offset < 0 || e.Offset > len(data) {
				t.Errorf("%v: offset outside %d bytes", err, len(data))
			}
			if json.Valid(data) && (e.Code == Malformed || e.Code == Trailing) {
				t.Errorf("%q is JSON, and refused: %v", data, err)
			}
			return
		}
		if !json.Valid(data) {
			t.Fatalf("%q is accepted, and is no JSON", data)
		}
		if duplicated(t, data) {
			t.Fatalf("%q is accepted with a name twice", data)
		}
		var theirs map[string]json.RawMessage
		if err := json.Unmarshal(data, &theirs); err != nil || len(theirs) != len(members) {
			t.Fatalf("%q: %d members, encoding/json has %d: %v", data, len(members), len(theirs), err)
		}
		for _, m := range members {
			if raw, ok := theirs[m.Name]; !ok || !bytes.Equal(raw, m.Raw) {
				t.Errorf("%q: member %q is %s, encoding/json has %s", data, m.Name, m.Raw, raw)
			}
			compareMember(t, m)
		}
	})
}

// compareMember holds what a member's accessors read against encoding/json.
func compareMember(t *testing.T, m Member) {
	var value any
	if err := json.Unmarshal(m.Raw, &value); err != nil && m.Kind != Number { // a number may be beyond float64
		t.Fatalf("%s: %v", m.Raw, err)
	}
	text, err := m.Text()
	if want, ok := value.(string); ok != (err == nil) || text != want {
		t.Errorf("%s: text %q, %v, want %q", m.Raw, text, err, want)
	}
	texts, err := m.Strings()
	var want []string
	if m.Kind == String {
		want = []string{text}
	} else if m.Kind == Array {
		for _, v := range value.([]any) {
			s, ok := v.(string)
			if !ok {
				want = nil
				break
			}
			want = append(want, s)
		}
	}
	if err == nil && strings.Join(texts, "\x00") != strings.Join(want, "\x00") || err != nil && want != nil {
		t.Errorf("%s: strings %q, %v, want %q", m.Raw, texts, err, want)
	}
	if _, err := m.NumericDate(); err == nil && m.Kind != Number {
		t.Errorf("%s is a date", m.Raw)
	}
}

// duplicated reports whether any object in data, which is JSON, has a name twice, by the tokens of encoding/json.
func duplicated(t *testing.T, data []byte) bool {
	type frame struct {
		names map[string]bool // nil in an array
		value bool            // a value comes next
	}
	var open []frame
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	for {
		token, err := d.Token()
		if err == io.EOF {
			return false
		}
		if err != nil {
			t.Fatalf("%q: %v", data, err)
		}
		if name, ok := token.(string); ok && len(open) > 0 && open[len(open)-1].names != nil && !open[len(open)-1].value {
			top := &open[len(open)-1]
			if top.names[name] {
				return true
			}
			top.names[name], top.value = true, true
			continue
		}
		switch token {
		case json.Delim('{'):
			open = append(open, frame{names: map[string]bool{}})
			continue
		case json.Delim('['):
			open = append(open, frame{})
			continue
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
		}
		if len(open) > 0 {
			open[len(open)-1].value = false
		}
	}
}

// FuzzAppendString: whatever goes in, one JSON string comes out that reads back as the same, less what was not UTF-8.
func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "a\"b\\c", "\x00\x1f\x7f", "é😀\u2028", "\xff\xed\xa0\x80", `","alg":"none`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		members, err := ParseObject(append(AppendString([]byte(`{"m":`), s), '}'), 1<<30, 0)
		if err != nil || len(members) != 1 {
			t.Fatalf("%q: %v", s, err)
		}
		if got, err := members[0].Text(); err != nil || got != string([]rune(s)) {
			t.Errorf("%q comes back as %q, %v", s, got, err)
		}
	})
}

// FuzzParse: what is accepted has only one spelling. Put together again from its parts it is the same token, and no
// forged one verifies.
func FuzzParse(f *testing.F) {
	key := publicKey(f, ES256)
	genuine := token(f, ES256, "at+jwt", goodPayload)
	h, rest, _ := strings.Cut(genuine, ".")
	p, s, _ := strings.Cut(rest, ".")
	for _, seed := range []string{genuine, h + "." + p + ".", h + ".." + s, h + "." + p + "." + s[:len(s)-1] + "_", h + "." + p + "=." + s, "e30.e30.AA", "e31.e30.AA", "....",
		compact(`{"alg":"none","kid":"a","typ":"at+jwt"}`, goodPayload), compact(`{"alg":"ES256","kid":"a","typ":"at+jwt","crit":["b64"],"b64":false}`, goodPayload), token(f, EdDSA, "JWT", `{}`)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		c, err := ParseCompact(token, 0)
		u, err2 := Parse(token, 0)
		if err != nil {
			if err2 == nil {
				t.Errorf("%q: Parse accepts what ParseCompact refuses", token)
			}
			return
		}
		head, _, _ := strings.Cut(token, ".")
		again := head + "." + b64.EncodeToString(c.Payload)
		if again != string(c.SigningInput) || string(AppendSignature(c.SigningInput[:len(again):len(again)], c.Signature)) != token {
			t.Errorf("%q is also written %q", token, again)
		}
		if header, err := b64.DecodeString(head); err != nil || b64.EncodeToString(header) != head {
			t.Errorf("%q: the header has two spellings", token)
		}
		if err2 != nil {
			return
		}
		if u.Kid() == "" || u.Alg() == "" || u.Typ() == "" || !json.Valid(c.Payload) {
			t.Errorf("%q is accepted half empty", token)
		}
		if payload, err := u.Verify(key, "at+jwt"); err == nil && string(payload) != goodPayload {
			t.Errorf("%q is forged: %s", token, payload)
		}
	})
}

// FuzzParseJWK: an accepted key is the key its JWK says, under every way of writing it.
func FuzzParseJWK(f *testing.F) {
	for _, a := range Algs() {
		f.Add(publicKey(f, a).JWK())
	}
	for _, s := range []string{`{}`, `{"kty":"oct","k":"AA","alg":"HS256"}`, `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","alg":"EdDSA","key_ops":["verify"],"kid":"x","ext":[{}]}`,
		`{"kty":"EC","crv":"P-256","x":"AA","y":"AA","alg":"ES256","d":"AA"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		k, err := ParseJWK(data)
		if err != nil {
			return
		}
		var theirs map[string]any
		if err := json.Unmarshal(data, &theirs); err != nil || theirs["alg"] != string(k.Alg()) || theirs["d"] != nil {
			t.Errorf("%q becomes a key of %s: %v", data, k.Alg(), err)
		}
		var ours map[string]any
		if err := json.Unmarshal(k.JWK(), &ours); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"kty", "crv", "x", "y", "n", "e"} {
			if ours[name] != theirs[name] && ours[name] != nil {
				t.Errorf("%q: %s becomes %v", data, name, ours[name])
			}
		}
		for _, read := range []func() (*PublicKey, error){
			func() (*PublicKey, error) { return ParseJWK(k.JWK()) },
			func() (*PublicKey, error) { return ParsePKIX(k.Alg(), k.PKIX()) },
			func() (*PublicKey, error) { return NewPublicKey(k.Alg(), k.Crypto()) },
		} {
			if back, err := read(); err != nil || !back.Equal(k) || back.Kid() != k.Kid() || !bytes.Equal(back.JWK(), k.JWK()) {
				t.Errorf("%q does not come back: %v", data, err)
			}
		}
	})
}

// FuzzSignatureFromDER: there is one DER for every signature. Parsed and printed, it is the same bytes.
func FuzzSignatureFromDER(f *testing.F) {
	algs := []Alg{ES256, ES384, ES512}
	for i, a := range algs {
		der := rawSign(f, a, []byte("seed"), a.Hash())
		f.Add(uint8(i), der)
		f.Add(uint8(i), append(bytes.Clone(der), 0))
		f.Add(uint8(i), append([]byte{0x30, 0x81}, der[1:]...))
		f.Add(uint8(i), []byte{0x30, 6, 2, 1, 1, 2, 1, 1})
		f.Add(uint8(i), []byte{0x30, 8, 2, 2, 0, 0x80, 2, 2, 0, 1})
	}
	f.Fuzz(func(t *testing.T, which uint8, der []byte) {
		a := algs[int(which)%len(algs)]
		sig, err := SignatureFromDER(a, der)
		if err != nil {
			if sig != nil {
				t.Errorf("%x: a signature and an error", der)
			}
			return
		}
		if len(sig) != 2*a.width() {
			t.Errorf("%x gives %d bytes", der, len(sig))
		}
		if again := appendDER(nil, sig); !bytes.Equal(again, der) {
			t.Errorf("%x is printed as %x", der, again)
		}
	})
}

// FuzzParseJWKSet: keys come only from elements that parse alone, and nothing is counted twice.
func FuzzParseJWKSet(f *testing.F) {
	f.Add([]byte(`{"keys":[` + string(publicKey(f, ES256).JWK()) + `,{"kty":"AKP"},{"a":1,"a":2}]}`))
	f.Add([]byte(`{"keys":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, skipped, err := ParseJWKSet(data)
		if (err == nil) != (len(keys) > 0) {
			t.Errorf("%q: %d keys and %v", data, len(keys), err)
		}
		if err != nil {
			return
		}
		var theirs struct{ Keys []json.RawMessage }
		if err := json.Unmarshal(data, &theirs); err != nil || len(theirs.Keys) != len(keys)+skipped {
			t.Errorf("%q: %d keys and %d skipped of %d: %v", data, len(keys), skipped, len(theirs.Keys), err)
		}
	})
}
