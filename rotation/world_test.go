package rotation

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"intaglio.example/backends"
	"intaglio.example/internal/jws"
	"intaglio.example/keyring"
)

// The small world: a store with one ring, a rotator that may crash anywhere, a revocation (cutting first, or with a
// successor prepared), and one replica that signs. Every interleaving of their atomic steps is walked, breadth first, with
// the real Plan, the real steps and the real rules of keyring; only time, the store's bytes and the backend are
// small. Taking one rule away must lead to a violation: that is how the search shows that it can see.

// rules are the shortcuts that must not be taken.
type rules struct {
	swapIgnoresCutoffs bool // Swap conflicts on the ring only
	planIgnoresCutoffs bool // the rotator does not look at cutoffs
	lineAtStaging      bool // a cutoff compares the revision at which a key was staged, not reserved
	noSecondLook       bool // a token leaves without asking again whether its key is the signer
	staleSecondLook    bool // the second look asks the snapshot of the first
	confirmEarly       bool // the cut is confirmed before the replica has installed it
	noSpare            bool // a cutoff fells the successors of its own operation too
	forgetAtOnce       bool // a destroyed record is forgotten before every minting has ended
}

type scenario struct {
	prepared bool // the revocation stages its successor before it cuts
	stay     bool // it names no backend to go into
	units    int  // how far time runs
	serials  uint64
	budget   int // rotations asked for by hand
}

const (
	unit     = time.Hour
	oldHome  = "old"
	newHome  = "new"
	revoking = "op-1"
)

var (
	epoch     = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	smallTime = keyring.Timing{SnapshotTTL: time.Second, MaxAge: time.Second}
	smallRule = Policy{Timing: smallTime, DestroyAfter: unit / 2, Sweep: unit / 2}
)

// view is what somebody read from the store: never changed after.
type view struct {
	ring *keyring.Ring
	cuts int
}

type world struct {
	now      int
	rev      keyring.Revision
	ring     *keyring.Ring
	cuts     keyring.Cutoffs
	made     [8]keyring.Revision // revision of the store when the backend made the key of a serial; 0 when it has none
	rot      task
	op       task
	opDone   bool
	late     uint64 // serial of a minting whose caller crashed: it may still land until time passes
	budget   int
	replica  *view // installed
	call     call
	sure     bool // the cut was confirmed
	prepared bool // a successor of the operation was staged when the cut was raised
}

// task is a worker that has read the store and is about to act on what it read.
type task struct {
	saw  *view
	step Step
	done bool // the backend's part is done, the write is not
}

type call struct {
	phase  int // 0 none, 1 after the first look, 2 signed, 3 after the second look
	serial uint64
	first  *view
	after  bool // it began after the cut was confirmed
}

type arrow struct {
	name string
	to   world
	bad  string
}

type search struct {
	t       *testing.T
	rules   rules
	sc      scenario
	minted  []backends.Minted
	encoded map[*keyring.Ring]string
}

func (s *search) time(w *world) time.Time { return epoch.Add(time.Duration(w.now) * unit) }

func newSearch(t *testing.T, r rules, sc scenario) *search {
	s := &search{t: t, rules: r, sc: sc, encoded: map[*keyring.Ring]string{}}
	for range sc.serials + 2 {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		public, err := jws.NewPublicKey(jws.ES256, &private.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		s.minted = append(s.minted, backends.Minted{Ref: public.Kid(), Public: public, Protection: keyring.Software})
	}
	return s
}

func smallRing() keyring.Ring {
	return keyring.Ring{
		Name: "demo/access", Algorithm: "ES256", Backend: oldHome, MinProtection: keyring.Software,
		Scope:      keyring.Scope{Typ: "at+jwt", Usage: keyring.Tokens, Audiences: keyring.Audiences{Any: true}, MaxTTL: 10 * time.Minute},
		DefaultTTL: 10 * time.Minute, Created: epoch, NextSerial: 1,
		Rotation: keyring.Rotation{Lifetime: 4 * unit, Propagation: unit, Skew: time.Second},
	}
}

// start is a ring whose first key is active.
func (s *search) start() world {
	w := world{budget: s.sc.budget}
	ring := smallRing()
	w.ring = &ring
	s.write(&w, ring)
	s.write(&w, s.fixed(reserve(w.ring, nil, epoch)))
	w.made[1] = w.rev
	next, err := stage(w.ring, 1, s.minted[1], epoch)
	if err != nil {
		s.t.Fatal(err)
	}
	s.write(&w, next)
	s.write(&w, activate(w.ring, nil, 1, epoch))
	w.replica = &view{ring: w.ring}
	return w
}

// fixed gives reservations a nonce that does not multiply the states.
func (s *search) fixed(r keyring.Ring) keyring.Ring {
	for i := range r.Keys {
		r.Keys[i].Nonce = fmt.Sprintf("%032d", r.Keys[i].Serial)
	}
	return r
}

// write is the store's part of Swap once it found no conflict.
func (s *search) write(w *world, next keyring.Ring) error {
	old := w.ring
	if w.rev == 0 {
		old = nil
	}
	kept, err := keyring.Advance(old, next, w.cuts, smallTime, w.rev+1)
	if err != nil {
		return err
	}
	w.rev++
	w.ring = &kept
	return nil
}

// swap is Swap: ok is false on a conflict.
func (s *search) swap(w *world, saw *view, next keyring.Ring) (ok bool, err error) {
	if w.ring.Revision > saw.ring.Revision || len(w.cuts) > saw.cuts && !s.rules.swapIgnoresCutoffs {
		return false, nil
	}
	return true, s.write(w, next)
}

func (s *search) cutoffs(w *world, v *view) keyring.Cutoffs { return w.cuts[:v.cuts] }

// next lists every step that anybody can take in w.
func (s *search) next(w world) []arrow {
	var out []arrow
	add := func(bad string, to world, name string, args ...any) {
		out = append(out, arrow{fmt.Sprintf(name, args...), to, bad})
	}
	s.rotatorSteps(w, add)
	s.operationSteps(w, add)
	s.replicaSteps(w, add)
	if w.late != 0 {
		to := w
		to.made[w.late], to.late = w.rev, 0
		if w.made[w.late] != 0 {
			to.made[w.late] = w.made[w.late]
		}
		add("", to, "the late minting of key %d lands", w.late)
	}
	if w.now < s.sc.units {
		to := w
		to.now++
		to.late = 0 // a minting is bounded, and by less than Policy.Sweep
		add("", to, "time passes to %d", to.now)
	}
	return out
}

type adder = func(bad string, to world, name string, args ...any)

func (s *search) rotatorSteps(w world, add adder) {
	if w.rot.saw == nil {
		saw := &view{ring: w.ring, cuts: len(w.cuts)}
		cuts := w.cuts
		if s.rules.planIgnoresCutoffs {
			cuts = nil
		}
		steps := Plan(saw.ring, cuts, smallRule, s.time(&w))
		if i := slices.IndexFunc(steps, func(s Step) bool { return s.Kind == Forget }); s.rules.forgetAtOnce && i >= 0 {
			steps = []Step{{Kind: Forget, Serial: steps[i].Serial}}
		}
		if len(steps) > 0 && !steps[0].Due.After(s.time(&w)) && (steps[0].Kind != Reserve || saw.ring.NextSerial <= s.sc.serials) {
			to := w
			to.rot = task{saw: saw, step: steps[0]}
			add("", to, "rotator plans %s %d", steps[0].Kind, steps[0].Serial)
		}
		pl := planner{ring: saw.ring, cutoffs: cuts}
		if _, next := pl.roles(); w.budget > 0 && next == nil && saw.ring.NextSerial <= s.sc.serials {
			to := w
			to.budget--
			to.rot = task{saw: saw, step: Step{Kind: Reserve, Serial: saw.ring.NextSerial}}
			add("", to, "somebody asks for a rotation")
		}
		return
	}
	to := w
	to.rot = task{}
	if w.rot.step.Kind == Mint && !w.rot.done {
		to.late = w.rot.step.Serial
	}
	add("", to, "rotator crashes")
	s.jobSteps(w, &w.rot, func(w *world) *task { return &w.rot }, add)
}

// jobSteps does the backend's part of a task, then its write.
func (s *search) jobSteps(w world, j *task, at func(*world) *task, add adder) {
	serial := j.step.Serial
	switch {
	case !j.done && j.step.Kind == Mint:
		to := w
		at(&to).done = true
		if to.made[serial] == 0 {
			to.made[serial] = w.rev
		}
		add("", to, "backend makes key %d", serial)
		return
	case !j.done && (j.step.Kind == Destroy || j.step.Kind == Forget):
		to := w
		at(&to).done = true
		to.made[serial] = 0
		add("", to, "backend destroys key %d", serial)
		return
	}
	to := w
	*at(&to) = task{}
	next, err := s.apply(&w, j)
	if err != nil {
		add("a step could not be written: "+err.Error(), to, "%s %d", j.step.Kind, serial)
		return
	}
	ok, err := s.swap(&to, j.saw, next)
	switch {
	case err != nil:
		add("the store refused a correct program: "+err.Error(), to, "%s %d", j.step.Kind, serial)
	case ok && err == nil:
		add("", to, "writes %s %d as revision %d", j.step.Kind, serial, to.rev)
	}
}

func (s *search) apply(w *world, j *task) (keyring.Ring, error) {
	cuts := s.cutoffs(w, j.saw)
	if s.rules.planIgnoresCutoffs {
		cuts = nil
	}
	switch j.step.Kind {
	case Reserve:
		return s.fixed(reserve(j.saw.ring, cuts, s.time(w))), nil
	case Mint:
		return stage(j.saw.ring, j.step.Serial, s.minted[j.step.Serial], s.time(w))
	case Activate:
		return activate(j.saw.ring, cuts, j.step.Serial, s.time(w)), nil
	default:
		return change(j.saw.ring, j.step, s.time(w)), nil
	}
}

// operationSteps is a revocation of everything into newHome.
func (s *search) operationSteps(w world, add adder) {
	if w.opDone {
		return
	}
	if w.op.saw != nil {
		to := w
		to.op = task{}
		add("", to, "operation crashes and resumes")
		s.jobSteps(w, &w.op, func(w *world) *task { return &w.op }, add)
		return
	}
	own := slices.IndexFunc(w.ring.Keys, func(k keyring.Key) bool { return k.Operation == revoking })
	saw := &view{ring: w.ring, cuts: len(w.cuts)}
	if s.sc.prepared && own < 0 && w.ring.NextSerial <= s.sc.serials {
		to := w
		if ok, err := s.swap(&to, saw, s.ownReservation(w)); ok && err == nil {
			add("", to, "operation reserves its successor as revision %d", to.rev)
		} else if err != nil {
			add("the store refused the operation: "+err.Error(), w, "operation reserves")
		}
	}
	if s.sc.prepared && own >= 0 && w.ring.Keys[own].State == keyring.Reserved {
		to := w
		to.op = task{saw: saw, step: Step{Kind: Mint, Serial: w.ring.Keys[own].Serial}}
		add("", to, "operation plans its minting")
	}
	to := w
	to.opDone = true
	to.prepared = own >= 0 && (w.ring.Keys[own].State == keyring.Staged || w.ring.Keys[own].State == keyring.Active)
	to.rev++
	cut := keyring.Cutoff{Operation: revoking, Reach: keyring.Reach{Kind: keyring.All}, Into: newHome, Reason: "drill", Revision: to.rev}
	if s.sc.stay {
		cut.Into = ""
	}
	if s.rules.noSpare {
		cut.Operation = "another"
	}
	to.cuts = append(slices.Clip(w.cuts), cut)
	if s.rules.lineAtStaging {
		to.ring = stagedLines(to.ring, to.rev)
	}
	to.sure = s.rules.confirmEarly
	add("", to, "CUT at revision %d", to.rev)
}

// stagedLines moves keys that were reserved but not staged at the cut above its line: what would happen if minting dated a key.
func stagedLines(r *keyring.Ring, rev keyring.Revision) *keyring.Ring {
	c := r.Clone()
	for i := range c.Keys {
		if c.Keys[i].State == keyring.Reserved {
			c.Keys[i].Reserved = rev + 1
		}
	}
	return &c
}

func (s *search) ownReservation(w world) keyring.Ring {
	next := w.ring.Clone()
	for i := range next.Keys {
		if next.Keys[i].Successor() {
			next.Keys[i].State, next.Keys[i].Revoked = keyring.Revoked, s.time(&w)
		}
	}
	next.Backend = newHome
	next.Keys = append(next.Keys, keyring.Key{
		Serial: next.NextSerial, State: keyring.Reserved, Operation: revoking, Backend: newHome,
		Algorithm: next.Algorithm, Scope: next.Scope, Created: s.time(&w),
	})
	next.NextSerial++
	return s.fixed(next)
}

func (s *search) replicaSteps(w world, add adder) {
	if w.replica.ring != w.ring || w.replica.cuts != len(w.cuts) {
		to := w
		to.replica = &view{ring: w.ring, cuts: len(w.cuts)}
		to.sure = w.sure || len(w.cuts) > 0
		add("", to, "replica installs revision %d", w.rev)
	}
	sees := func(v *view) *keyring.Key { return keyring.Signer(v.ring, s.cutoffs(&w, v)) }
	switch w.call.phase {
	case 0:
		if k := sees(w.replica); k != nil {
			to := w
			to.call = call{phase: 1, serial: k.Serial, first: w.replica, after: w.sure}
			add("", to, "a call begins: signer %d", k.Serial)
		}
	case 1:
		to := w
		to.call.phase = 2
		add("", to, "the backend signs with key %d", w.call.serial)
	case 2:
		look := w.replica
		if s.rules.staleSecondLook {
			look = w.call.first
		}
		to := w
		if k := sees(look); s.rules.noSecondLook || k != nil && k.Serial == w.call.serial {
			to.call.phase = 3
			to.call.first = nil
			bad := ""
			if now := sees(w.replica); now == nil || now.Serial != w.call.serial {
				bad = "a token leaves although its key is no longer the signer here"
			}
			add(bad, to, "second look passes")
		} else {
			to.call = call{}
			add("", to, "second look fails")
		}
	case 3:
		to := w
		to.call = call{}
		bad := ""
		if k := w.ring.Key(w.call.serial); k != nil && w.call.after && w.cuts.Revoked(w.ring, k) {
			bad = "a call begun after the cut was confirmed returns a token of a revoked key"
		}
		add(bad, to, "token of key %d is returned", w.call.serial)
	}
}

// check holds the invariants against one state.
func (s *search) check(w *world) []string {
	var bad []string
	signer := keyring.Signer(w.ring, w.cuts)
	active := 0
	for i := range w.ring.Keys {
		k := &w.ring.Keys[i]
		if k.State == keyring.Active {
			active++
		}
		born := w.made[k.Serial]
		if w.opDone && !w.cuts.Revoked(w.ring, k) && k.State != keyring.Reserved && k.Operation != revoking && born != 0 && born < w.cuts[0].Revision {
			bad = append(bad, "a key that existed before the cut is above its line")
		}
	}
	if active > 1 {
		bad = append(bad, "two active keys")
	}
	if w.opDone && !s.sc.stay && signer != nil && signer.Backend != newHome {
		bad = append(bad, "after revoke-all --into the signer lives in the old backend")
	}
	if w.prepared && signer == nil {
		bad = append(bad, "no signer although the successor was staged before the cut")
	}
	for serial, born := range w.made {
		if born != 0 && w.ring.Key(uint64(serial)) == nil {
			bad = append(bad, "the backend holds a key that no record names")
		}
	}
	return bad
}

// key identifies a state: two worlds with one key behave alike.
func (s *search) key(w *world) string {
	var b strings.Builder
	see := func(v *view) {
		if v == nil {
			b.WriteString("-;")
			return
		}
		fmt.Fprintf(&b, "%s@%d,%d;", s.record(v.ring), v.ring.Revision, v.cuts)
	}
	fmt.Fprintf(&b, "%d %d %d %s %d %v %d %v %v %v|", w.late, w.now, w.rev, s.record(w.ring), len(w.cuts), w.made, w.budget, w.opDone, w.sure, w.prepared)
	for _, j := range []task{w.rot, w.op} {
		fmt.Fprintf(&b, "%d %d %v ", j.step.Kind, j.step.Serial, j.done)
		see(j.saw)
	}
	see(w.replica)
	fmt.Fprintf(&b, "%d %d %v ", w.call.phase, w.call.serial, w.call.after)
	if s.rules.staleSecondLook {
		see(w.call.first)
	}
	return b.String()
}

func (s *search) record(r *keyring.Ring) string {
	if known, ok := s.encoded[r]; ok {
		return known
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d %d", r.Backend, r.BackendSet, r.NextSerial)
	hours := func(t time.Time) int {
		if t.IsZero() {
			return -1
		}
		return int(t.Sub(epoch) / unit)
	}
	for i := range r.Keys {
		k := &r.Keys[i]
		fmt.Fprintf(&b, "[%d %d %d %s %s %d %d %d %d %d %d]", k.Serial, k.State, k.Reserved, k.Operation, k.Backend,
			hours(k.Staged), hours(k.Activated), hours(k.Retiring), hours(k.Retired), hours(k.Destroy), hours(k.Destroyed))
	}
	s.encoded[r] = b.String()
	return s.encoded[r]
}

// run walks every reachable state and returns the first trace to each kind of violation. It stops early at one that
// contains want.
func (s *search) run(limit int, want string) (states int, complete bool, found map[string][]string) {
	type origin struct {
		from int
		name string
	}
	first := s.start()
	seen := map[string]int{s.key(&first): 0}
	worlds, origins := []world{first}, []origin{{-1, "start"}}
	found = map[string][]string{}
	trace := func(i int, last string) []string {
		steps := []string{last}
		for ; i > 0; i = origins[i].from {
			steps = append(steps, origins[i].name)
		}
		slices.Reverse(steps)
		return steps
	}
	note := func(bad string, i int, last string) {
		if _, known := found[bad]; bad != "" && !known {
			found[bad] = trace(i, last)
		}
	}
	enough := func() bool {
		for bad := range found {
			if want != "" && strings.Contains(bad, want) {
				return true
			}
		}
		return false
	}
	complete = true
	for i := 0; i < len(worlds) && !enough(); i++ {
		for _, bad := range s.check(&worlds[i]) {
			note(bad, i, "")
		}
		for _, a := range s.next(worlds[i]) {
			note(a.bad, i, a.name)
			if a.bad != "" {
				continue
			}
			key := s.key(&a.to)
			if _, known := seen[key]; known {
				continue
			}
			if len(worlds) >= limit {
				complete = false
				continue
			}
			seen[key] = len(worlds)
			worlds, origins = append(worlds, a.to), append(origins, origin{i, a.name})
		}
	}
	return len(worlds), complete, found
}

func TestSmallWorldHolds(t *testing.T) {
	for name, sc := range map[string]scenario{
		"cutting first":   {units: 3, serials: 3, budget: 1},
		"with successors": {prepared: true, units: 2, serials: 3, budget: 1},
	} {
		t.Run(name, func(t *testing.T) {
			limit := 2_000_000
			if testing.Short() {
				limit = 60_000
			}
			states, complete, found := newSearch(t, rules{}, sc).run(limit, "")
			t.Logf("figure: states=%d complete=%v", states, complete)
			for bad, trace := range found {
				t.Errorf("%s:\n\t%s", bad, strings.Join(trace, "\n\t"))
			}
			if !complete && !testing.Short() {
				t.Errorf("the search stopped at %d states", states)
			}
		})
	}
}

// TestSmallWorldSees takes one rule away at a time: each must lead to a violation.
func TestSmallWorldSees(t *testing.T) {
	first, prepared := scenario{units: 1, serials: 3, budget: 1}, scenario{prepared: true, units: 1, serials: 3, budget: 1}
	for _, c := range []struct {
		name  string
		rules rules
		sc    scenario
		want  string
	}{
		{"line at staging", rules{lineAtStaging: true}, scenario{stay: true, units: 1, serials: 3, budget: 1}, "above its line"},
		{"swap ignores cutoffs", rules{swapIgnoresCutoffs: true}, first, "refused"},
		{"second look at the first snapshot", rules{staleSecondLook: true}, first, "no longer the signer here"},
		{"forgotten at once", rules{forgetAtOnce: true}, first, "no record names"},
		{"no second look", rules{noSecondLook: true}, first, "no longer the signer here"},
		{"confirmed before it is installed", rules{confirmEarly: true}, first, "token of a revoked key"},
		{"successors not spared", rules{noSpare: true}, prepared, "no signer although"},
		{"plan ignores cutoffs", rules{planIgnoresCutoffs: true}, first, "old backend"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, found := newSearch(t, c.rules, c.sc).run(200_000, c.want)
			for bad := range found {
				if strings.Contains(bad, c.want) {
					return
				}
			}
			t.Errorf("the search did not see %q; it saw %v", c.want, found)
		})
	}
}
