package server

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/keyring"
)

// maxWorst bounds how many rings an impact lists.
const maxWorst = 1000

// impactToProto words an impact for people.
func (s *Server) impactToProto(snap *keyring.Snapshot, im *keyring.Impact) *pb.Impact {
	out := &pb.Impact{
		Revision: int64(im.Revision), Digest: im.Digest(), Keys: keyring.CountKeys(im.Fallen), Rings: int64(len(im.Fallen)),
		LastTokenExpireTime: instantToProto(im.Last), OutOfReach: s.outOfReach(snap, im),
	}
	for _, w := range im.Silenced {
		ring := &pb.RingImpact{
			Ring: longRing(w.Line.Ring.Name), LastTokenExpireTime: instantToProto(w.Last), Keys: int64(len(w.Keys)), Backend: w.Home,
		}
		if err := s.checkBackend(w.Home, w.Line.Ring.MinProtection); err != nil && !w.Heir {
			ring.NoSuccessor = asFault(err).status().Proto()
		}
		out.Worst = append(out.Worst, ring)
	}
	slices.SortStableFunc(out.Worst, func(a, b *pb.RingImpact) int {
		switch {
		case a.NoSuccessor != nil && b.NoSuccessor == nil:
			return -1
		case a.NoSuccessor == nil && b.NoSuccessor != nil:
			return 1
		}
		return cmp.Compare(b.LastTokenExpireTime.GetSeconds(), a.LastTokenExpireTime.GetSeconds())
	})
	out.Worst = out.Worst[:min(len(out.Worst), maxWorst)]
	return out
}

// outOfReach says what no cutoff stops.
func (s *Server) outOfReach(snap *keyring.Snapshot, im *keyring.Impact) []string {
	if len(im.Fallen) == 0 {
		return nil
	}
	t := snap.Timing
	out := []string{
		fmt.Sprintf("caches of the key set that obey its max-age accept the old keys for up to %s after the cut", span(t.MaxAge+t.SharedCaches)),
		fmt.Sprintf("other replicas sign with the old keys until they have read the cut, at most %s after it", span(t.SnapshotTTL)),
	}
	if !im.Last.IsZero() {
		out = append(out, fmt.Sprintf("verifiers that fetch no key set accept the old tokens until the last has expired, at %s", im.Last.UTC().Format(time.RFC3339)))
	}
	if gone := s.unconfigured(im); len(gone) > 0 {
		out = append(out, fmt.Sprintf("backends that are not configured here (%s) keep the private keys, which nothing will trust", strings.Join(gone, ", ")))
	}
	return out
}

// unconfigured names the backends that hold felled keys and that this server does not know.
func (s *Server) unconfigured(im *keyring.Impact) []string {
	known, gone := s.backends.Names(), []string{}
	for _, f := range im.Fallen {
		for _, k := range f.Keys {
			if !slices.Contains(known, k.Backend) && !slices.Contains(gone, k.Backend) {
				gone = append(gone, k.Backend)
			}
		}
	}
	slices.Sort(gone)
	return gone
}

// operationToProto describes a revocation by its cutoff, as far as snap still has the keys that fell.
func operationToProto(snap *keyring.Snapshot, c *keyring.Cutoff) *pb.Operation {
	all := keyring.FelledBy(snap, c)
	return &pb.Operation{
		Name: "operations/" + c.Operation, State: pb.Operation_STATE_CUT, Verb: "revoke", Scope: scopeToProto(c.Reach),
		Actor: c.Actor, Reason: c.Reason, IntoBackend: c.Into, CutRevision: int64(c.Revision),
		CreateTime: timestamppb.New(c.Time), CutTime: timestamppb.New(c.Time), // the store keeps one time: when it was asked for
		Keys: keyring.CountKeys(all), Rings: int64(len(all)),
	}
}
