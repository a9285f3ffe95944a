// Package wycheproof holds internal/jws against Wycheproof, the test vectors of cryptography gone wrong. Run it with
//
//	go test ./...
//
// here, or as the acceptance program wycheproof. It is a module of its own, so that a hundred megabytes of vectors do
// not become a dependency of those who only want to sign tokens.
//
// Every vector is run and must come out as its file says. The only exceptions are those listed by number in
// exceptions.go, and each of them must happen: one that no longer does is a failure too.
package wycheproof
