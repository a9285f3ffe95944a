package keyring

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func drawReach(t *rapid.T) Reach {
	return rapid.SampledFrom([]Reach{
		{Kind: All}, {OneIssuer, "payments"}, {OneIssuer, "other"}, {OneRing, "payments/access"}, {OneRing, "payments/id"},
		{OneKey, "payments/access/1"}, {OneKey, "payments/access/2"}, {OneBackend, "soft"}, {OneBackend, "hsm"},
	}).Draw(t, "reach")
}

func drawCutoffs(t *rapid.T) Cutoffs {
	n := rapid.IntRange(0, 4).Draw(t, "cutoffs")
	revisions := rapid.SliceOfNDistinct(rapid.Uint64Range(1, 20), n, n, rapid.ID[uint64]).Draw(t, "revisions")
	slices.Sort(revisions)
	cs := Cutoffs{}
	for i, r := range revisions {
		into := rapid.SampledFrom([]string{"", "new"}).Draw(t, "into")
		cs = append(cs, Cutoff{Operation: fmt.Sprint("op", i), Reach: drawReach(t), Into: into, Reason: "r", Revision: Revision(r)})
	}
	return cs
}

// drawRing is any ring the store could hold: at most one active key, any number of others.
func drawRing(t *rapid.T) Ring {
	r := testRing()
	active := false
	for serial := range uint64(rapid.IntRange(0, 4).Draw(t, "keys")) {
		state := rapid.SampledFrom(allStates).Draw(t, "state")
		if state == Active && active {
			state = Retiring
		}
		active = active || state == Active
		k := testKey(serial+1, state)
		k.Reserved = Revision(rapid.Uint64Range(1, 20).Draw(t, "reserved"))
		k.Operation = rapid.SampledFrom([]string{"", "op0", "op1", "op9"}).Draw(t, "operation")
		k.Backend = rapid.SampledFrom([]string{"soft", "hsm"}).Draw(t, "backend")
		r.Keys = append(r.Keys, k)
	}
	return r
}

// TestFellIsTheDefinition compares the short walk with the sentence that defines it.
func TestFellIsTheDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, cs := drawRing(t), drawCutoffs(t)
		for i := range r.Keys {
			k := &r.Keys[i]
			felled := slices.ContainsFunc(cs, func(c Cutoff) bool {
				covered := c.Reach.Kind == All || c.Reach == Reach{OneIssuer, "payments"} || c.Reach == Reach{OneRing, r.Name} ||
					c.Reach == Reach{OneKey, KeyID(r.Name, k.Serial)} || c.Reach == Reach{OneBackend, k.Backend}
				return covered && k.Reserved <= c.Revision && (k.Operation != c.Operation || k.Operation == "")
			})
			if got := cs.Fell(&r, k) != nil; got != felled {
				t.Fatalf("key %d reserved at %d in %s by %q under %+v: felled %v", k.Serial, k.Reserved, k.Backend, k.Operation, cs, got)
			}
		}
	})
}

// TestSignerIsTheDefinition: the active key unless it is revoked, else an unrevoked staged one, else none; and one more
// cutoff never makes a key sign that was dead before.
func TestSignerIsTheDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, cs := drawRing(t), drawCutoffs(t)
		s := Signer(&r, cs)
		for i := range r.Keys {
			k := &r.Keys[i]
			if k.State == Active && !cs.Revoked(&r, k) && s != k {
				t.Fatalf("active key %d does not sign", k.Serial)
			}
			if k.State == Staged && !cs.Revoked(&r, k) && s == nil {
				t.Fatalf("staged key %d does not sign, nor does another", k.Serial)
			}
		}
		if s == nil {
			return
		}
		if cs.Revoked(&r, s) || s.State != Active && s.State != Staged {
			t.Fatalf("key %d signs as %s, revoked %v", s.Serial, s.State, cs.Revoked(&r, s))
		}
		more := append(slices.Clone(cs), Cutoff{Operation: "op9", Reach: drawReach(t), Reason: "r", Revision: 30})
		if next := Signer(&r, more); next != nil && cs.Revoked(&r, next) {
			t.Fatalf("a cutoff revived key %d", next.Serial)
		}
	})
}

// TestAllFellsEverything: after a cutoff of everything, nothing signs but what its own operation reserved or what was
// reserved later.
func TestAllFellsEverything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, cs := drawRing(t), drawCutoffs(t)
		line := Revision(rapid.Uint64Range(1, 25).Draw(t, "line"))
		cs = append(cs, Cutoff{Operation: "op9", Reach: Reach{Kind: All}, Reason: "r", Revision: line})
		slices.SortFunc(cs, func(a, b Cutoff) int { return int(a.Revision) - int(b.Revision) })
		if s := Signer(&r, cs); s != nil && s.Reserved <= line && s.Operation != "op9" {
			t.Fatalf("key %d, reserved at %d, signs after the cut at %d", s.Serial, s.Reserved, line)
		}
	})
}

func TestHome(t *testing.T) {
	r := testRing()
	r.BackendSet = 10
	for _, c := range []struct {
		name string
		cs   Cutoffs
		want string
	}{
		{"no cutoff", nil, "soft"},
		{"a newer cutoff", Cutoffs{{Reach: Reach{Kind: All}, Into: "new", Revision: 11}}, "new"},
		{"an older cutoff", Cutoffs{{Reach: Reach{Kind: All}, Into: "new", Revision: 9}}, "soft"},
		{"a newer one that says nothing", Cutoffs{{Reach: Reach{Kind: All}, Into: "new", Revision: 11}, {Reach: Reach{Kind: All}, Revision: 12}}, "new"},
		{"the newest that says", Cutoffs{{Reach: Reach{Kind: All}, Into: "new", Revision: 11}, {Reach: Reach{OneRing, r.Name}, Into: "newer", Revision: 12}}, "newer"},
		{"another ring's", Cutoffs{{Reach: Reach{OneRing, "payments/id"}, Into: "new", Revision: 11}}, "soft"},
		{"its issuer's", Cutoffs{{Reach: Reach{OneIssuer, "payments"}, Into: "new", Revision: 11}}, "new"},
		{"one of its keys'", Cutoffs{{Reach: Reach{OneKey, "payments/access/3"}, Into: "new", Revision: 11}}, "new"},
		{"its backend's", Cutoffs{{Reach: Reach{OneBackend, "soft"}, Into: "new", Revision: 11}}, "new"},
		{"a chain: all into new, then new into newer", Cutoffs{{Reach: Reach{Kind: All}, Into: "new", Revision: 11}, {Reach: Reach{OneBackend, "new"}, Into: "newer", Revision: 12}}, "newer"},
		{"a chain: the backend it has left", Cutoffs{{Reach: Reach{Kind: All}, Into: "new", Revision: 11}, {Reach: Reach{OneBackend, "soft"}, Into: "newer", Revision: 12}}, "new"},
		{"another backend's", Cutoffs{{Reach: Reach{OneBackend, "hsm"}, Into: "new", Revision: 11}}, "soft"},
	} {
		if got := c.cs.Home(&r); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestSince(t *testing.T) {
	r := testRing(testKey(1, Active), testKey(2, Staged))
	r.Keys[1].Backend = "hsm"
	for reach, want := range map[Reach]bool{
		{Kind: All}: true, {OneIssuer, "payments"}: true, {OneIssuer, "other"}: false, {OneRing, "payments/access"}: true, {OneRing, "payments/id"}: false,
		{OneKey, "payments/access/1"}: true, {OneKey, "payments/id/1"}: false, {OneBackend, "soft"}: true, {OneBackend, "hsm"}: true, {OneBackend, "other"}: false,
	} {
		cs := Cutoffs{{Operation: "op", Reach: reach, Reason: "r", Revision: 20}}
		if got := cs.Since(19, &r) != nil; got != want {
			t.Errorf("%v concerns the ring: %v, want %v", reach, got, want)
		}
		if cs.Since(20, &r) != nil {
			t.Errorf("%v was raised at 20, and is after 20", reach)
		}
	}
}

func TestBadCutoffs(t *testing.T) {
	good := Cutoff{Operation: "op", Reason: "r", Reach: Reach{OneBackend, "soft"}, Into: "new"}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []Cutoff{
		{Reason: "r", Reach: Reach{Kind: All}},
		{Operation: "op", Reach: Reach{Kind: All}},
		{Operation: "op", Reason: "r"},
		{Operation: "op", Reason: "r", Reach: Reach{All, "x"}},
		{Operation: "op", Reason: "r", Reach: Reach{OneRing, "x"}},
		{Operation: "op", Reason: "r", Reach: Reach{OneKey, "a/b"}},
		{Operation: "op", Reason: "r", Reach: Reach{OneKey, "a/b/01"}},
		{Operation: "op", Reason: "r", Reach: Reach{OneIssuer, ""}},
		{Operation: "op", Reason: "r", Reach: Reach{OneBackend, "soft"}, Into: "soft"},
		{Operation: "op", Reason: "r", Reach: Reach{Kind: All}, Into: "a/b"},
	} {
		if c.Validate() == nil {
			t.Errorf("accepted %+v", c)
		}
	}
}
