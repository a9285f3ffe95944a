package rotation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"intaglio.example/keyring"
)

// ErrNotPropagated: a successor has not been published for long enough to sign.
var ErrNotPropagated = errors.New("not propagated")

// ErrNothingToRotate: the ring holds imported public keys.
var ErrNothingToRotate = errors.New("there is nothing to rotate")

// Asked lists the steps that a rotation of ring takes when somebody asks for it at now, whether or not it is due: with no
// successor, one is reserved, minted and published; one that has been published for the ring's propagation time is
// activated. accept, when given, is a shorter time that the caller takes for enough. It is pure. ErrNotPropagated when the
// successor is younger than that, ErrNothingToRotate for a ring that never signs.
func Asked(ring *keyring.Ring, cs keyring.Cutoffs, now time.Time, accept *time.Duration) ([]Step, error) {
	if ring.Scope.Usage == keyring.VerifyOnly {
		return nil, fmt.Errorf("%w: ring %s holds imported public keys", ErrNothingToRotate, ring.Name)
	}
	const why = "asked for"
	pl := planner{ring: ring, cutoffs: cs, now: now}
	active, next := pl.roles()
	fresh := []Step{{Reserve, ring.NextSerial, now, why}, {Mint, ring.NextSerial, now, why}}
	switch {
	case next == nil && published(ring, cs) >= maxPublished:
		return nil, fmt.Errorf("%w: ring %s has %d published keys already, and every verifier fetches them all; wait until the oldest is unpublished, or revoke keys",
			keyring.ErrRefused, ring.Name, maxPublished)
	case next == nil:
		return fresh, nil
	case next.State == keyring.Reserved:
		pl.minting(next)
		if pl.steps[0].Kind == Revoke { // it was reserved for what the ring no longer is
			return append(pl.steps, fresh...), nil
		}
		return pl.steps, nil
	case active != nil && now.Sub(next.Staged) < wanted(ring, accept):
		return nil, fmt.Errorf("%w: %s has been published for %v of %v: verifiers that have not fetched the key set since would refuse its tokens",
			ErrNotPropagated, keyring.KeyID(ring.Name, next.Serial), now.Sub(next.Staged).Round(time.Second), wanted(ring, accept))
	}
	return []Step{{Activate, next.Serial, now, why}}, nil
}

// maxPublished bounds how many keys of a ring people can have published at once by asking for rotations. A key set serves
// all rings of an issuer, and some verifiers stop looking after a hundred keys.
const maxPublished = 16

func published(ring *keyring.Ring, cs keyring.Cutoffs) (n int) {
	for i := range ring.Keys {
		if k := &ring.Keys[i]; k.State.Published() && !cs.Revoked(ring, k) {
			n++
		}
	}
	return n
}

func wanted(ring *keyring.Ring, accept *time.Duration) time.Duration {
	if accept == nil {
		return ring.Rotation.Propagation
	}
	return min(ring.Rotation.Propagation, *accept)
}

// Rotate does what [Asked] says, and returns the steps it took. When the executor takes some of them first, it goes on
// from there.
func (r *Rotator) Rotate(ctx context.Context, ring string, accept *time.Duration) ([]Step, error) {
	var done []Step
	for range 8 { // at most three steps, with room for conflicts
		s, l, err := r.line(ring)
		if err != nil {
			return done, err
		}
		steps, err := Asked(l.Ring, s.Cutoffs, r.c.Now(), accept)
		if len(done) > 0 && done[len(done)-1].Kind == Reserve && (err != nil || steps[0].Serial != done[len(done)-1].Serial || steps[0].Kind == Activate) {
			reserved := done[len(done)-1]
			return append(done, Step{Mint, reserved.Serial, reserved.Due, reserved.Why}), nil // the executor was faster
		}
		if err != nil {
			return done, err
		}
		wrote, err := r.do(ctx, s, l.Ring, steps[0])
		if err != nil {
			return done, err
		}
		if wrote {
			done = append(done, steps[0])
		}
		if wrote && len(steps) == 1 {
			return done, nil
		}
	}
	return done, fmt.Errorf("%w: ring %s is being changed by others at the same time", keyring.ErrConflict, ring)
}
