package storetest

import (
	"errors"

	"intaglio.example/keyring"
)

func testCutNeverConflicts(f *fixture) {
	var last keyring.Revision
	for i, operation := range []string{"op-1", "op-2", "op-3"} {
		at := f.cut(cutoff(operation))
		if i > 0 && at.Revision != last+1 {
			f.Errorf("%s was raised at %d, after %d", operation, at.Revision, last)
		}
		last = at.Revision
	}
	f.swapEmpty()
	c := f.all()
	if len(c.Cutoffs) != 3 || c.Cutoffs[0].Operation != "op-1" || c.Cutoffs[2].Operation != "op-3" || c.Cutoffs[2].Revision != last {
		f.Errorf("cutoffs are not the three, oldest first: %+v", c.Cutoffs)
	}
}

// swapEmpty writes something that no cutoff concerns.
func (f *fixture) swapEmpty() {
	f.Helper()
	f.swap(keyring.Edit{Grants: []keyring.Grant{Grant("ann")}})
}

func testCutIdempotent(f *fixture) {
	f.acme()
	into := cutoff("op-1")
	into.Into = "vault"
	into.Reason = "replaced by U+FFFD in JSON: \xff"
	first := f.cut(into)
	f.swapEmpty()
	before := f.all()

	again := into
	again.Time = epoch.AddDate(0, 0, 1) // resumed tomorrow, by somebody else
	again.Actor = "spiffe://example/bob"
	if at := f.cut(again); at != first {
		f.Errorf("raised again: %v, want the first time's %v", at, first)
	}
	for what, change := range map[string]func(c *keyring.Cutoff){
		"reach":  func(c *keyring.Cutoff) { c.Reach = keyring.Reach{Kind: keyring.OneIssuer, Name: "acme"} },
		"target": func(c *keyring.Cutoff) { c.Into = "hsm" },
		"reason": func(c *keyring.Cutoff) { c.Reason = "another" },
	} {
		other := into
		change(&other)
		if at, err := f.store.Cut(f.Context(), other); !errors.Is(err, keyring.ErrInvalid) || at != (keyring.Position{}) {
			f.Errorf("the same operation with another %s: %v, %v, want ErrInvalid", what, at, err)
		}
	}
	f.unchanged(before)
	if c := f.all().Cutoffs; len(c) != 1 || !c[0].Time.Equal(epoch) || c[0].Actor != into.Actor {
		f.Errorf("the cutoff did not stay as it was first raised: %+v", c)
	}
}

func testCutValidated(f *fixture) {
	f.acme()
	before := f.all()
	for what, change := range map[string]func(c *keyring.Cutoff){
		"no operation":    func(c *keyring.Cutoff) { c.Operation = "" },
		"no reason":       func(c *keyring.Cutoff) { c.Reason = "" },
		"no reach":        func(c *keyring.Cutoff) { c.Reach = keyring.Reach{} },
		"all with a name": func(c *keyring.Cutoff) { c.Reach.Name = "acme" },
		"into itself": func(c *keyring.Cutoff) {
			c.Reach, c.Into = keyring.Reach{Kind: keyring.OneBackend, Name: "vault"}, "vault"
		},
	} {
		c := cutoff("op-1")
		change(&c)
		if at, err := f.store.Cut(f.Context(), c); !errors.Is(err, keyring.ErrInvalid) || at != (keyring.Position{}) {
			f.Errorf("a cutoff with %s: %v, %v, want ErrInvalid", what, at, err)
		}
	}
	f.unchanged(before)
	c := cutoff("op-1")
	c.Revision = 4711 // not the caller's to say
	at := f.cut(c)
	if got := f.all().Cutoffs[0].Revision; got != at.Revision || at.Revision != before.Position.Revision+1 {
		f.Errorf("the line is %d, written at %v after %v", got, at, before.Position)
	}
}

func testCutHolds(f *fixture) {
	ring := Ring("acme/access")
	Reserve(&ring)
	f.acme(ring)
	f.walk("acme/access", 1, keyring.Staged, keyring.Active)
	f.edit("acme/access", func(r *keyring.Ring) { Reserve(r) })
	f.walk("acme/access", 2, keyring.Staged)
	f.cut(cutoff("op-1"))

	c := f.all()
	if k := keyring.Signer(&c.Rings[0], c.Cutoffs); k != nil {
		f.Errorf("after the cut key %d signs", k.Serial)
	}
	for serial, state := range map[uint64]keyring.State{1: keyring.Retiring, 2: keyring.Active} {
		r := f.ring("acme/access")
		Move(r.Key(serial), state)
		f.refused(keyring.Edit{Rings: []keyring.Ring{r}}, keyring.ErrRefused)
	}
	// The felled successor leaves its place to a new one, reserved above the line.
	f.edit("acme/access", func(r *keyring.Ring) { Reserve(r) })
	f.walk("acme/access", 3, keyring.Staged)
	c = f.all()
	if k := keyring.Signer(&c.Rings[0], c.Cutoffs); k == nil || k.Serial != 3 {
		f.Errorf("the signer is %+v, want key 3", k)
	}
	f.walk("acme/access", 1, keyring.Revoked)
	f.walk("acme/access", 3, keyring.Active)
}
