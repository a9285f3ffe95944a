package storetest

import (
	"context"
	"errors"
	"reflect"

	"intaglio.example/keyring"
)

func testEmpty(f *fixture) {
	c := f.all()
	if !c.Full || c.Store == "" || len(c.Issuers)+len(c.Rings)+len(c.Grants)+len(c.Cutoffs) != 0 {
		f.Errorf("a new store holds %+v", c)
	}
	if c.Timing != keyring.DefaultTiming() {
		f.Errorf("timing %+v, want the one it was made with", c.Timing)
	}
	if c := f.since(c.Position); c.Full || len(c.Issuers)+len(c.Rings)+len(c.Grants)+len(c.Cutoffs) != 0 {
		f.Errorf("nothing changed, and Changes says %+v", c)
	}
}

func testCancelled(f *fixture) {
	f.acme()
	before := f.all()
	ctx, cancel := context.WithCancel(f.Context())
	cancel()
	if c, err := f.store.Changes(ctx, keyring.Position{}); !errors.Is(err, context.Canceled) || c.Full {
		f.Errorf("Changes: %+v, %v, want context.Canceled", c, err)
	}
	if _, err := f.store.Swap(ctx, before.Position, keyring.Edit{Issuers: []keyring.Issuer{Issuer("other")}}); !errors.Is(err, context.Canceled) {
		f.Errorf("Swap: %v, want context.Canceled", err)
	}
	if _, err := f.store.Cut(ctx, cutoff("op-1")); !errors.Is(err, context.Canceled) {
		f.Errorf("Cut: %v, want context.Canceled", err)
	}
	f.unchanged(before)
}

func testReadBack(f *fixture) {
	ring := Ring("acme/access")
	ring.Labels = map[string]string{"team": "identity"}
	ring.Scope.Audiences = keyring.Audiences{Exact: []string{"api"}, Prefixes: []string{"https://"}}
	Reserve(&ring)
	grant := Grant("ann")
	at := f.swap(keyring.Edit{Issuers: []keyring.Issuer{Issuer("acme")}, Rings: []keyring.Ring{ring}, Grants: []keyring.Grant{grant}})
	f.walk("acme/access", 1, keyring.Staged, keyring.Active)
	cutAt := f.cut(cutoff("op-1"))

	c := f.all()
	if c.Position != cutAt || len(c.Issuers) != 1 || len(c.Rings) != 1 || len(c.Grants) != 1 || len(c.Cutoffs) != 1 {
		f.Fatalf("wrote one of each, read %+v", c)
	}
	issuer := Issuer("acme")
	issuer.Revision, grant.Revision = at.Revision, at.Revision
	if !reflect.DeepEqual(c.Issuers[0], issuer) {
		f.Errorf("issuer %+v, want %+v", c.Issuers[0], issuer)
	}
	if !reflect.DeepEqual(c.Grants[0], grant) {
		f.Errorf("grant %+v, want %+v", c.Grants[0], grant)
	}
	want := cutoff("op-1")
	want.Revision = cutAt.Revision
	if c.Cutoffs[0] != want {
		f.Errorf("cutoff %+v, want %+v", c.Cutoffs[0], want)
	}
	got := c.Rings[0]
	key := got.Key(1)
	if key == nil || key.State != keyring.Active || len(key.PublicKey) != 91 || !reflect.DeepEqual(key.Scope, ring.Scope) {
		f.Fatalf("key %+v", key)
	}
	if !key.Window.NotBefore.Equal(epoch) || key.Window.NotBefore.Location() != epoch.Location() {
		f.Errorf("window %+v does not begin at %v", key.Window, epoch)
	}
	got.Keys, ring.Keys = nil, nil
	ring.Revision, ring.BackendSet = at.Revision+2, at.Revision
	if !reflect.DeepEqual(got, ring) {
		f.Errorf("ring %+v, want %+v", got, ring)
	}
}

func testReadsAreCopies(f *fixture) {
	ring := Ring("acme/access")
	ring.Labels = map[string]string{"team": "identity"}
	Reserve(&ring)
	f.acme(ring)
	f.walk("acme/access", 1, keyring.Staged)
	ring.Labels["team"] = "changed by the writer"
	before, scribble := f.all(), f.all()
	r := &scribble.Rings[0]
	r.Labels["team"] = "changed by a reader"
	r.Keys[0].PublicKey[0]++
	r.Keys[0].State = keyring.Revoked
	f.unchanged(before)
	if team := f.ring("acme/access").Labels["team"]; team != "identity" {
		f.Errorf("the label is %q", team)
	}
}

func testRollback(f *fixture) {
	other := f.another()
	foreign, err := other.Swap(f.Context(), keyring.Position{}, keyring.Edit{Issuers: []keyring.Issuer{Issuer("foreign")}})
	if err != nil {
		f.Fatal(err)
	}
	first := f.acme()
	last := f.cut(cutoff("op-1"))
	before := f.all()
	unknown := map[string]keyring.Position{
		"the future":                     {Revision: last.Revision + 1, Digest: last.Digest},
		"another store at our revision":  {Revision: last.Revision, Digest: foreign.Digest},
		"another store at our past":      {Revision: first.Revision, Digest: foreign.Digest},
		"our past at another revision":   {Revision: last.Revision, Digest: first.Digest},
		"another store before its first": {Digest: foreign.Digest},
		"a revision without a digest":    {Revision: first.Revision},
	}
	for what, p := range unknown {
		if c, err := f.store.Changes(f.Context(), p); !errors.Is(err, keyring.ErrRollback) || c.Full || c.Rings != nil {
			f.Errorf("Changes since %s: %+v, %v, want ErrRollback", what, c, err)
		}
		if _, err := f.store.Swap(f.Context(), p, keyring.Edit{Grants: []keyring.Grant{Grant("ann")}}); !errors.Is(err, keyring.ErrRollback) {
			f.Errorf("Swap as of %s: %v, want ErrRollback", what, err)
		}
	}
	f.unchanged(before)
	for _, p := range []keyring.Position{{}, first, last} {
		if _, err := f.store.Changes(f.Context(), p); err != nil {
			f.Errorf("Changes since our own %v: %v", p, err)
		}
	}
}

// testDelta looks at the pieces of one delta. testDeltasAddUp has the property.
func testDelta(f *fixture) {
	p := f.acme(Ring("acme/access"), Ring("acme/id"))
	f.edit("acme/id", func(r *keyring.Ring) { Reserve(r) })
	f.edit("acme/id", func(r *keyring.Ring) { r.DefaultTTL *= 2 })
	f.swap(keyring.Edit{Grants: []keyring.Grant{Grant("ann")}})
	at := f.cut(cutoff("op-1"))

	c := f.since(p)
	if c.Full || c.Position != at || c.Store == "" || c.Timing != keyring.DefaultTiming() {
		f.Errorf("the delta is %+v", c)
	}
	if len(c.Issuers) != 0 || len(c.Rings) != 1 || len(c.Grants) != 1 || len(c.Cutoffs) != 1 {
		f.Fatalf("one ring, one grant and one cutoff changed, the delta says %+v", c)
	}
	if r := c.Rings[0]; !reflect.DeepEqual(r, f.ring("acme/id")) || r.Revision != p.Revision+2 {
		f.Errorf("the delta has ring %+v", r)
	}
	if c := f.since(at); c.Full || c.Position != at || len(c.Issuers)+len(c.Rings)+len(c.Grants)+len(c.Cutoffs) != 0 {
		f.Errorf("nothing changed since the present, and Changes says %+v", c)
	}
}
