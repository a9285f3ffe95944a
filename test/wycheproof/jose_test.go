package wycheproof

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"intaglio.example/internal/jws"
)

// A joseGroup is a key, or a set of them, and tokens for it. A group without a public half is of HMAC keys, but for
// sets that mix both kinds.
type joseGroup struct {
	Comment string          `json:"comment"`
	Public  json.RawMessage `json:"public"`
	Private json.RawMessage `json:"private"`
	Tests   []vector        `json:"tests"`
}

func joseTests(g joseGroup) []vector { return g.Tests }

// token returns the vector's token: the string, or the JSON that stands in its place.
func (v vector) token(t *testing.T) string {
	t.Helper()
	raw := v.JWS
	if raw == nil {
		raw = v.JWE
	}
	if len(raw) == 0 {
		t.Fatalf("#%d has no token", v.ID)
	}
	var text string
	if json.Unmarshal(raw, &text) != nil {
		return string(raw)
	}
	return text
}

// isHMAC reports whether the product has no key for this group, and the HMAC stand-in must check its tokens. A set
// that mixes both kinds comes to the product's reader like any other: it knows of no symmetric keys.
func (g joseGroup) isHMAC() bool {
	if g.Public != nil {
		return false
	}
	_, err := publicKey(g.Private)
	return err != nil
}

// check verifies the token as our own verifier does, less what is ours alone (typ, thumbprints as kid, claims): strict
// form, a key that may verify, its alg byte for byte, the signature.
func (g joseGroup) check(token string) error {
	if g.isHMAC() {
		return checkHMAC(g.Private, token)
	}
	data := g.Public
	if data == nil {
		data = g.Private
	}
	key, err := publicKey(data)
	if err != nil {
		return err
	}
	return verify(key, token)
}

// publicKey reads a JWK, or a JWK Set with one usable key. Keys are not looked up by the kid the vectors give
// them: it would refuse tokens that the signature has to refuse.
func publicKey(data []byte) (*jws.PublicKey, error) {
	if !isSet(data) {
		return jws.ParseJWK(data)
	}
	keys, _, err := jws.ParseJWKSet(data)
	if err != nil {
		return nil, err
	}
	if len(keys) != 1 {
		return nil, fmt.Errorf("%d usable keys in the set", len(keys))
	}
	return keys[0], nil
}

func isSet(data []byte) bool {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	return json.Unmarshal(data, &set) == nil && set.Keys != nil
}

func verify(key *jws.PublicKey, token string) error {
	c, err := jws.ParseCompact(token, 0)
	if err != nil {
		return err
	}
	alg, err := headerText(c, "alg")
	if err != nil {
		return err
	}
	if alg != string(key.Alg()) {
		return &jws.Error{Code: jws.AlgMismatch, Offset: -1}
	}
	return key.Verify(c.SigningInput, c.Signature)
}

func headerText(c *jws.Compact, name string) (string, error) {
	for _, m := range c.Header {
		if m.Name == name {
			return m.Text()
		}
	}
	return "", &jws.Error{Code: jws.Missing, Name: name, Offset: -1}
}

// reasons are the codes that certain vectors must be refused with: refused for another reason, they would prove nothing.
var reasons = map[string]map[int]jws.Code{
	"json_web_signature_test.json": {
		3: jws.EmptyPart, 4: jws.NotThree, 9: jws.EmptyPart, 14: jws.NotThree, 16: jws.EmptyPart, 17: jws.BadCharacter,
		31: jws.AlgMismatch, 32: jws.Forbidden, 276: jws.BadSignature,
		281: jws.BadSignature, 282: jws.BadSignature, 283: jws.BadSignature, 284: jws.BadSignature, 285: jws.BadSignature, 286: jws.BadSignature,
		332: jws.AlgMismatch, 334: jws.AlgMismatch, 340: jws.AlgMismatch, 346: jws.AlgMismatch, 347: jws.UnknownAlg, 350: jws.AlgMismatch, 351: jws.UnknownAlg,
		353: jws.NotForUse, 354: jws.NotForUse, 355: jws.NotForUse, 356: jws.NotForUse,
		360: jws.BadCharacter, 365: jws.BadCharacter, 369: jws.BadCharacter, 371: jws.BadCharacter, 372: jws.BadCharacter, 373: jws.BadCharacter,
		374: jws.NonCanonical, 375: jws.NonCanonical, 379: jws.BadSignature, 385: jws.BadSignature, 386: jws.BadSignature, 401: jws.BadSignature,
	},
	"json_web_key_test.json": {
		1: jws.AlgMismatch, 6: jws.NoUsableKey, 7: jws.NoUsableKey, 8: jws.NoUsableKey, 9: jws.NoUsableKey, 19: jws.NoUsableKey, 24: jws.NoUsableKey,
	},
	"json_web_crypto_test.json": {
		46: jws.BadKey, 47: jws.AlgMismatch, 50: jws.Encrypted, 51: jws.Encrypted, 55: jws.Encrypted, 67: jws.Encrypted, 66: jws.BadCharacter,
	},
}

func TestJOSE(t *testing.T) {
	for _, file := range []string{"json_web_signature_test.json", "json_web_key_test.json", "json_web_crypto_test.json"} {
		t.Run(file, func(t *testing.T) {
			y, asked := newTally(file), 0
			for _, g := range load(t, file, joseTests) {
				for _, v := range g.Tests {
					err := g.check(v.token(t))
					if y.add(v, err); v.JWS != nil && g.isHMAC() {
						y.HMAC++
					}
					if want, ok := reasons[file][v.ID]; ok {
						asked++
						if code(t, err) != want {
							t.Errorf("%s #%d %s: %v, want %s", g.Comment, v.ID, v.Comment, err, want)
						}
					}
				}
			}
			if asked != len(reasons[file]) {
				t.Errorf("%d reasons are listed, %d vectors had one", len(reasons[file]), asked)
			}
			y.finish(t)
		})
	}
}

// TestIdenticalTokens is why #367 and #370 are accepted: no reader can tell them from #357.
func TestIdenticalTokens(t *testing.T) {
	tokens := map[int]string{}
	for _, g := range load(t, "json_web_signature_test.json", joseTests) {
		for _, v := range g.Tests {
			tokens[v.ID] = v.token(t)
		}
	}
	if tokens[357] == "" || tokens[357] != tokens[367] || tokens[357] != tokens[370] {
		t.Errorf("no longer identical:\n%s", strings.Join([]string{tokens[357], tokens[367], tokens[370]}, "\n"))
	}
}

// TestSymmetricKeysAreNoKeys: what the HMAC stand-in is for, the product refuses.
func TestSymmetricKeysAreNoKeys(t *testing.T) {
	refused := 0
	for _, g := range load(t, "json_web_signature_test.json", joseTests) {
		if g.Public != nil {
			continue
		}
		if _, err := jws.ParseJWK(g.Private); code(t, err) != jws.Forbidden {
			t.Errorf("%s: a secret is read as a public key: %v", g.Comment, err)
		}
		refused++
	}
	if refused == 0 {
		t.Error("the file has no symmetric keys")
	}
}
