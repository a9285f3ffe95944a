// Command interop has tokens verified by libraries that we did not write, from the served JWK Set only.
package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/test/acceptance/internal/accept"
	"intaglio.example/test/acceptance/internal/devserver"
)

const issuer = "https://demo.test"

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
		{"npm jose", []string{"node", filepath.Join(root, "test/interop/verify.mjs")}, "ERR_JWKS_NO_MATCHING_KEY"},
		{"PyJWT", []string{"/usr/bin/python3", filepath.Join(root, "test/interop/verify.py")}, "Unable to find a signing key that matches"},
	}
	s, cleanup, err := devserver.Fresh(r)
	if err != nil {
		return err
	}
	defer cleanup()
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
		if err := devserver.CreateRing(ctx, conn, id, alg, nil); err != nil {
			return nil, err
		}
		err := devserver.Eventually(ctx, 30*time.Second, func() error {
			res, err := pb.NewSigningServiceClient(conn).SignToken(ctx, &pb.SignTokenRequest{
				Ring: "demo/" + id, Claims: []byte(`{"sub":"alice","aud":"` + devserver.Audience + `","n":9007199254740993}`),
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
	keyless string // what it says of a token whose key is not in the key set
}

type verdict struct {
	Accepted bool
	Alg, Why string
}

func (l library) verify(s *devserver.Server, token, audience string) (verdict, error) {
	cmd := exec.Command(l.command[0], append(l.command[1:len(l.command):len(l.command)], s.HTTP+"/demo/jwks.json", issuer, audience, devserver.Typ)...)
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
	r.Ran("%s JWKS %s %s %s < token", strings.Join(l.command, " "), issuer, devserver.Audience, devserver.Typ)
	accepted, refused := 0, 0
	for _, alg := range algs {
		v, err := l.verify(s, tokens[alg], devserver.Audience)
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
	cases, err := forgeries(tokens)
	if err != nil {
		return err
	}
	for _, c := range cases {
		v, err := l.verify(s, c.token, c.audience)
		if err != nil {
			return err
		}
		if v.Accepted {
			r.Note("%s accepted %s", l.name, c.name)
		} else {
			refused++
		}
	}
	r.Equal(l.name+" refuses what it should", refused, len(cases))
	return nil
}

type forgery struct{ name, token, audience string }

func forgeries(tokens map[string]string) ([]forgery, error) {
	token := tokens["ES256"]
	stranger, err := withKid(token, "nobody")
	if err != nil {
		return nil, err
	}
	return []forgery{
		{"a token for another audience", token, "https://other.test"},
		{"a changed payload", changed(token), devserver.Audience},
		{"another token's signature", swapped(token, tokens["EdDSA"]), devserver.Audience},
		{"a signature cut short", token[:strings.LastIndexByte(token, '.')] + ".AAAA", devserver.Audience},
		{"a kid that nobody published", stranger, devserver.Audience},
	}, nil
}

// withKid replaces the kid in a token's header.
func withKid(token, kid string) (string, error) {
	encoded, rest, _ := strings.Cut(token, ".")
	text, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return "", fmt.Errorf("reading a token's header: %w", err)
	}
	var header map[string]any
	if err := json.Unmarshal(text, &header); err != nil {
		return "", fmt.Errorf("reading a token's header: %w", err)
	}
	header["kid"] = kid
	if text, err = json.Marshal(header); err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(text) + "." + rest, nil
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

// afterRevocation: what every library accepts, every library refuses once the key is revoked, because the key is gone.
func afterRevocation(r *accept.Report, s *devserver.Server, libraries []library, token string) error {
	conn, err := s.Dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	accepted, _, err := ask(r, s, libraries, token)
	if err != nil {
		return err
	}
	r.Equal("libraries that accept a token just before its key is revoked", accepted, len(libraries))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err = pb.NewRevocationServiceClient(conn).Revoke(ctx, &pb.RevokeRequest{
		Scope: &pb.Scope{Scope: &pb.Scope_Key{Key: "demo/interop-es256/1"}}, Reason: "interop", CutFirst: true,
		RequestId: devserver.RequestID(),
	})
	if err != nil {
		return err
	}
	_, keyless, err := ask(r, s, libraries, token)
	if err != nil {
		return err
	}
	r.Equal("libraries that refuse it as soon as its key is revoked, for want of that key", keyless, len(libraries))
	return nil
}

// ask counts the libraries that accept a token, and those that refuse it because its key is not in the key set.
func ask(r *accept.Report, s *devserver.Server, libraries []library, token string) (accepted, keyless int, err error) {
	for _, l := range libraries {
		v, err := l.verify(s, token, devserver.Audience)
		if err != nil {
			return 0, 0, err
		}
		switch {
		case v.Accepted:
			accepted++
		case strings.Contains(v.Why, l.keyless):
			keyless++
		default:
			r.Note("%s refuses it, but says %s", l.name, v.Why)
		}
	}
	return accepted, keyless, nil
}
