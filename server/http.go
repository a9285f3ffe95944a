package server

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"intaglio.example/keyring"
)

// HTTP returns the handler of everything public: key sets, discovery, probes and metrics. It answers from memory, and
// with 503 when this replica's snapshot is stale: a key set that may be out of date is never served.
//
//	/{issuer}/jwks.json                                 JWK Set, RFC 7517
//	/{issuer}/.well-known/openid-configuration          OpenID Connect Discovery 1.0
//	/.well-known/oauth-authorization-server/{issuer}    RFC 8414
//	/livez  /readyz  /metrics
func (s *Server) HTTP() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{issuer}/jwks.json", s.published(s.serveJWKS))
	mux.HandleFunc("GET /{issuer}/.well-known/openid-configuration", s.published(s.serveDiscovery))
	mux.HandleFunc("GET /.well-known/oauth-authorization-server/{issuer}", s.published(s.serveDiscovery))
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", s.serveReady)
	mux.Handle("GET /metrics", s.metrics.handler())
	return mux
}

// published finds the key set of the request's issuer in a fresh snapshot and sets the headers that all documents share.
func (s *Server) published(serve func(http.ResponseWriter, *http.Request, *keySet)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		snap, err := s.live.Current()
		if err != nil {
			w.Header().Set("Retry-After", "1")
			http.Error(w, "this replica has lost touch with its store", http.StatusServiceUnavailable)
			return
		}
		issuer, ok := snap.Issuer(r.PathValue("issuer"))
		if !ok {
			http.Error(w, "no such issuer", http.StatusNotFound)
			return
		}
		set, err := s.keySet(snap, issuer)
		if err != nil {
			s.log.Error("cannot build a key set", "issuer", issuer.Name, "error", err)
			http.Error(w, "cannot build the key set", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Cache-Control", fmt.Sprintf("public, max-age=%d", jittered(snap.Timing)))
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Access-Control-Allow-Origin", "*") // public keys are public
		serve(w, r, set)
	}
}

// jittered is the max-age of one answer, in seconds: up to a tenth less than the store's, never more, so that verifiers
// do not come back together and the time a key is published in advance still covers every cache.
func jittered(t keyring.Timing) int64 {
	whole := int64(t.MaxAge / time.Second)
	return whole - rand.Int64N(whole/10+1)
}

// serveJWKS answers with the JWK Set as application/json: RFC 7517 names application/jwk-set+json, but some verifiers
// accept only the former, and none only the latter.
func (s *Server) serveJWKS(w http.ResponseWriter, r *http.Request, set *keySet) {
	w.Header().Set("ETag", set.etag)
	if matches(r.Header.Values("If-None-Match"), set.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(set.jwks)
}

// matches compares weakly, as RFC 9110, section 13.1.2, asks of If-None-Match.
func matches(headers []string, etag string) bool {
	for _, h := range headers {
		for tag := range strings.SplitSeq(h, ",") {
			if tag = strings.TrimSpace(tag); tag == "*" || strings.TrimPrefix(tag, "W/") == etag {
				return true
			}
		}
	}
	return false
}

// serveDiscovery answers with what a key publisher can honestly say; Intaglio is not an OpenID Provider.
func (s *Server) serveDiscovery(w http.ResponseWriter, _ *http.Request, set *keySet) {
	algs := set.algs
	if algs == nil {
		algs = []string{}
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(struct {
		Issuer   string   `json:"issuer"`
		JWKS     string   `json:"jwks_uri"`
		Response []string `json:"response_types_supported"`
		Subject  []string `json:"subject_types_supported"`
		Algs     []string `json:"id_token_signing_alg_values_supported"`
	}{set.url, strings.TrimSuffix(set.url, "/") + "/jwks.json", []string{"id_token"}, []string{"public"}, algs})
}

// serveReady says whether this replica can answer: it has a fresh snapshot and is not draining. No backend is asked, so one
// that is down takes its own rings with it and nothing else.
func (s *Server) serveReady(w http.ResponseWriter, _ *http.Request) {
	if err := s.ready(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}
