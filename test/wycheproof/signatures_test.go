package wycheproof

import (
	"crypto/rsa"
	"encoding/json"
	"io/fs"
	"math/big"
	"strings"
	"testing"

	"github.com/c2sp/wycheproof"

	"intaglio.example/internal/jws"
)

// A keyGroup is one public key and signatures by it, in the files of the primitives.
type keyGroup struct {
	KeyDER    string          `json:"publicKeyDer"` // SubjectPublicKeyInfo
	KeyJWK    json.RawMessage `json:"publicKeyJwk"`
	RSAJWK    json.RawMessage `json:"keyJwk"`
	PublicKey json.RawMessage `json:"publicKey"`
	Sha       string          `json:"sha"`
	MGF       string          `json:"mgf"`
	MGFSha    string          `json:"mgfSha"`
	SaltLen   int             `json:"sLen"`
	Tests     []vector        `json:"tests"`
}

func keyTests(g keyGroup) []vector { return g.Tests }

// key returns the group's key from its DER, and holds it against the JWK where there is one.
func (g keyGroup) key(t *testing.T, alg jws.Alg) *jws.PublicKey {
	t.Helper()
	key, err := jws.ParsePKIX(alg, unhex(t, g.KeyDER))
	if err != nil {
		t.Fatalf("%s: %v", alg, err)
	}
	for _, raw := range []json.RawMessage{g.KeyJWK, g.RSAJWK} {
		if raw == nil {
			continue
		}
		var members map[string]any
		if err := json.Unmarshal(raw, &members); err != nil {
			t.Fatal(err)
		}
		members["alg"] = string(alg) // the files leave it out for some
		withAlg, err := json.Marshal(members)
		if err != nil {
			t.Fatal(err)
		}
		if fromJWK, err := jws.ParseJWK(withAlg); err != nil || !fromJWK.Equal(key) {
			t.Errorf("%s is not the key of the DER: %v", withAlg, err)
		}
	}
	return key
}

// ecdsaFiles are the files of the pairs of curve and hash that JOSE has, less the ending.
var ecdsaFiles = []struct {
	name string
	alg  jws.Alg
}{{"ecdsa_secp256r1_sha256", jws.ES256}, {"ecdsa_secp384r1_sha384", jws.ES384}, {"ecdsa_secp521r1_sha512", jws.ES512}}

func TestECDSA(t *testing.T) {
	for _, f := range ecdsaFiles {
		runKeyFile(t, f.name+"_p1363_test.json", f.alg)
	}
}

func TestEd25519(t *testing.T) { runKeyFile(t, "ed25519_test.json", jws.EdDSA) }

// runKeyFile runs signatures in the form JOSE gives them.
func runKeyFile(t *testing.T, file string, alg jws.Alg) {
	t.Run(file, func(t *testing.T) {
		y := newTally(file)
		for _, g := range load(t, file, keyTests) {
			key := g.key(t, alg)
			for _, v := range g.Tests {
				msg, sig := v.bytes(t)
				y.add(v, key.Verify(msg, sig))
			}
		}
		y.finish(t)
	})
}

// TestECDSAInDER runs the signatures as crypto libraries and key services write them, through SignatureFromDER.
func TestECDSAInDER(t *testing.T) {
	for _, f := range ecdsaFiles {
		file := f.name + "_test.json"
		t.Run(file, func(t *testing.T) {
			y := newTally(file)
			for _, g := range load(t, file, keyTests) {
				key := g.key(t, f.alg)
				for _, v := range g.Tests {
					msg, der := v.bytes(t)
					sig, err := jws.SignatureFromDER(f.alg, der)
					if err == nil {
						err = key.Verify(msg, sig)
					}
					y.add(v, err)
				}
			}
			y.finish(t)
		})
	}
}

var (
	pkcs1 = map[string]jws.Alg{"SHA-256": jws.RS256, "SHA-384": jws.RS384, "SHA-512": jws.RS512}
	pss   = map[string]jws.Alg{"SHA-256": jws.PS256, "SHA-384": jws.PS384, "SHA-512": jws.PS512}
)

// TestRSA runs every RSA signature file. A group whose hash, mask or salt JOSE does not allow is foreign:
// its valid signatures are good elsewhere, and none of our algorithms may take them.
func TestRSA(t *testing.T) {
	for _, c := range []struct {
		pattern string
		algs    map[string]jws.Alg
	}{{"rsa_signature_*_test.json", pkcs1}, {"rsa_pss_*_test.json", pss}} {
		files, err := fs.Glob(wycheproof.TestVectors, c.pattern)
		if err != nil || len(files) < 20 {
			t.Fatalf("%s: %d files, %v", c.pattern, len(files), err)
		}
		for _, file := range files {
			t.Run(file, func(t *testing.T) {
				y := newTally(file)
				for _, g := range load(t, file, keyTests) {
					if alg := g.alg(c.algs); alg != "" {
						g.runRSA(t, alg, y)
					} else {
						g.runForeign(t, c.algs, y)
					}
				}
				y.finish(t)
			})
		}
	}
}

// alg returns the JOSE algorithm of the group's parameters, "" if there is none.
func (g keyGroup) alg(algs map[string]jws.Alg) jws.Alg {
	alg := algs[g.Sha]
	if g.MGF != "" && alg != "" && (g.MGF != "MGF1" || g.MGFSha != g.Sha || g.SaltLen != alg.Hash().Size()) {
		return ""
	}
	return alg
}

// rsaKey returns the key from its numbers. The DER of some groups says RSASSA-PSS, which is not how JOSE
// publishes keys; ParsePKIX must refuse that, and agree where it says RSA.
func (g keyGroup) rsaKey(t *testing.T, alg jws.Alg) *jws.PublicKey {
	t.Helper()
	var numbers struct {
		Modulus        string `json:"modulus"`
		PublicExponent string `json:"publicExponent"`
	}
	if err := json.Unmarshal(g.PublicKey, &numbers); err != nil {
		t.Fatal(err)
	}
	n := new(big.Int).SetBytes(unhex(t, numbers.Modulus))
	e := new(big.Int).SetBytes(unhex(t, numbers.PublicExponent))
	key, err := jws.NewPublicKey(alg, &rsa.PublicKey{N: n, E: int(e.Int64())})
	if err != nil {
		t.Fatal(err)
	}
	const oidPSS = "06092a864886f70d01010a"
	if strings.Contains(g.KeyDER, oidPSS) {
		if _, err := jws.ParsePKIX(alg, unhex(t, g.KeyDER)); code(t, err) != jws.BadKey {
			t.Errorf("a key restricted to other parameters is read: %v", err)
		}
	} else if !g.key(t, alg).Equal(key) {
		t.Error("the DER and the numbers are two keys")
	}
	return key
}

func (g keyGroup) runRSA(t *testing.T, alg jws.Alg, y *tally) {
	key := g.rsaKey(t, alg)
	for _, v := range g.Tests {
		msg, sig := v.bytes(t)
		y.add(v, key.Verify(msg, sig))
	}
}

func (g keyGroup) runForeign(t *testing.T, algs map[string]jws.Alg, y *tally) {
	for _, alg := range algs {
		key := g.rsaKey(t, alg)
		for _, v := range g.Tests {
			if v.Result != "valid" {
				continue
			}
			msg, sig := v.bytes(t)
			if err := key.Verify(msg, sig); err == nil {
				y.FalseAccepts = append(y.FalseAccepts, v.ID)
				t.Errorf("#%d with %s, %s/%s and a salt of %d passes as %s", v.ID, g.Sha, g.MGF, g.MGFSha, g.SaltLen, alg)
			}
		}
	}
	for _, v := range g.Tests {
		if v.Result == "valid" {
			y.Foreign++
		}
	}
}
