package software

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"testing"

	"intaglio.example/backends"
	"intaglio.example/backends/backendtest"
	"intaglio.example/internal/jws"
)

// benchmarkInput is as long as the signing input of an ordinary access token.
var benchmarkInput = make([]byte, 600)

// rawSigner does what a program would that signs with crypto/* directly.
func rawSigner(b *testing.B, alg jws.Alg) func() error {
	key, err := generate(b.Context(), alg)
	if err != nil {
		b.Fatal(err)
	}
	switch key := key.(type) {
	case *ecdsa.PrivateKey:
		return func() error {
			digest := sha256.Sum256(benchmarkInput)
			_, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
			return err
		}
	case *rsa.PrivateKey:
		return func() error {
			digest := sha256.Sum256(benchmarkInput)
			_, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
			return err
		}
	case ed25519.PrivateKey:
		return func() error { ed25519.Sign(key, benchmarkInput); return nil }
	}
	b.Fatalf("a key of type %T", key)
	return nil
}

// BenchmarkSign compares a signature through the Set with crypto/*, one at a time and on all cores. ES256 has two
// yardsticks: "raw" draws its nonces at random, as most programs do; "rawRFC6979" derives them, as this package does.
func BenchmarkSign(b *testing.B) {
	s, err := New(b.Context(), "soft", &backendtest.Storage{}, NewKEK(noon))
	if err != nil {
		b.Fatal(err)
	}
	set, err := backends.NewSet(map[string]backends.Backend{"soft": s})
	if err != nil {
		b.Fatal(err)
	}
	for _, alg := range []jws.Alg{jws.ES256, jws.EdDSA, jws.RS256} {
		m, err := set.Mint(b.Context(), "soft", "bench."+string(alg), alg)
		if err != nil {
			b.Fatal(err)
		}
		type signer struct {
			name string
			sign func() error
		}
		signers := []signer{
			{"raw", rawSigner(b, alg)},
			{"set", func() error { _, err := set.Sign(b.Context(), "soft", m.Ref, m.Public, benchmarkInput); return err }},
		}
		if alg == jws.ES256 {
			key, err := generate(b.Context(), alg)
			if err != nil {
				b.Fatal(err)
			}
			signers = append(signers, signer{"rawRFC6979", func() error {
				digest := sha256.Sum256(benchmarkInput)
				_, err := key.Sign(nil, digest[:], crypto.SHA256)
				return err
			}})
		}
		for _, x := range signers {
			b.Run(string(alg)+"/"+x.name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := x.sign(); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run(string(alg)+"/"+x.name+"/parallel", func(b *testing.B) {
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if err := x.sign(); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	}
}

// BenchmarkOpen is what the first signature of a key costs before it signs: reading, unsealing, and the proof.
func BenchmarkOpen(b *testing.B) {
	s, err := New(b.Context(), "soft", &backendtest.Storage{}, NewKEK(noon))
	if err != nil {
		b.Fatal(err)
	}
	for _, alg := range []jws.Alg{jws.ES256, jws.EdDSA, jws.RS256} {
		mint(b, s, "bench."+string(alg), alg)
		b.Run(string(alg), func(b *testing.B) {
			for b.Loop() {
				if _, err := s.read(b.Context(), "bench."+string(alg)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
