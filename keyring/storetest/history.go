package storetest

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"intaglio.example/keyring"
)

func testPositionsDiffer(f *fixture) {
	seen := map[keyring.Digest]keyring.Position{}
	visit := func(p keyring.Position) {
		f.Helper()
		if q, ok := seen[p.Digest]; ok {
			f.Errorf("%v and %v have one digest", p, q)
		}
		seen[p.Digest] = p
		if now := f.all().Position; now != p {
			f.Errorf("after a write at %v the store is at %v", p, now)
		}
	}
	visit(f.acme(Ring("acme/access")))
	for range 3 {
		visit(f.swap(keyring.Edit{Rings: f.all().Rings})) // the same bytes each time
	}
	visit(f.cut(cutoff("op-1")))
	visit(f.cut(cutoff("op-2")))
}

// testDigestCoversEverything writes the same to two stores but for one detail. It has most to say of stores with one id.
func testDigestCoversEverything(f *fixture) {
	type content struct {
		edit keyring.Edit
		cut  keyring.Cutoff
	}
	base := func() content {
		ring := Ring("acme/access")
		Reserve(&ring)
		ring.Keys[0].Nonce = "00000000000000000000000000000000"
		return content{keyring.Edit{Issuers: []keyring.Issuer{Issuer("acme")}, Rings: []keyring.Ring{ring}, Grants: []keyring.Grant{Grant("ann")}}, cutoff("op-1")}
	}
	write := func(c content) keyring.Digest {
		f.Helper()
		s := f.another()
		_, err := s.Swap(f.Context(), keyring.Position{}, c.edit)
		at, cutErr := s.Cut(f.Context(), c.cut)
		if err := errors.Join(err, cutErr); err != nil {
			f.Fatal(err)
		}
		return at.Digest
	}
	plain := write(base())
	for what, change := range map[string]func(c *content){
		"URL of an issuer": func(c *content) { c.edit.Issuers[0].URL += "/x" },
		"TTL of a ring":    func(c *content) { c.edit.Rings[0].DefaultTTL *= 2 },
		"label of a ring":  func(c *content) { c.edit.Rings[0].Labels = map[string]string{"a": "b"} },
		"nonce of a key":   func(c *content) { c.edit.Rings[0].Keys[0].Nonce = "00000000000000000000000000000001" },
		"flag of a grant":  func(c *content) { c.edit.Grants[0].Deleted = true },
		"verb of a grant":  func(c *content) { c.edit.Grants[0].Verbs = []keyring.Verb{keyring.Audit} },
		"actor of a cut":   func(c *content) { c.cut.Actor = "somebody else" },
		"target of a cut":  func(c *content) { c.cut.Into = "vault" },
	} {
		c := base()
		change(&c)
		if write(c) == plain {
			f.Errorf("another %s makes no other digest", what)
		}
	}
}

// testDeltasAddUp runs [DeltasAddUp] over histories drawn from fixed seeds.
func testDeltasAddUp(f *fixture) {
	for seed := range uint64(30) {
		f.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			draw := rand.New(rand.NewPCG(seed, 0))
			history := make([]byte, 1+draw.IntN(12))
			for i := range history {
				history[i] = byte(draw.Uint32())
			}
			DeltasAddUp(t, f.open, history)
		})
	}
}

// DeltasAddUp checks that whatever happened, a delta since p, applied to what the store held at p, is what it holds now.
// Each byte of history is one step: a cut, or a write of new or of present rows. [Run] does this for a few histories; a
// property test can draw more.
func DeltasAddUp(t *testing.T, open func(t *testing.T) keyring.Store, history []byte) {
	f := newFixture(t, open)
	f.acme()
	moments := []keyring.Changes{f.all()}
	for i, step := range history {
		f.do(i, act{int(step) / 6 % 10, int(step) % 6})
		moments = append(moments, f.all())
	}
	now := moments[len(moments)-1]
	for _, then := range moments {
		delta := f.since(then.Position)
		if delta.Position != now.Position || delta.Full {
			f.Fatalf("the delta since %v leads to %v, the store is at %v", then.Position, delta.Position, now.Position)
		}
		for name, revision := range revisions(delta) {
			if revision <= then.Position.Revision {
				f.Errorf("the delta since %v has %s of revision %d", then.Position, name, revision)
			}
		}
		if got, want := index(then, delta), index(now); !reflect.DeepEqual(got, want) {
			f.Fatalf("since %v\ngot  %+v\nwant %+v", then.Position, got, want)
		}
	}
}

// index lays the rows of later changes over those of earlier ones.
func index(all ...keyring.Changes) map[string]any {
	rows := map[string]any{}
	for _, c := range all {
		for _, v := range c.Issuers {
			rows["issuer "+v.Name] = v
		}
		for _, v := range c.Rings {
			rows["ring "+v.Name] = v
		}
		for _, v := range c.Grants {
			rows["grant "+v.Name] = v
		}
		for _, v := range c.Cutoffs {
			rows["cutoff "+v.Operation] = v
		}
	}
	return rows
}

func revisions(c keyring.Changes) map[string]keyring.Revision {
	revisions := map[string]keyring.Revision{}
	for name, v := range index(c) {
		revisions[name] = keyring.Revision(reflect.ValueOf(v).FieldByName("Revision").Uint())
	}
	return revisions
}

// act is one step of a history: what is done, and to which row.
type act struct{ what, which int }

// do tries one step. The store may refuse it.
func (f *fixture) do(i int, a act) {
	f.Helper()
	now := f.all()
	var err error
	switch {
	case a.what == 0:
		c := cutoff(fmt.Sprintf("op-%d", a.which))
		c.Reach = keyring.Reach{Kind: keyring.OneRing, Name: fmt.Sprintf("acme/r%d", a.which)}
		_, err = f.store.Cut(f.Context(), c)
	case a.what == 1:
		_, err = f.store.Swap(f.Context(), now.Position, keyring.Edit{Issuers: []keyring.Issuer{Issuer(fmt.Sprintf("i%d", i))}, Grants: []keyring.Grant{Grant("ann")}})
	case a.what == 2 || len(now.Rings) == 0:
		ring := Ring(fmt.Sprintf("acme/r%d", a.which))
		Reserve(&ring)
		_, err = f.store.Swap(f.Context(), now.Position, keyring.Edit{Rings: []keyring.Ring{ring}})
	default:
		_, err = f.store.Swap(f.Context(), now.Position, keyring.Edit{Rings: someOf(now, a)})
	}
	if err != nil && !errors.Is(err, keyring.ErrRefused) && !errors.Is(err, keyring.ErrInvalid) {
		f.Fatal(err)
	}
}

// someOf takes one or two rings a step further: their keys, or a new reservation.
func someOf(now keyring.Changes, a act) []keyring.Ring {
	rings := map[string]keyring.Ring{}
	for n := range 1 + a.what%2 {
		r := now.Rings[(a.which+n)%len(now.Rings)]
		if a.what < 5 && len(r.Keys) > 0 {
			k := &r.Keys[len(r.Keys)-1]
			if k.State < keyring.Retired {
				Move(k, k.State+1)
			}
		} else {
			Reserve(&r)
		}
		rings[r.Name] = r
	}
	return slices.Collect(maps.Values(rings))
}
