package jws

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// edit returns the JWK with members set (to the JSON given) or, where the JSON is empty, removed.
func edit(t testing.TB, jwk []byte, changes map[string]string) []byte {
	t.Helper()
	members := map[string]json.RawMessage{}
	if err := json.Unmarshal(jwk, &members); err != nil {
		t.Fatal(err)
	}
	for name, value := range changes {
		if members[name] = json.RawMessage(value); value == "" {
			delete(members, name)
		}
	}
	out, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestJWK(t *testing.T) {
	for _, a := range Algs() {
		k := publicKey(t, a)
		var names []string
		members, err := ParseObject(k.JWK(), 0, 1)
		if err != nil {
			t.Fatalf("%s: %v", k.JWK(), err)
		}
		for _, m := range members {
			names = append(names, m.Name)
		}
		want := map[string]string{"EC": "kty kid alg use crv x y", "RSA": "kty kid alg use e n", "OKP": "kty kid alg use crv x"}[a.kty()]
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s has members %s, want %s", a, got, want)
		}
		back, err := ParseJWK(k.JWK())
		if err != nil || !back.Equal(k) || string(back.JWK()) != string(k.JWK()) {
			t.Errorf("%s does not come back: %v", k.JWK(), err)
		}
	}
}

func TestParseJWKAccepts(t *testing.T) {
	k := publicKey(t, ES256)
	for _, changes := range []map[string]string{
		{"kid": ""}, {"kid": `"bilbo.baggins@hobbiton.example"`}, {"use": ""}, {"use": "", "key_ops": `["verify"]`},
		{"key_ops": `["sign","verify"]`}, {"x5c": `["MII"]`}, {"ext": `true`}, {"valid_from": `{"a":[1]}`},
	} {
		got, err := ParseJWK(edit(t, k.JWK(), changes))
		if err != nil || !got.Equal(k) || got.Kid() != k.Kid() {
			t.Errorf("%v: %v", changes, err)
		}
	}
}

func TestParseJWKRefuses(t *testing.T) {
	ec, rs, ed := publicKey(t, ES256), publicKey(t, RS256), publicKey(t, EdDSA)
	member := func(k *PublicKey, name string) string {
		var m map[string]string
		if err := json.Unmarshal(k.JWK(), &m); err != nil {
			t.Fatal(err)
		}
		return m[name]
	}
	q := func(s string) string { return `"` + s + `"` }
	x, n := member(ec, "x"), member(rs, "n")
	padded := b64.EncodeToString(append([]byte{0}, mustDecode(t, x)...))
	cases := []struct {
		key     *PublicKey
		changes map[string]string
		want    Code
	}{
		{ec, map[string]string{"alg": ""}, Missing}, {ec, map[string]string{"alg": `""`}, Missing}, {ec, map[string]string{"alg": `null`}, WrongType},
		{ec, map[string]string{"alg": `"es256"`}, UnknownAlg}, {ec, map[string]string{"alg": `"ES521"`}, UnknownAlg}, {ec, map[string]string{"alg": `"none"`}, UnknownAlg},
		{ec, map[string]string{"alg": `"HS256"`}, UnknownAlg}, {ec, map[string]string{"alg": `"ECDH-ES"`}, UnknownAlg}, {ed, map[string]string{"alg": `"Ed25519"`}, UnknownAlg},
		{ec, map[string]string{"alg": `"ES384"`}, BadKey}, {ec, map[string]string{"alg": `"RS256"`}, BadKey}, {ec, map[string]string{"alg": `"EdDSA"`}, BadKey}, {rs, map[string]string{"alg": `"ES256"`}, BadKey},
		{ec, map[string]string{"kty": ""}, Missing}, {ec, map[string]string{"kty": `"oct"`}, UnknownKty}, {ec, map[string]string{"kty": `"AKP"`}, UnknownKty},
		{ec, map[string]string{"kty": `"ec"`}, UnknownKty}, {ec, map[string]string{"kty": `"RSA"`}, BadKey}, {ec, map[string]string{"kty": `["EC"]`}, WrongType},
		{ec, map[string]string{"use": `"enc"`}, NotForUse}, {ec, map[string]string{"use": `""`}, NotForUse}, {ec, map[string]string{"use": `"SIG"`}, NotForUse}, {ec, map[string]string{"use": `["sig"]`}, WrongType},
		{ec, map[string]string{"key_ops": `["encrypt"]`}, NotForUse}, {ec, map[string]string{"key_ops": `["sign"]`}, NotForUse}, {ec, map[string]string{"key_ops": `[]`}, NotForUse},
		{ec, map[string]string{"key_ops": `"verify"`}, WrongType}, {ec, map[string]string{"key_ops": `["verify","verify"]`}, Malformed}, {ec, map[string]string{"key_ops": `[1]`}, WrongType},
		{ec, map[string]string{"kid": `1`}, WrongType},
		{ec, map[string]string{"crv": ""}, Missing}, {ec, map[string]string{"crv": `"P-384"`}, BadKey}, {ec, map[string]string{"crv": `"p-256"`}, BadKey}, {ec, map[string]string{"crv": `"secp256k1"`}, BadKey},
		{ed, map[string]string{"crv": `"X25519"`}, BadKey}, {ed, map[string]string{"crv": `"Ed448"`}, BadKey},
		{ec, map[string]string{"d": `"AQ"`}, Forbidden}, {rs, map[string]string{"p": `"AQ"`}, Forbidden}, {rs, map[string]string{"q": `"AQ"`}, Forbidden}, {rs, map[string]string{"dp": `"AQ"`}, Forbidden},
		{rs, map[string]string{"dq": `"AQ"`}, Forbidden}, {rs, map[string]string{"qi": `"AQ"`}, Forbidden}, {rs, map[string]string{"oth": `[]`}, Forbidden}, {ed, map[string]string{"d": `null`}, Forbidden},
		{ec, map[string]string{"k": `"AQ"`}, Forbidden}, {ec, map[string]string{"priv": `"AQ"`}, Forbidden},
		{ec, map[string]string{"x": ""}, Missing}, {ec, map[string]string{"y": ""}, Missing}, {ed, map[string]string{"x": ""}, Missing}, {rs, map[string]string{"n": ""}, Missing}, {rs, map[string]string{"e": ""}, Missing},
		{ec, map[string]string{"x": `""`}, BadKey}, {ec, map[string]string{"x": q(padded)}, BadKey}, {ec, map[string]string{"x": q(x[:40])}, BadKey}, {ec, map[string]string{"x": `7`}, WrongType},
		{ec, map[string]string{"x": q(member(ec, "y"))}, BadKey}, // not a point
		{ec, map[string]string{"x": q(x + "=")}, NonCanonical}, {ec, map[string]string{"x": q(x[:20] + `\n` + x[20:])}, NonCanonical}, {ec, map[string]string{"x": q(x[:20] + `+` + x[21:])}, NonCanonical},
		{ec, map[string]string{"x": q(unusedBits(x))}, NonCanonical}, {ed, map[string]string{"x": q(unusedBits(member(ed, "x")))}, NonCanonical},
		{rs, map[string]string{"e": `"AAEAAQ"`}, NonCanonical}, {rs, map[string]string{"e": `""`}, NonCanonical}, {rs, map[string]string{"e": `"AQ"`}, BadKey}, {rs, map[string]string{"e": `"AQAAAAE"`}, BadKey},
		{rs, map[string]string{"e": `"gAAAAQ"`}, BadKey}, {rs, map[string]string{"e": `65537`}, WrongType}, {rs, map[string]string{"e": `"AQAC"`}, BadKey},
		{rs, map[string]string{"n": q(b64.EncodeToString(append([]byte{0}, mustDecode(t, n)...)))}, NonCanonical}, {rs, map[string]string{"n": q(n[:200])}, BadKey},
	}
	for _, c := range cases {
		if k, err := ParseJWK(edit(t, c.key.JWK(), c.changes)); codeOf(t, err) != c.want || k != nil {
			t.Errorf("%s with %v: %v, want %s", c.key.Alg(), c.changes, err, c.want)
		}
	}
	jwk := string(ec.JWK())
	for in, want := range map[string]Code{
		"": NotObject, "[" + jwk + "]": NotObject, jwk + "{}": Trailing, jwk[:len(jwk)-1]: Malformed,
		strings.Replace(jwk, "{", `{"kty":"EC",`, 1):                  Duplicate,
		strings.Replace(jwk, "{", `{"KTY":"EC",`, 1):                  CaseVariant,
		strings.Replace(jwk, "{", `{"x5c":{"a":1,"a":2},`, 1):         Duplicate,
		strings.Replace(jwk, "{", `{"v":"`+"\xff"+`",`, 1):            NotUTF8,
		strings.Replace(jwk, "{", strings.Repeat(" ", 20000)+"{", 1):  TooLarge,
		strings.Replace(jwk, "{", `{"v":`+strings.Repeat("[", 20), 1): TooDeep,
	} {
		_, err := ParseJWK([]byte(in))
		if codeOf(t, err) != want || err.(*Error).Part != "JWK" {
			t.Errorf("%.60s: %v, want %s", in, err, want)
		}
	}
}

func mustDecode(t testing.TB, text string) []byte {
	t.Helper()
	b, err := b64.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// unusedBits sets a bit of the last character that encodes nothing: 43 characters are 32 bytes and two bits more.
func unusedBits(text string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, text[len(text)-1])
	return text[:len(text)-1] + alphabet[last|1:last|1+1]
}

// TestPrivateMembersNeverAppear: whatever a key is made from, its JWK holds only members from the allow-list.
func TestPrivateMembersNeverAppear(t *testing.T) {
	_, err := ParseJWK(edit(t, publicKey(t, ES256).JWK(), map[string]string{"d": `"c2VjcmV0LXNjYWxhcg"`}))
	if err == nil || strings.Contains(err.Error(), "c2Vj") {
		t.Errorf("the refusal of a private key quotes it: %v", err)
	}
}

func TestParseJWKSet(t *testing.T) {
	ec, rs, ed := publicKey(t, ES256), publicKey(t, RS256), publicKey(t, EdDSA)
	good := []string{string(ec.JWK()), string(rs.JWK()), string(ed.JWK())}
	bad := []string{
		`{"kty":"AKP","alg":"ML-DSA-44","pub":"AAAA"}`, `{"kty":"oct","k":"AQ"}`, `{"kty":"OKP","crv":"Ed25519","x":"AA","alg":"Ed25519"}`,
		`{}`, `[]`, `null`, `7`, `"key"`, `{"kty":{"a":1,"a":2}}`, `{"kty":"EC","kty":"EC"}`, `{"kty":"EC","KTY":"EC"}`,
		string(edit(t, ec.JWK(), map[string]string{"alg": ""})), string(edit(t, ec.JWK(), map[string]string{"use": `"enc"`})),
		string(edit(t, ec.JWK(), map[string]string{"d": `"AQ"`})),
	}
	set := func(keys ...string) []byte {
		return []byte(`{ "keys" : [ ` + strings.Join(keys, " , ") + ` ] , "spiffe_sequence" : 7 }`)
	}
	keys, skipped, err := ParseJWKSet(set(good...))
	if err != nil || skipped != 0 || len(keys) != 3 || !keys[0].Equal(ec) || !keys[1].Equal(rs) || !keys[2].Equal(ed) {
		t.Errorf("a good set: %v, skipped %d, %v", keys, skipped, err)
	}
	for _, b := range bad {
		for at := range 4 {
			keys, skipped, err := ParseJWKSet(set(slices.Insert(slices.Clone(good), at, b)...))
			if err != nil || skipped != 1 || len(keys) != 3 {
				t.Errorf("a set with %s at %d: %v, skipped %d, %v", b, at, keys, skipped, err)
			}
		}
		if keys, skipped, err := ParseJWKSet(set(b)); codeOf(t, err) != NoUsableKey || skipped != 1 || keys != nil {
			t.Errorf("a set of only %s: %v, skipped %d, %v", b, keys, skipped, err)
		}
	}
	// One key under two algorithms has one kid: the kid means the first.
	ps := publicKey(t, PS256)
	if keys, skipped, err := ParseJWKSet(set(good[1], string(ps.JWK()), good[1])); err != nil || len(keys) != 1 || keys[0].Alg() != RS256 || skipped != 2 {
		t.Errorf("the same kid three times: %v, skipped %d, %v", keys, skipped, err)
	}
	for in, want := range map[string]Code{
		``: NotObject, `[` + good[0] + `]`: NotObject, good[0]: Missing, `{}`: Missing, `{"keys":null}`: WrongType, `{"keys":{}}`: WrongType, `{"keys":[]}`: NoUsableKey,
		`{"keys":[` + good[0] + `],"keys":[]}`: Duplicate, `{"keys":[` + good[0] + `],"KEYS":[]}`: CaseVariant, `{"keys":[` + good[0] + `,]}`: Malformed,
		`{"keys":[` + good[0] + `]}x`: Trailing, `{"keys":[` + good[0] + `],"x":"` + "\xff" + `"}`: NotUTF8,
		`{"keys":[` + strings.Repeat(" ", MaxJWKSetBytes) + `]}`: TooLarge,
	} {
		keys, _, err := ParseJWKSet([]byte(in))
		if codeOf(t, err) != want || keys != nil || err.(*Error).Part != "JWK Set" {
			t.Errorf("%.60s: %v, want %s", in, err, want)
		}
	}
}

func ExampleParseJWKSet() {
	keys, skipped, err := ParseJWKSet([]byte(`{"keys":[
		{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","alg":"EdDSA","use":"sig"},
		{"kty":"AKP","alg":"ML-DSA-44","pub":"..."}]}`))
	fmt.Println(keys, skipped, err)
	// Output: [EdDSA kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k] 1 <nil>
}
