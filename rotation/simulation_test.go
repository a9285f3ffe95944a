package rotation

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"intaglio.example/backends"
	"intaglio.example/internal/jws"
	"intaglio.example/keyring"
	"intaglio.example/keyring/storetest"
)

// The simulation runs two replicas for two months of simulated time: real stores' semantics, real Live, real Rotator, clocks
// that are as wrong as the skew allows, a backend that is down for hours, a store that loses answers, and replicas
// that are killed. Verifiers cache what they fetch for its whole max-age and never ask again before.

const (
	simulated = 60 * 24 * time.Hour
	simSkew   = 2 * time.Minute
	simMaxAge = 10 * time.Minute
	simTTL    = time.Minute // snapshot
	simToken  = time.Hour   // max TTL
)

var simTiming = keyring.Timing{SnapshotTTL: simTTL, MaxAge: simMaxAge}

type sim struct {
	t       *testing.T
	rand    *rand.Rand
	store   *storetest.Memory
	backend *simBackend
	server  [2]*simReplica
	checks  []*simVerifier
	tokens  []issuedToken
	began   time.Time

	// What the invariants are held against, by real time.
	signers   map[string]string    // ring@revision → kid
	firstUse  map[string]time.Time // kid → when it first signed
	issued    int
	stale     int
	verified  int
	rotations map[string]bool
}

// issuedToken is a token as far as verifiers look at it here.
type issuedToken struct {
	ring, kid string
	iat, exp  time.Time // by the signer's clock
}

type simReplica struct {
	live   *keyring.Live
	offset time.Duration
	stop   context.CancelFunc
	done   *sync.WaitGroup
	dir    string
}

type simVerifier struct {
	offset  time.Duration
	fetched time.Time
	keys    map[string]keyring.Window
}

// simBackend mints and forgets; nobody signs with it here.
type simBackend struct {
	mu   sync.Mutex
	keys map[string]*jws.PublicKey
	down bool
	lose func() bool // answer lost after it took effect
}

func (b *simBackend) Protection() keyring.Protection { return keyring.Software }

func (b *simBackend) Mint(_ context.Context, label string, alg jws.Alg) (backends.Minted, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.down {
		return backends.Minted{}, backends.ErrUnavailable
	}
	if b.keys[label] == nil {
		public, _, err := ed25519.GenerateKey(nil)
		if err != nil {
			return backends.Minted{}, err
		}
		if b.keys[label], err = jws.NewPublicKey(alg, public); err != nil {
			return backends.Minted{}, err
		}
	}
	if b.lose() {
		return backends.Minted{}, backends.ErrUnavailable
	}
	public := b.keys[label]
	return backends.Minted{Ref: public.Kid(), Public: public, Protection: keyring.Software}, nil
}

func (b *simBackend) Sign(context.Context, string, jws.Alg, []byte) ([]byte, error) {
	return nil, backends.ErrUnavailable
}

func (b *simBackend) Disable(context.Context, string) error { return nil }

func (b *simBackend) Destroy(_ context.Context, label string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.down {
		return backends.ErrUnavailable
	}
	delete(b.keys, label)
	if b.lose() {
		return backends.ErrUnavailable
	}
	return nil
}

func newSim(t *testing.T, seed uint64) *sim {
	r := rand.New(rand.NewPCG(seed, 1))
	s := &sim{
		t: t, rand: r, began: time.Now(),
		signers: map[string]string{}, firstUse: map[string]time.Time{}, rotations: map[string]bool{},
	}
	var mu sync.Mutex // guards luck: the store and the backend ask from several goroutines
	luck := rand.New(rand.NewPCG(seed, 2))
	chance := func(percent int) bool {
		mu.Lock()
		defer mu.Unlock()
		return luck.IntN(100) < percent
	}
	s.backend = &simBackend{keys: map[string]*jws.PublicKey{}, lose: func() bool { return chance(5) }}
	s.store = storetest.NewMemory(simStore, simTiming)
	s.seed()
	fault := func(op string) error {
		if chance(1) {
			return fmt.Errorf("the store lost the answer to %s", op)
		}
		return nil
	}
	s.store.Before, s.store.After = fault, fault
	dir := anchorDir(t)
	for i := range s.server {
		s.server[i] = &simReplica{offset: s.offset(), dir: filepath.Join(dir, fmt.Sprint("anchor", i))}
		if _, err := keyring.CreateAnchor(s.server[i].dir, simStore, keyring.Position{}); err != nil {
			t.Fatal(err)
		}
		s.start(s.server[i])
	}
	for range 3 {
		s.checks = append(s.checks, &simVerifier{offset: s.offset()})
	}
	return s
}

// anchorDir is in memory where the machine has such a place: the anchors are fsynced thousands of times.
func anchorDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "anchors")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// offset is a clock error, at or near the limit as often as not: any two differ by at most simSkew.
func (s *sim) offset() time.Duration {
	if s.rand.IntN(2) == 0 {
		return []time.Duration{-simSkew / 2, simSkew / 2}[s.rand.IntN(2)]
	}
	return time.Duration(s.rand.Int64N(int64(simSkew))) - simSkew/2
}

const simStore = "5e5a5e5a5e5a5e5a"

func simRing(name string, created time.Time, propagation, lifetime time.Duration) keyring.Ring {
	return keyring.Ring{
		Name: name, Algorithm: "EdDSA", Backend: "sim", MinProtection: keyring.Software,
		Scope:      keyring.Scope{Typ: "at+jwt", Usage: keyring.Tokens, Audiences: keyring.Audiences{Any: true}, MaxTTL: simToken},
		DefaultTTL: simToken, Created: created, NextSerial: 1,
		Rotation: keyring.Rotation{Lifetime: lifetime, Propagation: propagation, Skew: simSkew},
	}
}

func (s *sim) seed() {
	began := s.began.UTC()
	_, err := s.store.Swap(context.Background(), keyring.Position{}, keyring.Edit{
		Issuers: []keyring.Issuer{{Name: "sim", URL: "https://sim.test", Created: began}},
		Rings:   []keyring.Ring{simRing("sim/least", began, simTiming.Lead(simSkew), 24*time.Hour), simRing("sim/slow", began, 3*time.Hour, 24*time.Hour)},
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *sim) start(r *simReplica) {
	anchor, err := keyring.OpenAnchor(r.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	set, err := backends.NewSet(map[string]backends.Backend{"sim": s.backend})
	if err != nil {
		s.t.Fatal(err)
	}
	now := func() time.Time { return time.Now().Add(r.offset) }
	log := slog.New(slog.DiscardHandler)
	r.live = keyring.NewLive(s.store, anchor, log, now)
	rotator := New(Config{Store: s.store, Live: r.live, Backends: set, Policy: DefaultPolicy(simTiming), Log: log, Now: now, Tick: 20 * time.Second})
	ctx, stop := context.WithCancel(context.Background())
	r.stop, r.done = stop, new(sync.WaitGroup)
	r.done.Go(func() { r.live.Run(ctx, 10*time.Second) })
	r.done.Go(func() { rotator.Run(ctx) })
}

func (r *simReplica) kill() {
	r.stop()
	r.done.Wait()
}

// sign is what the sign path decides, without the signature.
func (s *sim) sign(r *simReplica, ring string) {
	snap, err := r.live.Current()
	if errors.Is(err, keyring.ErrStale) {
		s.stale++
		return
	}
	if err != nil {
		s.t.Fatalf("a replica refuses its store: %v", err)
	}
	l, _ := snap.Line(ring)
	now := time.Now().Add(r.offset)
	if l.Signer == nil || !l.Signer.Window.Allows(now) {
		s.t.Fatalf("after %v ring %s has no signer: %+v", time.Since(s.began), ring, l.Ring.Keys)
	}
	k := l.Signer
	at := fmt.Sprintf("%s@%d", ring, snap.Position.Revision)
	if other := cmp.Or(s.signers[at], k.Kid); other != k.Kid {
		s.t.Fatalf("two signers at %s: %s and %s", at, other, k.Kid)
	}
	s.signers[at] = k.Kid
	if s.firstUse[k.Kid].IsZero() {
		s.firstUse[k.Kid] = time.Now()
	}
	if used := time.Since(s.firstUse[k.Kid]); used > 24*time.Hour+simSkew {
		s.t.Fatalf("key %s has signed for %v, its cap is 24h", keyring.KeyID(ring, k.Serial), used)
	}
	s.rotations[k.Kid] = true
	s.issued++
	iat := now.Truncate(time.Second)
	s.tokens = append(s.tokens, issuedToken{ring: ring, kid: k.Kid, iat: iat, exp: iat.Add(k.Scope.MaxTTL)})
}

// fetch is what a verifier gets from one replica: nothing when it is stale.
func (v *simVerifier) fetch(r *simReplica) bool {
	snap, err := r.live.Current()
	if err != nil {
		return false
	}
	v.keys, v.fetched = map[string]keyring.Window{}, time.Now()
	for _, l := range snap.Lines() {
		for i := range l.Ring.Keys {
			if k := &l.Ring.Keys[i]; k.State.Published() && !snap.Revoked(l.Ring, k) {
				v.keys[k.Kid] = k.Window
			}
		}
	}
	return true
}

// verify holds every token that is alive on the verifier's clock against its cached set.
func (s *sim) verify(v *simVerifier) {
	if v.keys == nil || time.Since(v.fetched) >= simMaxAge {
		i := s.rand.IntN(len(s.server))
		if !v.fetch(s.server[i]) && !v.fetch(s.server[1-i]) {
			return
		}
	}
	now := time.Now().Add(v.offset)
	for _, tok := range s.tokens {
		if !now.Before(tok.exp) {
			continue
		}
		w, listed := v.keys[tok.kid]
		switch {
		case !listed:
			s.t.Fatalf("after %v a live token of %s is refused: %s is not in a key set of %v ago", time.Since(s.began), tok.ring, tok.kid, time.Since(v.fetched))
		case tok.iat.Before(w.NotBefore.Add(-simSkew)) || !tok.iat.Before(w.SignUntil.Add(simSkew)) || !now.Before(w.VerifyUntil.Add(simSkew)):
			s.t.Fatalf("a live token of %s is refused: iat %v, window %+v", tok.ring, tok.iat, w)
		}
		s.verified++
	}
}

// run plays seconds to minutes of traffic between faults until the time is over.
func (s *sim) run(length time.Duration) {
	time.Sleep(time.Minute) // the first keys are made
	up := time.Now().Add(48 * time.Hour)
	for time.Since(s.began) < length {
		s.pause()
		for _, ring := range []string{"sim/least", "sim/slow"} {
			s.sign(s.server[s.rand.IntN(2)], ring)
		}
		s.verify(s.checks[s.rand.IntN(len(s.checks))])
		s.tokens = slices.DeleteFunc(s.tokens, func(k issuedToken) bool { return time.Since(k.iat) > simToken+2*simSkew })
		if s.rand.IntN(200) == 0 {
			r := s.server[s.rand.IntN(2)]
			r.kill()
			s.start(r)
			time.Sleep(11 * time.Second)
		}
		if time.Now().After(up) { // the backend is down for up to two of the three hours that the margin allows
			s.setDown(true)
			up = time.Now().Add(time.Duration(s.rand.Int64N(int64(2 * time.Hour))))
			for time.Now().Before(up) {
				time.Sleep(time.Duration(1+s.rand.Int64N(240)) * time.Second)
				s.sign(s.server[s.rand.IntN(2)], "sim/least")
				s.verify(s.checks[s.rand.IntN(len(s.checks))])
			}
			s.setDown(false)
			up = time.Now().Add(time.Duration(s.rand.Int64N(int64(72 * time.Hour))))
		}
	}
}

// pause lets up to four minutes pass; seconds only, and some verifier starts afresh, while a key is about to be activated
// or unpublished: that is when a wrong margin would show.
func (s *sim) pause() {
	for _, r := range s.server {
		snap, err := r.live.Current()
		if err != nil {
			continue
		}
		for _, l := range snap.Lines() {
			for _, k := range l.Ring.Keys {
				if near(k.Staged.Add(l.Ring.Rotation.Propagation)) && k.State != keyring.Retired || k.State == keyring.Retiring && near(k.Retiring.Add(simToken)) {
					s.checks[s.rand.IntN(len(s.checks))].keys = nil
					time.Sleep(time.Duration(1+s.rand.Int64N(10)) * time.Second)
					return
				}
			}
		}
	}
	time.Sleep(time.Duration(1+s.rand.Int64N(240)) * time.Second)
}

func near(t time.Time) bool { return time.Since(t).Abs() < 2*simSkew }

func (s *sim) setDown(down bool) {
	s.backend.mu.Lock()
	defer s.backend.mu.Unlock()
	s.backend.down = down
}

var seeds = flag.Int("seeds", 10, "how many times TestRotationForMonths plays its months")

func TestRotationForMonths(t *testing.T) {
	plays, length := *seeds, simulated
	if testing.Short() {
		plays, length = 3, simulated/4
	}
	var mu sync.Mutex
	var issued, verified, stale, keys int
	for seed := range plays {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSim(t, uint64(seed))
				defer func() {
					for _, r := range s.server {
						r.kill()
					}
				}()
				s.run(length)
				if least := int(length / (24 * time.Hour)); len(s.rotations) < 2*least {
					t.Errorf("only %d keys in %v: rotation stood still", len(s.rotations), length)
				}
				for _, r := range s.server {
					r.kill()
				}
				s.orphans()
				mu.Lock()
				defer mu.Unlock()
				issued, verified, stale, keys = issued+s.issued, verified+s.verified, stale+s.stale, keys+len(s.rotations)
			})
		})
	}
	t.Cleanup(func() { // when the seeds are through
		t.Logf("figure: seeds=%d days=%d tokens=%d keys=%d verifications=%d stale=%d", plays, int(length/(24*time.Hour)), issued, keys, verified, stale)
	})
}

// orphans compares what the backend holds with what the records name, once the replicas have stopped.
func (s *sim) orphans() {
	s.store.Before, s.store.After = nil, nil
	c, err := s.store.Changes(context.Background(), keyring.Position{})
	if err != nil {
		s.t.Fatal(err)
	}
	named := map[string]bool{}
	for i := range c.Rings {
		for j := range c.Rings[i].Keys {
			named[keyring.Label(c.Store, c.Rings[i].Name, &c.Rings[i].Keys[j])] = true
		}
	}
	for label := range s.backend.keys {
		if !named[label] {
			s.t.Errorf("the backend holds %s, which no record names", label)
		}
	}
}
