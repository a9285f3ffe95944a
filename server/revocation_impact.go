package server

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "intaglio.example/api/intagliov1"
	"intaglio.example/keyring"
)

// fallen is one ring of which a cutoff fells keys.
type fallen struct {
	line *keyring.Line
	keys []*keyring.Key
}

// felledBy lists what c fells in snap that had not fallen before it, and was not out of use: what people count. Retired
// keys are revoked as well, and nobody misses them. c may be a cutoff of snap, or one about to be raised on it.
func felledBy(snap *keyring.Snapshot, c *keyring.Cutoff) []fallen {
	earlier := snap.Cutoffs
	if i := slices.IndexFunc(earlier, func(e keyring.Cutoff) bool { return e.Revision >= c.Revision }); i >= 0 {
		earlier = earlier[:i]
	}
	var all []fallen
	for _, line := range snap.Lines() {
		f := fallen{line: line}
		for i := range line.Ring.Keys {
			k := &line.Ring.Keys[i]
			gone := !k.Retired.IsZero() || k.State == keyring.Revoked && (c.Time.IsZero() || k.Revoked.Before(c.Time))
			if !gone && c.Fells(line.Ring, k) && earlier.Fell(line.Ring, k) == nil {
				f.keys = append(f.keys, k)
			}
		}
		if len(f.keys) > 0 {
			all = append(all, f)
		}
	}
	return all
}

func countKeys(all []fallen) (n int64) {
	for _, f := range all {
		n += int64(len(f.keys))
	}
	return n
}

// impact is what a cutoff would do if it were raised on a snapshot.
type impact struct {
	reach    keyring.Reach
	into     string
	revision keyring.Revision
	fallen   []fallen
	silenced []silenced // the rings that would lose their signer
	last     time.Time  // when the last token of a felled key would have expired
}

// silenced is a ring that would lose its signer.
type silenced struct {
	fallen
	last time.Time // when the last token of its felled keys would have expired
	home string    // where its next key would be made
	heir bool      // another key of it signs from then on
}

// impactOf works out what a cutoff of that reach, raised on snap now, would do. It is pure.
func impactOf(snap *keyring.Snapshot, reach keyring.Reach, into string, now time.Time) impact {
	c := keyring.Cutoff{Reach: reach, Into: into, Revision: snap.Position.Revision + 1}
	after := append(slices.Clip(snap.Cutoffs), c)
	im := impact{reach: reach, into: into, revision: snap.Position.Revision, fallen: felledBy(snap, &c)}
	for _, f := range im.fallen {
		last := time.Time{}
		for _, k := range f.keys {
			last = latest(last, lastToken(snap, f.line, k, now))
		}
		im.last = latest(im.last, last)
		if f.line.Signer != nil && slices.Contains(f.keys, f.line.Signer) {
			im.silenced = append(im.silenced, silenced{
				fallen: f, last: last, home: after.Home(f.line.Ring), heir: keyring.Signer(f.line.Ring, after) != nil,
			})
		}
	}
	return im
}

// lastToken is when the last token of k has expired, if k falls now; zero when it never signed. Other replicas may sign
// until their snapshots have grown stale.
func lastToken(snap *keyring.Snapshot, line *keyring.Line, k *keyring.Key, now time.Time) time.Time {
	var last time.Time
	switch {
	case line.Signer == k || k.State == keyring.Active:
		last = now
	case k.State == keyring.Retiring:
		last = k.Retiring
	default:
		return time.Time{}
	}
	last = last.Add(snap.Timing.SnapshotTTL + k.Scope.MaxTTL)
	if last.After(k.Window.VerifyUntil) {
		return k.Window.VerifyUntil
	}
	return last
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// digest is SHA-256, in hex, over what a person agrees to: the scope, where successors are made, and which keys fall.
// Every part is preceded by its length, so that no two impacts are written alike.
func (im *impact) digest() string {
	names := []string{}
	for _, f := range im.fallen {
		for _, k := range f.keys {
			names = append(names, keyring.KeyID(f.line.Ring.Name, k.Serial))
		}
	}
	slices.Sort(names)
	h := sha256.New()
	for _, part := range append([]string{"intaglio impact 1", im.reach.Kind.String(), im.reach.Name, im.into}, names...) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		h.Write([]byte(part))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// maxWorst bounds how many rings an impact lists.
const maxWorst = 1000

// impactToProto words an impact for people.
func (s *Server) impactToProto(snap *keyring.Snapshot, im *impact) *pb.Impact {
	out := &pb.Impact{
		Revision: int64(im.revision), Digest: im.digest(), Keys: countKeys(im.fallen), Rings: int64(len(im.fallen)),
		LastTokenExpireTime: instantToProto(im.last), OutOfReach: s.outOfReach(snap, im),
	}
	for _, w := range im.silenced {
		ring := &pb.RingImpact{
			Ring: longRing(w.line.Ring.Name), LastTokenExpireTime: instantToProto(w.last), Keys: int64(len(w.keys)), Backend: w.home,
		}
		if err := s.checkBackend(w.home, w.line.Ring.MinProtection); err != nil && !w.heir {
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
func (s *Server) outOfReach(snap *keyring.Snapshot, im *impact) []string {
	if len(im.fallen) == 0 {
		return nil
	}
	t := snap.Timing
	out := []string{
		fmt.Sprintf("caches of the key set that obey its max-age accept the old keys for up to %s after the cut", span(t.MaxAge+t.SharedCaches)),
		fmt.Sprintf("other replicas sign with the old keys until they have read the cut, at most %s after it", span(t.SnapshotTTL)),
	}
	if !im.last.IsZero() {
		out = append(out, fmt.Sprintf("verifiers that fetch no key set accept the old tokens until the last has expired, at %s", im.last.UTC().Format(time.RFC3339)))
	}
	if gone := s.unconfigured(im); len(gone) > 0 {
		out = append(out, fmt.Sprintf("backends that are not configured here (%s) keep the private keys, which nothing will trust", strings.Join(gone, ", ")))
	}
	return out
}

// unconfigured names the backends that hold felled keys and that this server does not know.
func (s *Server) unconfigured(im *impact) []string {
	known, gone := s.backends.Names(), []string{}
	for _, f := range im.fallen {
		for _, k := range f.keys {
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
	all := felledBy(snap, c)
	return &pb.Operation{
		Name: "operations/" + c.Operation, State: pb.Operation_STATE_CUT, Verb: "revoke", Scope: scopeToProto(c.Reach),
		Actor: c.Actor, Reason: c.Reason, IntoBackend: c.Into, CutRevision: int64(c.Revision),
		CreateTime: timestamppb.New(c.Time), CutTime: timestamppb.New(c.Time), // the store keeps one time: when it was asked for
		Keys: countKeys(all), Rings: int64(len(all)),
	}
}
