// Package rotation keeps every ring supplied with a key that may sign.
//
// Use [Plan] to see what is due in a ring, when, and why: it is a pure function, and the command line prints the same plan
// that the executor follows. Use a [Rotator] to do it: it takes one step at a time, each one compare-and-swap of the
// ring's record, and can be killed between any two. Crash recovery is the ordinary path: a name is reserved, the key
// is minted idempotently under that name, then recorded.
package rotation

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"intaglio.example/keyring"
)

// Kind is what a step does, in the order in which due steps of one ring are done: first what lets it sign, then what
// cleans up. The zero value is invalid.
type Kind uint8

const (
	// Reserve writes down the name of a successor.
	Reserve Kind = iota + 1
	// Mint makes the reserved key in its backend, and stages it.
	Mint
	// Activate makes the staged key sign; the one before it retires.
	Activate
	// Revoke writes into a key's record what a cutoff said, or gives up a successor that must not sign.
	Revoke
	// Unpublish takes a retiring key out of the key set.
	Unpublish
	// Condemn records the intent to destroy a dead key.
	Condemn
	// Destroy ends a condemned key in its backend.
	Destroy
	// Forget destroys it once more, for a minting that came late, and moves its record to the archive.
	Forget
)

var kindNames = []string{"", "reserve", "mint", "activate", "revoke", "unpublish", "condemn", "destroy", "forget"}

func (k Kind) String() string {
	if int(k) >= len(kindNames) {
		return fmt.Sprintf("step %d", uint8(k))
	}
	return kindNames[k]
}

// Step is one thing to do to one key of a ring.
type Step struct {
	Kind   Kind
	Serial uint64 // of the key; for Reserve the serial it will have
	Due    time.Time
	Why    string // for people
}

// Policy is what planning needs beyond the ring's own settings.
type Policy struct {
	Timing       keyring.Timing
	DestroyAfter time.Duration // a retired key is destroyed this long after it was unpublished
	Sweep        time.Duration // a destroyed key is destroyed again this long after; longer than any minting can take
}

// DefaultPolicy keeps retired keys for a week.
func DefaultPolicy(t keyring.Timing) Policy {
	return Policy{Timing: t, DestroyAfter: 7 * 24 * time.Hour, Sweep: 10 * time.Minute}
}

// Margin is how long before its cap a key gives way: an eighth of its lifetime. A backend may be down that long, and
// rotation stand still, before a ring stops signing.
func Margin(r *keyring.Ring) time.Duration { return r.Rotation.Lifetime / 8 }

// Plan lists what there is to do in ring under cs: first the steps due at now, in the order to do them, then the later
// ones by their time. It is pure. Steps that depend on others, not yet done, are not listed.
func Plan(ring *keyring.Ring, cs keyring.Cutoffs, p Policy, now time.Time) []Step {
	pl := planner{ring: ring, cutoffs: cs, policy: p, now: now}
	for i := range ring.Keys {
		pl.upkeep(&ring.Keys[i])
	}
	if ring.Scope.Usage != keyring.VerifyOnly {
		pl.succession()
	}
	slices.SortStableFunc(pl.steps, func(a, b Step) int {
		if aDue, bDue := !a.Due.After(now), !b.Due.After(now); aDue && bDue {
			return cmp.Compare(a.Kind, b.Kind)
		}
		return a.Due.Compare(b.Due)
	})
	return pl.steps
}

type planner struct {
	ring    *keyring.Ring
	cutoffs keyring.Cutoffs
	policy  Policy
	now     time.Time
	steps   []Step
}

func (pl *planner) add(kind Kind, k *keyring.Key, due time.Time, why string, args ...any) {
	pl.steps = append(pl.steps, Step{Kind: kind, Serial: k.Serial, Due: due, Why: fmt.Sprintf(why, args...)})
}

// needed is how long after it stopped signing a key may still be needed to verify: a replica may sign from its
// snapshot for the snapshot's TTL, the token lives for the ring's max TTL, and signer, verifier and the two rotators
// involved may each be off by the skew, which adds up to two of them.
func (pl *planner) needed(k *keyring.Key) time.Duration {
	return pl.policy.Timing.SnapshotTTL + k.Scope.MaxTTL + 2*pl.ring.Rotation.Skew
}

// upkeep plans the end of one key's life.
func (pl *planner) upkeep(k *keyring.Key) {
	if c := pl.cutoffs.Fell(pl.ring, k); c != nil && k.State != keyring.Revoked {
		pl.add(Revoke, k, pl.now, "the cutoff at revision %d revoked it: %s", c.Revision, c.Reason)
		return
	}
	switch {
	case !k.Destroyed.IsZero():
		due := k.Destroyed.Add(pl.policy.Sweep)
		if k.State == keyring.Revoked { // it stays listed as revoked until its last token would have expired
			due = later(due, k.Revoked.Add(pl.needed(k)))
		}
		pl.add(Forget, k, due, "its backend key is gone")
	case !k.Destroy.IsZero():
		pl.add(Destroy, k, k.Destroy, "condemned at %s", stamp(k.Destroy))
	case k.Retain:
	case k.State == keyring.Retiring:
		pl.add(Unpublish, k, k.Retiring.Add(pl.needed(k)), "its last token has expired by then")
	case k.State == keyring.Retired:
		pl.add(Condemn, k, k.Retired.Add(pl.policy.DestroyAfter), "retired at %s", stamp(k.Retired))
	case k.State == keyring.Revoked:
		pl.add(Condemn, k, k.Revoked, "revoked at %s", stamp(k.Revoked))
	}
}

// succession plans the ring's next signer.
func (pl *planner) succession() {
	active, next := pl.roles()
	switch {
	case next == nil && active == nil:
		pl.add(Reserve, &keyring.Key{Serial: pl.ring.NextSerial}, pl.now, "nothing in the ring can sign")
	case next == nil:
		due := active.Window.SignUntil.Add(-Margin(pl.ring) - pl.ring.Rotation.Propagation)
		pl.add(Reserve, &keyring.Key{Serial: pl.ring.NextSerial}, due, "key %d may sign until %s", active.Serial, stamp(active.Window.SignUntil))
	case next.State == keyring.Reserved:
		pl.minting(next)
	case !pl.now.Before(next.Window.SignUntil):
		pl.add(Revoke, next, pl.now, "it was not activated before its own cap, %s", stamp(next.Window.SignUntil))
	default:
		pl.activation(active, next)
	}
}

func (pl *planner) minting(next *keyring.Key) {
	if home := pl.cutoffs.Home(pl.ring); next.Backend != home {
		pl.add(Revoke, next, pl.now, "it was reserved in %s, and the ring's keys now belong in %s", next.Backend, home)
		return
	}
	if next.Algorithm != pl.ring.Algorithm {
		pl.add(Revoke, next, pl.now, "it was reserved as %s, and the ring's keys are now %s", next.Algorithm, pl.ring.Algorithm)
		return
	}
	pl.add(Mint, next, pl.now, "reserved at %s", stamp(next.Created))
}

func (pl *planner) activation(active, next *keyring.Key) {
	if active == nil {
		pl.add(Activate, next, pl.now, "nothing else in the ring can sign")
		return
	}
	propagated := next.Staged.Add(pl.ring.Rotation.Propagation)
	if cap := active.Window.SignUntil; cap.Before(propagated) {
		pl.add(Activate, next, cap, "key %d may not sign after %s", active.Serial, stamp(cap))
		return
	}
	pl.add(Activate, next, propagated, "published at %s, propagation %v", stamp(next.Staged), pl.ring.Rotation.Propagation)
}

// roles returns the ring's unrevoked active key and its unrevoked successor.
func (pl *planner) roles() (active, next *keyring.Key) {
	for i := range pl.ring.Keys {
		k := &pl.ring.Keys[i]
		if pl.cutoffs.Revoked(pl.ring, k) {
			continue
		}
		if k.State == keyring.Active {
			active = k
		}
		if k.Successor() {
			next = k
		}
	}
	return active, next
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }
