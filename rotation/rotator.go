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

// mintingTimeout bounds one call to a backend. A Rotator's Policy.Sweep is at least twice as long, so that a minting that
// was given up has ended before its key is destroyed for the last time.
const mintingTimeout = time.Minute

// A Rotator does what plans say is due, for all rings of a store. Several replicas may run one each: compare-and-swap
// keeps them from doing a step twice. All methods are safe for concurrent use.
type Rotator struct {
	c Config

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
	c.Policy.Sweep = max(c.Policy.Sweep, 2*mintingTimeout)
	return &Rotator{c: c, rings: map[string]*progress{}}
}

// Plan is the plan that this rotator follows for ring.
func (r *Rotator) Plan(ring *keyring.Ring, cs keyring.Cutoffs) []Step {
	return Plan(ring, cs, r.c.Policy, r.c.Now())
}

// Run does what is due until ctx ends, and returns when the last step has been given up or finished.
func (r *Rotator) Run(ctx context.Context) {
	tick := time.NewTicker(r.c.Tick)
	defer tick.Stop()
	slots := make(chan struct{}, r.c.Workers)
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
		case <-r.c.Live.Changed():
		}
	}
}

// due lists the rings with something to do, those that cannot sign first, and marks them busy.
func (r *Rotator) due() []string {
	s, err := r.c.Live.Current()
	if err != nil {
		return nil // without a fresh snapshot nothing is known to be due
	}
	now := r.c.Now()
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
			p.ring, p.cutoffs, p.next = l.Ring, len(s.Cutoffs), nextDue(l.Ring, s.Cutoffs, r.c.Policy, now)
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
		r.c.Log.Warn("a rotation step failed", "ring", ring, "error", err)
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
	p.next = r.c.Now().Add(backoff/2 + rand.N(backoff))
}

// Step does the first due step of ring's plan. It reports false when nothing was due. A conflict with another writer
// is not an error: the next Step plans on what that writer wrote.
func (r *Rotator) Step(ctx context.Context, ring string) (bool, error) {
	s, l, err := r.line(ring)
	if err != nil {
		return false, err
	}
	now := r.c.Now()
	steps := Plan(l.Ring, s.Cutoffs, r.c.Policy, now)
	if len(steps) == 0 || steps[0].Due.After(now) {
		return false, nil
	}
	_, err = r.do(ctx, s, l.Ring, steps[0])
	return true, err
}

func (r *Rotator) line(ring string) (*keyring.Snapshot, *keyring.Line, error) {
	s, err := r.c.Live.Current()
	if err != nil {
		return nil, nil, err
	}
	l, ok := s.Line(ring)
	if !ok {
		return nil, nil, fmt.Errorf("%w: there is no ring %s", keyring.ErrInvalid, ring)
	}
	return s, l, nil
}

// do carries out one step: first what it does to a backend, then its one write. It reports false when another writer
// came first.
func (r *Rotator) do(ctx context.Context, s *keyring.Snapshot, ring *keyring.Ring, step Step) (wrote bool, err error) {
	next, err := r.prepare(ctx, s, ring, step)
	if err == nil {
		_, err = r.c.Store.Swap(ctx, s.Position, keyring.Edit{Rings: []keyring.Ring{next}})
	}
	id := keyring.KeyID(ring.Name, step.Serial)
	switch {
	case err == nil:
		r.c.Log.Info("rotation step", "step", step.Kind.String(), "key", id, "why", step.Why)
	case errors.Is(err, keyring.ErrConflict):
	case step.Kind == Mint && hopeless(err):
		return false, errors.Join(fmt.Errorf("mint %s: %w", id, err), r.giveUp(ctx, s, ring, step, err))
	default:
		return false, fmt.Errorf("%s %s: %w", step.Kind, id, err)
	}
	return err == nil, r.c.Live.Refresh(ctx)
}

// prepare does a step's part in a backend, and returns the record to write.
func (r *Rotator) prepare(ctx context.Context, s *keyring.Snapshot, ring *keyring.Ring, step Step) (keyring.Ring, error) {
	switch step.Kind {
	case Reserve:
		return reserve(ring, s.Cutoffs, r.c.Now()), nil
	case Mint:
		return r.mint(ctx, s.Store, ring, step.Serial)
	case Activate:
		return activate(ring, s.Cutoffs, step.Serial, r.c.Now()), nil
	case Destroy, Forget:
		if err := r.destroy(ctx, s.Store, ring, step.Serial); err != nil {
			return keyring.Ring{}, err
		}
	}
	return change(ring, step, r.c.Now()), nil
}

// hopeless reports whether a minting under this reservation will fail for ever: what the backend made must not sign, or
// it will make nothing.
func hopeless(err error) bool {
	for _, e := range []error{
		keyring.ErrKidKnown, backends.ErrTooWeak, backends.ErrExportable, backends.ErrMismatch, backends.ErrUnsupported, backends.ErrDisabled,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// giveUp revokes a reservation whose minting is hopeless: whatever the backend holds under it is destroyed, and the next
// one is made from what the ring says by then.
func (r *Rotator) giveUp(ctx context.Context, s *keyring.Snapshot, ring *keyring.Ring, step Step, why error) error {
	revoke := Step{Kind: Revoke, Serial: step.Serial, Why: why.Error()}
	_, err := r.c.Store.Swap(ctx, s.Position, keyring.Edit{Rings: []keyring.Ring{change(ring, revoke, r.c.Now())}})
	if err != nil && !errors.Is(err, keyring.ErrConflict) {
		return err
	}
	r.c.Log.Warn("rotation step", "step", revoke.Kind.String(), "key", keyring.KeyID(ring.Name, step.Serial), "why", revoke.Why)
	return r.c.Live.Refresh(ctx)
}

func (r *Rotator) mint(ctx context.Context, store string, ring *keyring.Ring, serial uint64) (keyring.Ring, error) {
	ctx, cancel := context.WithTimeout(ctx, mintingTimeout)
	defer cancel()
	k := ring.Key(serial)
	alg, err := jws.ParseAlg(k.Algorithm)
	if err != nil {
		return keyring.Ring{}, err
	}
	m, err := r.c.Backends.Mint(ctx, k.Backend, keyring.Label(store, ring.Name, k), alg)
	if err != nil {
		return keyring.Ring{}, err
	}
	return stage(ring, serial, m, r.c.Now())
}

func (r *Rotator) destroy(ctx context.Context, store string, ring *keyring.Ring, serial uint64) error {
	ctx, cancel := context.WithTimeout(ctx, mintingTimeout)
	defer cancel()
	k := ring.Key(serial)
	label := keyring.Label(store, ring.Name, k)
	if err := r.c.Backends.Disable(ctx, k.Backend, label); err != nil {
		return err
	}
	return r.c.Backends.Destroy(ctx, k.Backend, label)
}
