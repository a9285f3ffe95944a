package main

import (
	"context"
	"time"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/cmd/intaglio/internal/cli"
	"intaglio.example/cmd/intaglio/internal/client"
	"intaglio.example/keyring"
)

// A watch follows the rings that a cut leaves without their signer until each signs again.
type watch struct {
	a      *app
	c      *client.Client
	parent string            // of the rings to list
	before map[string]string // ring → the signer that falls
	blind  error             // why nothing can be watched
}

// watchEvery is how often a watch looks.
const watchEvery = 250 * time.Millisecond

// newWatch remembers who signs before the cut. Who may revoke but not look is told so.
func newWatch(ctx context.Context, c *client.Client, r *revocation, impact *pb.Impact) *watch {
	w := &watch{a: r.a, c: c, parent: "issuers/-", before: map[string]string{}}
	switch r.reach.Kind {
	case keyring.OneIssuer:
		w.parent = r.reach.Name
	case keyring.OneRing:
		w.parent, _, w.blind = keyring.SplitRing(r.reach.Name)
	case keyring.OneKey:
		var ring string
		if ring, _, w.blind = keyring.SplitKey(r.reach.Name); w.blind == nil {
			w.parent, _, w.blind = keyring.SplitRing(ring)
		}
	}
	if w.blind != nil {
		return w
	}
	falls := map[string]bool{} // those the preview says lose their signer
	for _, ring := range impact.GetWorst() {
		falls[ring.GetRing()] = true
	}
	all, err := listRings(ctx, c, w.parent)
	w.blind = err
	for _, ring := range all.GetRings() {
		whole := r.reach.Kind == keyring.All || r.reach.Kind == keyring.OneIssuer // the preview lists at most 1,000
		if ring.GetSigner() != "" && (whole || falls[ring.GetName()]) {
			w.before[ring.GetName()] = ring.GetSigner()
		}
	}
	return w
}

// wait returns the rings that still have no new signer when ctx ends.
func (w *watch) wait(ctx context.Context, cut int64) []string {
	if w.blind != nil {
		w.a.warn("warning: cannot watch the rings: %v", w.blind)
		return nil
	}
	left, said := w.silent(ctx, cut), -1
	for len(left) > 0 {
		if len(left) != said {
			said = len(left)
			w.a.warn("%s of %s rings sign again", cli.Number(int64(len(w.before)-said)), cli.Number(int64(len(w.before))))
		}
		select {
		case <-ctx.Done():
			return left
		case <-time.After(watchEvery):
		}
		left = w.silent(ctx, cut)
	}
	return nil
}

// silent lists the rings that do not sign, or still sign with a key that was cut, because the replica that answers has
// not seen the cut.
func (w *watch) silent(ctx context.Context, cut int64) []string {
	signers := map[string]string{}
	all, err := listRings(ctx, w.c, w.parent)
	if err == nil {
		for _, ring := range all.GetRings() {
			signers[ring.GetName()] = ring.GetSigner()
		}
	}
	var left []string
	for ring, old := range w.before {
		if now := signers[ring]; now == "" || now == old && !w.above(ctx, now, cut) {
			left = append(left, ring)
		}
	}
	return left
}

// above reports whether a key was reserved after the cut, and so stands: when a revocation is repeated, the signer of before
// may be the one that the first time made.
func (w *watch) above(ctx context.Context, key string, cut int64) bool {
	k, err := w.c.Admin.GetKey(ctx, &pb.GetKeyRequest{Name: key})
	return err == nil && k.GetReservedRevision() > cut
}
