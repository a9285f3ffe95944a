// Command interop has tokens verified by libraries that we did not write, from the served JWK Set only.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/test/acceptance/internal/accept"
	"intaglio.example/test/acceptance/internal/devserver"
)

const (
	audience = "https://api.demo.test"
	issuer   = "https://demo.test"
	typ      = "at+jwt"
)

// algs are all we sign with; every one must be accepted by both libraries.
var algs = []string{"ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA"}

func main() {
	accept.Run("interop", "tokens verified by npm's jose and Debian's PyJWT, from the served JWK Set only", show)
}

func show(r *accept.Report) error {
	root, err := accept.Root()
	if err != nil {
		return err
	}
	libraries := []library{
		{"npm jose", []string{"node", filepath.Join(root, "test/interop/verify.mjs")}},
		{"PyJWT", []string{"/usr/bin/python3", filepath.Join(root, "test/interop/verify.py")}},
	}
	binary, err := devserver.Build(r)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "intaglio-interop")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s, err := devserver.Start(binary, dir)
	if err != nil {
		return err
	}
	defer s.Kill()
	tokens, err := signAll(s)
	if err != nil {
		return err
	}
	for _, l := range libraries {
		if err := l.judge(r, s, tokens); err != nil {
			return err
		}
	}
	return afterRevocation(r, s, libraries, tokens["ES256"])
}

// signAll makes a ring for every algorithm and signs a token in each.
func signAll(s *devserver.Server) (map[string]string, error) {
	conn, err := s.Dial()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	tokens := map[string]string{}
	for _, alg := range algs {
		id := "interop-" + strings.ToLower(alg)
		if _, err := pb.NewAdminServiceClient(conn).CreateRing(ctx, ringRequest(id, alg)); err != nil {
			return nil, fmt.Errorf("making a ring for %s: %w", alg, err)
		}
		err := devserver.Eventually(ctx, 30*time.Second, func() error {
			res, err := pb.NewSigningServiceClient(conn).SignToken(ctx, &pb.SignTokenRequest{
				Ring: "demo/" + id, Claims: []byte(`{"sub":"alice","aud":"` + audience + `","n":9007199254740993}`),
			})
			tokens[alg] = res.GetToken()
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("signing with %s: %w", alg, err)
		}
	}
	return tokens, nil
}

type library struct {
	name    string
	command []string
}

type verdict struct {
	Accepted bool
	Alg, Why string
}

func (l library) verify(s *devserver.Server, token, audience string) (verdict, error) {
	cmd := exec.Command(l.command[0], append(l.command[1:len(l.command):len(l.command)], s.HTTP+"/demo/jwks.json", issuer, audience, typ)...)
	cmd.Stdin = strings.NewReader(token)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return verdict{}, fmt.Errorf("%s: %w", l.name, err)
	}
	var v verdict
	return v, json.Unmarshal(out, &v)
}

// judge counts what a library accepts of what it should, and refuses of what it should not.
func (l library) judge(r *accept.Report, s *devserver.Server, tokens map[string]string) error {
	r.Ran("%s JWKS %s %s %s < token", strings.Join(l.command, " "), issuer, audience, typ)
	accepted, refused := 0, 0
	for _, alg := range algs {
		v, err := l.verify(s, tokens[alg], audience)
		if err != nil {
			return err
		}
		if v.Accepted && v.Alg == alg {
			accepted++
		} else {
			r.Note("%s did not accept %s: %s", l.name, alg, v.Why)
		}
	}
	r.Equal(l.name+" accepts, one token for each algorithm", accepted, len(algs))
	for name, bad := range map[string]struct{ token, audience string }{
		"another audience":      {tokens["ES256"], "https://other.test"},
		"a changed payload":     {changed(tokens["ES256"]), audience},
		"a signature swapped":   {swapped(tokens["ES256"], tokens["EdDSA"]), audience},
		"a kid from nobody's":   {strings.Replace(tokens["ES256"], ".", "x.", 1), audience},
		"another token's claim": {tokens["ES256"][:strings.LastIndexByte(tokens["ES256"], '.')] + ".AAAA", audience},
	} {
		v, err := l.verify(s, bad.token, bad.audience)
		if err != nil {
			return err
		}
		if v.Accepted {
			r.Note("%s accepted %s", l.name, name)
		} else {
			refused++
		}
	}
	r.Equal(l.name+" refuses what it should", refused, 5)
	return nil
}

// changed flips one character in the middle of the payload.
func changed(token string) string {
	i := strings.IndexByte(token, '.') + 40
	c := byte('A')
	if token[i] == 'A' {
		c = 'B'
	}
	return token[:i] + string(c) + token[i+1:]
}

// swapped puts the signature of another token under this one.
func swapped(token, other string) string {
	return token[:strings.LastIndexByte(token, '.')] + other[strings.LastIndexByte(other, '.'):]
}

// afterRevocation: a token accepted before is refused by the next fetch once its key is revoked.
func afterRevocation(r *accept.Report, s *devserver.Server, libraries []library, token string) error {
	conn, err := s.Dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = pb.NewRevocationServiceClient(conn).Revoke(context.Background(), &pb.RevokeRequest{
		Scope: &pb.Scope{Scope: &pb.Scope_Key{Key: "demo/interop-es256/1"}}, Reason: "interop", CutFirst: true,
		RequestId: "7d4f6c1e-2d0e-4b8e-9a55-0c9c5d0f3a11",
	})
	if err != nil {
		return err
	}
	refused := 0
	for _, l := range libraries {
		v, err := l.verify(s, token, audience)
		if err != nil {
			return err
		}
		if !v.Accepted {
			refused++
		}
	}
	r.Equal("libraries that refuse the token as soon as its key is revoked", refused, len(libraries))
	return nil
}

func ringRequest(id, alg string) *pb.CreateRingRequest {
	return &pb.CreateRingRequest{Parent: "issuers/demo", RingId: id, Ring: &pb.Ring{
		Typ: typ, Usage: pb.Ring_USAGE_TOKENS, Algorithm: alg, Backend: "software", MinProtection: pb.Protection_PROTECTION_SOFTWARE,
		Audiences: &pb.Audiences{Exact: []string{audience}}, DefaultTtl: durationpb.New(time.Minute), MaxTtl: durationpb.New(time.Hour),
		Rotation: &pb.Rotation{Lifetime: durationpb.New(14 * 24 * time.Hour), Propagation: durationpb.New(5 * time.Second), Skew: durationpb.New(time.Second)},
	}}
}
