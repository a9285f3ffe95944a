package rotation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"intaglio.example/backends"
	"intaglio.example/internal/jws"
	"intaglio.example/keyring"
)

// Config is what a Rotator needs; every field is required unless it says otherwise.
type Config struct {
	Store    keyring.Store
	Live     *keyring.Live // the rotator plans on this replica's snapshots, and is the one reader of its Changed
	Backends *backends.Set
	Policy   Policy
	Log      *slog.Logger
	Now      func() time.Time // time.Now when nil
	Tick     time.Duration    // how often plans are looked at; one second when zero
	Workers  int              // rings worked on at once; 8 when zero
}

// mintingTimeout bounds one call to a backend. Policy.Sweep is longer: a minting that was given up cannot outlive it.
const mintingTimeout = time.Minute

// ErrNotPropagated: a successor has not been published for long enough to sign.
var ErrNotPropagated = errors.New("not propagated")

// A Rotator does what plans say is due, for all rings of a store. Several replicas may run one each: compare-and-swap
// keeps them from doing a step twice. All methods are safe for concurrent use.
type Rotator struct {
	Config

	mu    sync.Mutex // guards the fields below
	rings map[string]*progress
}

// progress is what the rotator remembers of a ring between two looks; losing it costs nothing but time.
type progress struct {
	ring     *keyring.Ring // the record that next was planned on
	cutoffs  int
	next     time.Time // when its next step is due
	busy     bool
	failures int
}

// New returns a Rotator; call Run.
func New(c Config) *Rotator {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Tick == 0 {
		c.Tick = time.Second
	}
	if c.Workers == 0 {
		c.Workers = 8
	}
	return &Rotator{Config: c, rings: map[string]*progress{}}
}

// Run does what is due until ctx ends, and returns when the last step has been given up or finished.
func (r *Rotator) Run(ctx context.Context) {
	tick := time.NewTicker(r.Tick)
	defer tick.Stop()
	slots := make(chan struct{}, r.Workers)
	var work sync.WaitGroup
	defer work.Wait()
	for {
		for _, ring := range r.due() {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
			work.Go(func() {
				defer func() { <-slots }()
				r.settle(ctx, ring)
			})
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-r.Live.Changed():
		}
	}
}

// due lists the rings with something to do, those that cannot sign first, and marks them busy.
func (r *Rotator) due() []string {
	s, err := r.Live.Current()
	if err != nil {
		return nil // without a fresh snapshot nothing is known to be due
	}
	now := r.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	var silent, rest []string
	for _, l := range s.Lines() {
		p := r.rings[l.Ring.Name]
		if p == nil {
			p = &progress{}
			r.rings[l.Ring.Name] = p
		}
		if p.ring != l.Ring || p.cutoffs != len(s.Cutoffs) {
			p.ring, p.cutoffs, p.next = l.Ring, len(s.Cutoffs), nextDue(l.Ring, s.Cutoffs, r.Policy, now)
		}
		if p.busy || p.next.IsZero() || p.next.After(now) {
			continue
		}
		p.busy = true
		if l.Signer == nil {
			silent = append(silent, l.Ring.Name)
		} else {
			rest = append(rest, l.Ring.Name)
		}
	}
	return append(silent, rest...)
}

func nextDue(ring *keyring.Ring, cs keyring.Cutoffs, p Policy, now time.Time) time.Time {
	if steps := Plan(ring, cs, p, now); len(steps) > 0 {
		return steps[0].Due
	}
	return time.Time{}
}

// settle does the due steps of one ring until none is left or one fails, and then says when to look again.
func (r *Rotator) settle(ctx context.Context, ring string) {
	var err error
	for did := true; did && err == nil && ctx.Err() == nil; {
		did, err = r.Step(ctx, ring)
	}
	if err != nil && ctx.Err() == nil {
		r.Log.Warn("a rotation step failed", "ring", ring, "error", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.rings[ring]
	p.busy = false
	if err == nil {
		p.failures = 0
		p.ring = nil // plan anew
		return
	}
	p.failures = min(p.failures+1, 6)
	backoff := time.Second << p.failures
	p.next = r.Now().Add(backoff/2 + rand.N(backoff))
}

// Step does the first due step of ring's plan. It reports false when nothing was due. A conflict with another writer
// is not an error: the next Step plans on what that writer wrote.
func (r *Rotator) Step(ctx context.Context, ring string) (bool, error) {
	s, l, err := r.line(ring)
	if err != nil {
		return false, err
	}
	now := r.Now()
	steps := Plan(l.Ring, s.Cutoffs, r.Policy, now)
	if len(steps) == 0 || steps[0].Due.After(now) {
		return false, nil
	}
	return true, r.do(ctx, s, l.Ring, steps[0])
}

// Rotate begins a ring's rotation now, or completes it: with no successor it reserves, mints and publishes one; with
// one that has been published for the ring's propagation time it activates it. accept, when not zero, is a shorter time that
// the caller takes for enough. ErrNotPropagated when the successor is younger than that.
func (r *Rotator) Rotate(ctx context.Context, ring string, accept time.Duration) error {
	for range 8 { // reserve, mint and activate, with room for conflicts
		s, l, err := r.line(ring)
		if err != nil {
			return err
		}
		pl := planner{ring: l.Ring, cutoffs: s.Cutoffs, policy: r.Policy, now: r.Now()}
		active, next := pl.roles()
		step := Step{Kind: Reserve, Serial: l.Ring.NextSerial, Why: "asked for"}
		switch {
		case next != nil && next.State == keyring.Reserved:
			pl.minting(next)
			step = pl.steps[0]
		case next != nil:
			if err := r.propagated(l.Ring, active, next, accept); err != nil {
				return err
			}
			step = Step{Kind: Activate, Serial: next.Serial, Why: "asked for"}
		}
		if err := r.do(ctx, s, l.Ring, step); err != nil {
			return err
		}
		if _, after, err := r.line(ring); err != nil || rotated(l.Ring, after.Ring, step) {
			return err
		}
	}
	return fmt.Errorf("%w: ring %s is being changed by others at the same time", keyring.ErrConflict, ring)
}

// rotated reports whether step, which was the last one for a call of Rotate, took effect.
func rotated(before, after *keyring.Ring, step Step) bool {
	if before.Revision == after.Revision || step.Kind != Mint && step.Kind != Activate {
		return false
	}
	k := after.Key(step.Serial)
	return k != nil && (k.State == keyring.Staged && step.Kind == Mint || k.State == keyring.Active)
}

func (r *Rotator) propagated(ring *keyring.Ring, active, next *keyring.Key, accept time.Duration) error {
	want := ring.Rotation.Propagation
	if accept > 0 {
		want = min(want, accept)
	}
	if age := r.Now().Sub(next.Staged); active != nil && age < want {
		return fmt.Errorf("%w: %s has been published for %v of %v", ErrNotPropagated,
			keyring.KeyID(ring.Name, next.Serial), age.Round(time.Second), want)
	}
	return nil
}

func (r *Rotator) line(ring string) (*keyring.Snapshot, *keyring.Line, error) {
	s, err := r.Live.Current()
	if err != nil {
		return nil, nil, err
	}
	l, ok := s.Line(ring)
	if !ok {
		return nil, nil, fmt.Errorf("%w: there is no ring %s", keyring.ErrInvalid, ring)
	}
	return s, l, nil
}

// do carries out one step: first what it does to a backend, then its one write.
func (r *Rotator) do(ctx context.Context, s *keyring.Snapshot, ring *keyring.Ring, step Step) error {
	var next keyring.Ring
	switch step.Kind {
	case Reserve:
		next = reserve(ring, s.Cutoffs, r.Now())
	case Mint:
		var err error
		if next, err = r.mint(ctx, s.Store, ring, step.Serial); err != nil {
			return err
		}
	case Activate:
		next = activate(ring, s.Cutoffs, step.Serial, r.Now())
	case Destroy, Forget:
		if err := r.destroy(ctx, s.Store, ring, step.Serial); err != nil {
			return err
		}
		next = change(ring, step, r.Now())
	default:
		next = change(ring, step, r.Now())
	}
	_, err := r.Store.Swap(ctx, s.Position, keyring.Edit{Rings: []keyring.Ring{next}})
	if errors.Is(err, keyring.ErrKidKnown) { // the backend gave us a key that was ours before: it must never sign
		step = Step{Kind: Revoke, Serial: step.Serial, Why: err.Error()}
		_, err = r.Store.Swap(ctx, s.Position, keyring.Edit{Rings: []keyring.Ring{change(ring, step, r.Now())}})
	}
	if err == nil {
		r.Log.Info("rotation step", "step", step.Kind.String(), "key", keyring.KeyID(ring.Name, step.Serial), "why", step.Why)
	} else if !errors.Is(err, keyring.ErrConflict) {
		return fmt.Errorf("%s %s: %w", step.Kind, keyring.KeyID(ring.Name, step.Serial), err)
	}
	return r.Live.Refresh(ctx)
}

func (r *Rotator) mint(ctx context.Context, store string, ring *keyring.Ring, serial uint64) (keyring.Ring, error) {
	ctx, cancel := context.WithTimeout(ctx, mintingTimeout)
	defer cancel()
	k := ring.Key(serial)
	alg, err := jws.ParseAlg(k.Algorithm)
	if err != nil {
		return keyring.Ring{}, err
	}
	m, err := r.Backends.Mint(ctx, k.Backend, keyring.Label(store, ring.Name, k), alg)
	if err != nil {
		return keyring.Ring{}, fmt.Errorf("minting %s: %w", keyring.KeyID(ring.Name, serial), err)
	}
	return stage(ring, serial, m, r.Now())
}

func (r *Rotator) destroy(ctx context.Context, store string, ring *keyring.Ring, serial uint64) error {
	ctx, cancel := context.WithTimeout(ctx, mintingTimeout)
	defer cancel()
	k := ring.Key(serial)
	label := keyring.Label(store, ring.Name, k)
	if err := r.Backends.Disable(ctx, k.Backend, label); err != nil {
		return fmt.Errorf("disabling %s: %w", keyring.KeyID(ring.Name, serial), err)
	}
	if err := r.Backends.Destroy(ctx, k.Backend, label); err != nil {
		return fmt.Errorf("destroying %s: %w", keyring.KeyID(ring.Name, serial), err)
	}
	return nil
}
