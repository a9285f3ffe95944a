package keyring

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"time"
)

// Fallen is one ring of which a cutoff fells keys, and those keys.
type Fallen struct {
	Line *Line
	Keys []*Key
}

// FelledBy lists by ring what c fells in snap that had not fallen before it and was in use: what people count. Retired
// keys are revoked as well, and nobody misses them. c may be a cutoff of snap, or one about to be raised on it.
func FelledBy(snap *Snapshot, c *Cutoff) []Fallen {
	earlier := snap.Cutoffs
	if i := slices.IndexFunc(earlier, func(e Cutoff) bool { return e.Revision >= c.Revision }); i >= 0 {
		earlier = earlier[:i]
	}
	var all []Fallen
	for _, line := range snap.Lines() {
		f := Fallen{Line: line}
		for i := range line.Ring.Keys {
			k := &line.Ring.Keys[i]
			gone := !k.Retired.IsZero() || k.State == Revoked && (c.Time.IsZero() || k.Revoked.Before(c.Time))
			if !gone && c.Fells(line.Ring, k) && earlier.Fell(line.Ring, k) == nil {
				f.Keys = append(f.Keys, k)
			}
		}
		if len(f.Keys) > 0 {
			all = append(all, f)
		}
	}
	return all
}

// CountKeys is how many keys have fallen.
func CountKeys(all []Fallen) (n int64) {
	for _, f := range all {
		n += int64(len(f.Keys))
	}
	return n
}

// Impact is what a cutoff would do if it were raised on a snapshot now.
type Impact struct {
	Reach    Reach
	Into     string
	Revision Revision // of the snapshot
	Fallen   []Fallen
	Silenced []Silenced // the rings that would lose their signer
	Last     time.Time  // when the last token of a felled key would have expired; zero when none lives
}

// Silenced is a ring that would lose its signer.
type Silenced struct {
	Fallen
	Last time.Time // when the last token of its felled keys would have expired
	Home string    // the backend of its next key
	Heir bool      // another key of it signs from then on
}

// ImpactOf works out what a cutoff of that reach, raised on snap at now, would do. It is pure: a server's preview and a
// look at the store without a server come to the same.
func ImpactOf(snap *Snapshot, reach Reach, into string, now time.Time) Impact {
	c := Cutoff{Reach: reach, Into: into, Revision: snap.Position.Revision + 1}
	after := append(slices.Clip(snap.Cutoffs), c)
	im := Impact{Reach: reach, Into: into, Revision: snap.Position.Revision, Fallen: FelledBy(snap, &c)}
	for _, f := range im.Fallen {
		var last time.Time
		for _, k := range f.Keys {
			last = latest(last, lastToken(snap, f.Line, k, now))
		}
		im.Last = latest(im.Last, last)
		if f.Line.Signer != nil && slices.Contains(f.Keys, f.Line.Signer) {
			im.Silenced = append(im.Silenced, Silenced{
				Fallen: f, Last: last, Home: after.Home(f.Line.Ring), Heir: Signer(f.Line.Ring, after) != nil,
			})
		}
	}
	return im
}

// lastToken is when the last token of k has expired, if k falls now; zero when it never signed. Other replicas may sign
// until their snapshots have grown stale.
func lastToken(snap *Snapshot, line *Line, k *Key, now time.Time) time.Time {
	var last time.Time
	switch {
	case line.Signer == k || k.State == Active:
		last = now
	case k.State == Retiring:
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

// Digest is SHA-256, in hex, over what a person agrees to: the scope, where successors are made, and which keys fall.
// Every part is preceded by its length, so that no two impacts are written alike.
func (im *Impact) Digest() string {
	var names []string
	for _, f := range im.Fallen {
		for _, k := range f.Keys {
			names = append(names, KeyID(f.Line.Ring.Name, k.Serial))
		}
	}
	slices.Sort(names)
	h := sha256.New()
	for _, part := range append([]string{"intaglio impact 1", im.Reach.Kind.String(), im.Reach.Name, im.Into}, names...) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		h.Write([]byte(part))
	}
	return hex.EncodeToString(h.Sum(nil))
}
