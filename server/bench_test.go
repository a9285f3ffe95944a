package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"testing"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/keyring"
)

// BenchmarkSign is the line from a vetted request to a token, without gRPC, beside the bare signature. Run it with
// -cpuprofile to see what is ours.
func BenchmarkSign(b *testing.B) {
	w := newWorld(b)
	req := &pb.SignTokenRequest{Ring: demo, Claims: claims()}
	b.Run("vet and sign", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				line, err := w.server.line(demo)
				no(b, err)
				v, err := w.server.vet(line, req)
				no(b, err)
				_, err = w.server.sign(b.Context(), line, v)
				no(b, err)
			}
		})
	})
	b.Run("bare crypto/ecdsa", func(b *testing.B) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		no(b, err)
		b.ReportAllocs()
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				digest := sha256.Sum256(req.Claims)
				_, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
				no(b, err)
			}
		})
	})
	b.Run("a look at the snapshot", func(b *testing.B) {
		line, err := w.server.line(demo)
		no(b, err)
		b.ReportAllocs()
		for b.Loop() {
			now, err := w.server.line(demo)
			no(b, err)
			if !w.server.stillSigner(now, line.Signer) {
				b.Fatal("the signer changed")
			}
		}
	})
	b.Run("the grant", func(b *testing.B) {
		snap, _ := w.line(demo)
		b.ReportAllocs()
		for b.Loop() {
			if !snap.Allowed(app, keyring.Sign, demo) {
				b.Fatal("not allowed")
			}
		}
	})
}
