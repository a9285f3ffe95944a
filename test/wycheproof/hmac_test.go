package wycheproof

import (
	"crypto"
	"crypto/hmac"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"intaglio.example/internal/jws"
)

// The product has no HMAC, and its readers refuse symmetric keys. Many vectors of form (base64url, missing parts) come with
// HMAC tokens only; refused for their algorithm they would prove nothing. checkHMAC stands in for the key, below
// the product's parser and nowhere else.

var errHMAC = errors.New("wrong HMAC")

type octKey struct {
	Kty string `json:"kty"`
	Alg string `json:"alg"`
	Use string `json:"use"`
	Kid string `json:"kid"`
	K   string `json:"k"`
}

// checkHMAC verifies an HS256, HS384 or HS512 token with the key of that kid in a JWK or a set of them.
func checkHMAC(keys []byte, token string) error {
	c, err := jws.ParseCompact(token, 0)
	if err != nil {
		return err
	}
	alg, err := headerText(c, "alg")
	if err != nil {
		return err
	}
	kid, err := headerText(c, "kid")
	if err != nil {
		return err
	}
	key, err := findOct(keys, kid)
	if err != nil {
		return err
	}
	hash, ok := map[string]crypto.Hash{"HS256": crypto.SHA256, "HS384": crypto.SHA384, "HS512": crypto.SHA512}[key.Alg]
	if !ok || key.Alg != alg || key.Kty != "oct" || key.Use != "sig" {
		return fmt.Errorf("key of kty %q, alg %q, use %q for a token of alg %q", key.Kty, key.Alg, key.Use, alg)
	}
	k, err := base64.RawURLEncoding.Strict().DecodeString(key.K)
	if err != nil {
		return err
	}
	if len(k) < hash.Size() { // RFC 7518 section 3.2
		return fmt.Errorf("a key of %d bytes for %s", len(k), alg)
	}
	mac := hmac.New(hash.New, k)
	mac.Write(c.SigningInput)
	if !hmac.Equal(mac.Sum(nil), c.Signature) {
		return errHMAC
	}
	return nil
}

// findOct returns the one key named kid; in a JWK that is not a set, its key.
func findOct(data []byte, kid string) (octKey, error) {
	if !isSet(data) {
		var key octKey
		return key, json.Unmarshal(data, &key)
	}
	var set struct {
		Keys []octKey `json:"keys"`
	}
	if err := json.Unmarshal(data, &set); err != nil {
		return octKey{}, err
	}
	var found []octKey
	for _, k := range set.Keys {
		if k.Kid == kid {
			found = append(found, k)
		}
	}
	if len(found) != 1 {
		return octKey{}, fmt.Errorf("%d keys with kid %q", len(found), kid)
	}
	return found[0], nil
}
