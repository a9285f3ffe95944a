package rotation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
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
	Workers  int              // rings worked on at once for each backend; 8 when zero
}

// mintingTimeout bounds one call to a backend. A Rotator's Policy.Sweep is at least twice as long, so that a minting that
// was given up has ended before its key is destroyed for the last time.
const mintingTimeout = time.Minute

// A Rotator does what plans say is due, for all rings of a store. Several replicas may run one each: compare-and-swap
// keeps them from doing a step twice. All methods are safe for concurrent use.
type Rotator struct {
	c    Config
	wake chan struct{} // a job has ended, and its lane has room

	mu    sync.Mutex // guards the fields below
	jobs  map[job]*progress
	lanes map[lane]int // jobs at work
}

// job is one side of a ring's plan.
type job struct {
	ring string
	side side
}

// side parts a plan by what its steps wait for, so that they do not wait for each other: after a revocation of a backend
// that hangs, its keys cannot be destroyed and new ones are needed; while minting fails, dead keys are still cleared away.
type side uint8

const (
	begin  side = iota // brings keys to life, in the ring's home
	record             // writes down what is so, in the store alone
	end                // ends keys, in their backend
	sides
)

func (k Kind) side() side {
	switch k {
	case Reserve, Mint, Activate:
		return begin
	case Destroy, Forget:
		return end
	}
	return record
}

// lane is where a job may get stuck: a backend that hangs delays the jobs of its own lane and no others.
type lane struct {
	backend string
	side    side
}

// progress is what the rotator remembers of a job between two looks; losing it costs nothing but time.
type progress struct {
	ring     *keyring.Ring // the record that next was planned on
	cutoffs  int
	next     time.Time // when its next step is due; zero when it has none
	lane     lane
	busy     bool
	worked   bool      // since it was planned
	failures int       // in a row
	rests    time.Time // until then, after a failure
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
	return &Rotator{c: c, wake: make(chan struct{}, 1), jobs: map[job]*progress{}, lanes: map[lane]int{}}
}

// Plan is the plan that this rotator follows for ring.
func (r *Rotator) Plan(ring *keyring.Ring, cs keyring.Cutoffs) []Step {
	return Plan(ring, cs, r.c.Policy, r.c.Now())
}

// Run does what is due until ctx ends, and returns when the last step has been given up or finished.
func (r *Rotator) Run(ctx context.Context) {
	tick := time.NewTicker(r.c.Tick)
	defer tick.Stop()
	var work sync.WaitGroup
	defer work.Wait()
	for {
		for _, j := range r.due() {
			work.Go(func() { r.settle(ctx, j) })
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-r.c.Live.Changed():
		case <-r.wake:
		}
	}
}

// due lists the jobs that have something to do and room to do it, rings that cannot sign first, and marks them busy.
func (r *Rotator) due() []job {
	s, err := r.c.Live.Current()
	if err != nil {
		return nil // without a fresh snapshot nothing is known to be due
	}
	now := r.c.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	var silent, rest []job
	for _, l := range s.Lines() {
		for side := range sides {
			j := job{l.Ring.Name, side}
			if p := r.lookLocked(j, l.Ring, s.Cutoffs, now); p.busy || p.next.IsZero() || p.next.After(now) || p.rests.After(now) {
				continue
			}
			if l.Signer == nil && side == begin {
				silent = append(silent, j)
			} else {
				rest = append(rest, j)
			}
		}
	}
	var start []job
	for _, j := range append(silent, rest...) {
		if p := r.jobs[j]; r.lanes[p.lane] < r.c.Workers {
			p.busy = true
			r.lanes[p.lane]++
			start = append(start, j)
		}
	}
	return start
}

// lookLocked plans a job anew if its ring or the cutoffs have changed.
func (r *Rotator) lookLocked(j job, ring *keyring.Ring, cs keyring.Cutoffs, now time.Time) *progress {
	p := r.jobs[j]
	if p == nil {
		p = &progress{}
		r.jobs[j] = p
	}
	stale := p.ring != ring || p.cutoffs != len(cs) || p.worked
	if p.busy || !stale {
		return p
	}
	if p.cutoffs != len(cs) || p.ring != nil && p.ring.BackendSet != ring.BackendSet {
		p.rests, p.failures = time.Time{}, 0 // a revocation, or another backend: what failed may not fail now
	}
	p.ring, p.cutoffs, p.next, p.worked = ring, len(cs), time.Time{}, false
	if step, ok := first(Plan(ring, cs, r.c.Policy, now), j.side); ok {
		p.next, p.lane = step.Due, lane{"", j.side}
		switch j.side {
		case begin:
			p.lane.backend = cs.Home(ring)
		case end:
			p.lane.backend = ring.Key(step.Serial).Backend
		}
	}
	return p
}

// first is the first step of one side of a plan.
func first(steps []Step, side side) (Step, bool) {
	i := slices.IndexFunc(steps, func(s Step) bool { return s.Kind.side() == side })
	if i < 0 {
		return Step{}, false
	}
	return steps[i], true
}

// settle does the due steps of one job until none is left or one fails, and then says when to look again.
func (r *Rotator) settle(ctx context.Context, j job) {
	var err error
	for did := true; did && err == nil && ctx.Err() == nil; {
		did, err = r.step(ctx, j)
	}
	if err != nil && ctx.Err() == nil {
		r.c.Log.Warn("a rotation step failed", "ring", j.ring, "error", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.jobs[j]
	p.busy = false
	r.lanes[p.lane]--
	select {
	case r.wake <- struct{}{}:
	default:
	}
	p.worked = true
	if err == nil {
		p.failures = 0
		return
	}
	p.failures = min(p.failures+1, 6)
	backoff := time.Second << p.failures
	p.rests = r.c.Now().Add(backoff/2 + rand.N(backoff))
}

// step does the first due step of a job. It reports false when nothing was due. A conflict with another writer is not an
// error: the next step plans on what that writer wrote.
func (r *Rotator) step(ctx context.Context, j job) (bool, error) {
	s, l, err := r.line(j.ring)
	if err != nil {
		return false, err
	}
	now := r.c.Now()
	step, ok := first(Plan(l.Ring, s.Cutoffs, r.c.Policy, now), j.side)
	if !ok || step.Due.After(now) {
		return false, nil
	}
	_, err = r.do(ctx, s, l.Ring, step)
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
