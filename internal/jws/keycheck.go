package jws

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"fmt"
	"math/big"
	"slices"
)

// Bounds of RSA keys. RFC 7518 section 3.3 wants 2048 bits; the upper bound keeps a hostile key from costing seconds.
const (
	minRSABits = 2048
	maxRSABits = 16384
)

func badKey(format string, args ...any) error {
	return &Error{Code: BadKey, Offset: -1, Detail: fmt.Sprintf(format, args...)}
}

// checkShape refuses keys that are not filled in, which crypto/x509 does not expect.
func checkShape(key crypto.PublicKey) error {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		//lint:ignore SA1019 only the fields tell whether they are filled in: every method expects it
		if key == nil || key.Curve == nil || key.X == nil || key.Y == nil {
			return badKey("an incomplete ECDSA key")
		}
	case *rsa.PublicKey:
		if key == nil || key.N == nil || key.N.Sign() <= 0 {
			return badKey("an incomplete RSA key")
		}
	case ed25519.PublicKey:
		if len(key) != ed25519.PublicKeySize {
			return badKey("an Ed25519 key of %d bytes, want %d", len(key), ed25519.PublicKeySize)
		}
	default:
		return badKey("%T is no public key for signatures", key)
	}
	return nil
}

// checkKey refuses keys that are not keys of alg. The key comes from crypto/x509, which has put ECDSA points on their curve.
func checkKey(alg Alg, key crypto.PublicKey) error {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		if alg.kty() != "EC" || key.Curve != alg.curve() {
			return badKey("%s does not use %s keys", alg, key.Curve.Params().Name)
		}
		return nil
	case *rsa.PublicKey:
		if alg.kty() != "RSA" {
			return badKey("%s does not use RSA keys", alg)
		}
		return checkRSA(key)
	case ed25519.PublicKey:
		if alg.kty() != "OKP" {
			return badKey("%s does not use Ed25519 keys", alg)
		}
		if !onEdwards25519(key) {
			return badKey("not a point of Ed25519")
		}
		return nil
	}
	return badKey("%s does not use a %T", alg, key)
}

func checkRSA(key *rsa.PublicKey) error {
	switch bits := key.N.BitLen(); {
	case bits < minRSABits || bits > maxRSABits:
		return badKey("RSA of %d bits, want %d to %d", bits, minRSABits, maxRSABits)
	case key.N.Bit(0) == 0:
		return badKey("RSA with an even modulus")
	case key.E < 3 || key.E > 1<<31-1 || key.E&1 == 0:
		return badKey("RSA exponent %d, want an odd number from 3 to 2^31-1", key.E)
	case isROCA(key.N):
		return badKey("RSA modulus of a generator whose keys can be factored (CVE-2017-15361)")
	}
	return nil
}

// isROCA reports whether n has the fingerprint of the keys Infineon's library made until 2017. Their primes are
// k*M + (65537^a mod M), M the product of the first primes, so n is a power of 65537 modulo each of them. A random
// modulus is that for all of these with a chance below 2^-27. (Nemec and others, "The Return of Coppersmith's Attack", 2017.)
func isROCA(n *big.Int) bool {
	primes := []int64{3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97,
		101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167}
	var rest, prime big.Int
	return !slices.ContainsFunc(primes, func(p int64) bool {
		r := rest.Mod(n, prime.SetInt64(p)).Int64()
		power := int64(1)
		for power != r {
			if power = power * 65537 % p; power == 1 {
				return true // r is no power of 65537
			}
		}
		return false
	})
}

// onEdwards25519 reports whether key encodes a point as RFC 8032 section 5.1.3 decodes it: y below p = 2^255-19, and
// x^2 = (y^2-1)/(d*y^2+1) a square. crypto/ed25519 finds out only when it verifies.
func onEdwards25519(key ed25519.PublicKey) bool {
	p := new(big.Int).Lsh(big.NewInt(1), 255)
	p.Sub(p, big.NewInt(19))
	b := slices.Clone(key)
	b[31] &= 0x7f // the sign of x
	slices.Reverse(b)
	y := new(big.Int).SetBytes(b)
	if y.Cmp(p) >= 0 {
		return false
	}
	one := big.NewInt(1)
	d := new(big.Int).ModInverse(big.NewInt(121666), p)
	d.Mul(d, big.NewInt(-121665)).Mod(d, p)
	yy := y.Mul(y, y)
	u := new(big.Int).Sub(yy, one)
	v := new(big.Int).Mul(d, yy)
	v.Add(v, one)
	// u/v is a square exactly when u*v is; v is never zero.
	return big.Jacobi(u.Mod(u.Mul(u, v), p), p) >= 0
}
