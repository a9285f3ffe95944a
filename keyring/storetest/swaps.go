package storetest

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"intaglio.example/keyring"
)

func testStamps(f *fixture) {
	ring := Ring("acme/access")
	ring.Revision = 999 // not the caller's to say
	Reserve(&ring)
	issuer := Issuer("acme")
	issuer.Revision = 999
	first := f.swap(keyring.Edit{Issuers: []keyring.Issuer{issuer}, Rings: []keyring.Ring{ring}})
	got := f.ring("acme/access")
	if got.Revision != first.Revision || got.BackendSet != first.Revision || got.Keys[0].Reserved != first.Revision {
		f.Errorf("a ring written at %d says revision %d, backend set %d, reserved %d", first.Revision, got.Revision, got.BackendSet, got.Keys[0].Reserved)
	}
	if i := f.all().Issuers[0]; i.Revision != first.Revision {
		f.Errorf("an issuer written at %d says %d", first.Revision, i.Revision)
	}
	f.walk("acme/access", 1, keyring.Staged, keyring.Active)
	f.edit("acme/access", func(r *keyring.Ring) { r.Backend = "vault" })
	f.edit("acme/access", func(r *keyring.Ring) { Reserve(r) })
	got = f.ring("acme/access")
	if got.Revision != first.Revision+4 || got.BackendSet != first.Revision+3 {
		f.Errorf("ring at %d, backend set at %d; want %d and %d", got.Revision, got.BackendSet, first.Revision+4, first.Revision+3)
	}
	if a, b := got.Key(1).Reserved, got.Key(2).Reserved; a != first.Revision || b != first.Revision+4 {
		f.Errorf("keys reserved at %d and %d; want %d and %d", a, b, first.Revision, first.Revision+4)
	}
	f.swap(keyring.Edit{Rings: []keyring.Ring{Ring("acme/other")}})
	if again := f.ring("acme/access"); !reflect.DeepEqual(again, got) {
		f.Errorf("a write of another ring changed this one to %+v", again)
	}
}

func testValidation(f *fixture) {
	f.acme(Ring("acme/access"))
	late := time.Date(12026, 1, 1, 0, 0, 0, 0, time.UTC) // has no RFC 3339 form
	f.refused(keyring.Edit{}, keyring.ErrInvalid)
	f.refused(keyring.Edit{Issuers: []keyring.Issuer{{Name: "No Name", URL: "https://other.example"}}}, keyring.ErrInvalid)
	f.refused(keyring.Edit{Issuers: []keyring.Issuer{{Name: "other", URL: "ftp://other.example"}}}, keyring.ErrInvalid)
	f.refused(keyring.Edit{Issuers: []keyring.Issuer{{Name: "other", URL: "https://other.example", Created: late}}}, keyring.ErrInvalid)
	grants := map[string]func(g *keyring.Grant){
		"a name of spaces":     func(g *keyring.Grant) { g.Name = "Ann Example" },
		"a wildcard principal": func(g *keyring.Grant) { g.Principal = "spiffe://example/*" },
		"no verbs":             func(g *keyring.Grant) { g.Verbs = nil },
		"an unknown verb":      func(g *keyring.Grant) { g.Verbs = []keyring.Verb{99} },
		"no rings":             func(g *keyring.Grant) { g.Rings = nil },
		"half a ring":          func(g *keyring.Grant) { g.Rings = []string{"acme"} },
	}
	for what, spoil := range grants {
		f.Run("a grant with "+what, func(t *testing.T) {
			g := Grant("ann")
			spoil(&g)
			inner := *f
			inner.T = t
			inner.refused(keyring.Edit{Grants: []keyring.Grant{g}}, keyring.ErrInvalid)
		})
	}
	rings := map[string]func(r *keyring.Ring){
		"an unknown usage":        func(r *keyring.Ring) { r.Scope.Usage = 99 },
		"no audience":             func(r *keyring.Ring) { r.Scope.Audiences = keyring.Audiences{} },
		"a propagation too short": func(r *keyring.Ring) { r.Rotation.Propagation = time.Second },
	}
	for what, spoil := range rings {
		f.Run("a ring with "+what, func(t *testing.T) {
			r := Ring("acme/other")
			spoil(&r)
			inner := *f
			inner.T = t
			inner.refused(keyring.Edit{Rings: []keyring.Ring{r}}, keyring.ErrInvalid)
		})
	}
}

func testTwice(f *fixture) {
	f.acme()
	f.refused(keyring.Edit{Rings: []keyring.Ring{Ring("acme/access"), Ring("acme/id"), Ring("acme/access")}}, keyring.ErrInvalid)
	f.refused(keyring.Edit{Grants: []keyring.Grant{Grant("ann"), Grant("ann")}}, keyring.ErrInvalid)
	f.refused(keyring.Edit{Issuers: []keyring.Issuer{Issuer("other"), Issuer("other")}}, keyring.ErrInvalid)
	// One name, two kinds, is fine.
	f.swap(keyring.Edit{Issuers: []keyring.Issuer{Issuer("ann")}, Grants: []keyring.Grant{Grant("ann")}})
}

func testIssuerOfRing(f *fixture) {
	f.refused(keyring.Edit{Rings: []keyring.Ring{Ring("acme/access")}}, keyring.ErrInvalid)
	f.acme(Ring("acme/access")) // an issuer in the same edit will do
	f.swap(keyring.Edit{Rings: []keyring.Ring{Ring("acme/id")}})
	f.refused(keyring.Edit{Issuers: []keyring.Issuer{Issuer("other")}, Rings: []keyring.Ring{Ring("third/access")}}, keyring.ErrInvalid)
}

func testIssuerURLs(f *fixture) {
	f.acme()
	moved := Issuer("acme")
	moved.URL = "https://elsewhere.example"
	f.refused(keyring.Edit{Issuers: []keyring.Issuer{moved}}, keyring.ErrRefused)
	double := Issuer("other")
	double.URL = Issuer("acme").URL
	f.refused(keyring.Edit{Issuers: []keyring.Issuer{double}}, keyring.ErrInvalid)
	a, b := Issuer("a"), Issuer("b")
	b.URL = a.URL
	f.refused(keyring.Edit{Issuers: []keyring.Issuer{a, b}}, keyring.ErrInvalid)
	f.acme() // writing it again as it is changes nothing that matters
}

func testAdvanceRefuses(f *fixture) {
	ring := Ring("acme/access")
	Reserve(&ring)
	f.acme(ring)
	f.walk("acme/access", 1, keyring.Staged, keyring.Active)
	spoils := map[string]func(r *keyring.Ring){
		"a vanished record":       func(r *keyring.Ring) { r.Keys = nil },
		"a backward state":        func(r *keyring.Ring) { r.Keys[0].State = keyring.Staged },
		"an older serial counter": func(r *keyring.Ring) { r.NextSerial = 1 },
		"another typ":             func(r *keyring.Ring) { r.Scope.Typ = "JWT" },
		"another origin":          func(r *keyring.Ring) { r.Created = r.Created.Add(time.Hour) },
		"another line for a key":  func(r *keyring.Ring) { r.Keys[0].Reserved = 1000 },
		"two successors":          func(r *keyring.Ring) { Reserve(r); Reserve(r) },
		"a key out of nothing": func(r *keyring.Ring) {
			Move(r.Key(Reserve(r)), keyring.Staged)
		},
	}
	for what, spoil := range spoils {
		f.Run(what, func(t *testing.T) {
			inner := *f
			inner.T = t
			r := inner.ring("acme/access")
			spoil(&r)
			inner.refused(keyring.Edit{Rings: []keyring.Ring{r}}, keyring.ErrRefused)
		})
	}
}

func testAllOrNone(f *fixture) {
	ring := Ring("acme/access")
	Reserve(&ring)
	f.acme(ring, Ring("acme/id"))
	staged, bad := f.ring("acme/access"), f.ring("acme/id")
	Move(staged.Key(1), keyring.Staged)
	kid := staged.Key(1).Kid
	bad.NextSerial = 0
	f.refused(keyring.Edit{Issuers: []keyring.Issuer{Issuer("other")}, Rings: []keyring.Ring{staged, bad}, Grants: []keyring.Grant{Grant("ann")}}, keyring.ErrRefused)
	if id, ok, err := f.store.KeyByKid(f.Context(), kid); ok || err != nil {
		f.Errorf("a write that failed recorded a kid for %s (%v)", id, err)
	}
	// The kid is still free, for another key too.
	f.edit("acme/id", func(r *keyring.Ring) { Reserve(r) })
	f.edit("acme/id", func(r *keyring.Ring) {
		Move(&r.Keys[0], keyring.Staged)
		r.Keys[0].Kid = kid
	})
}

func testRowConflict(f *fixture) {
	seen := f.acme(Ring("acme/access"), Ring("acme/id"))
	f.edit("acme/id", func(r *keyring.Ring) { r.DefaultTTL *= 2 })
	before := f.all()

	stale := f.ring("acme/id")
	stale.Revision = before.Position.Revision // lying does not help
	for what, e := range map[string]keyring.Edit{
		"alone":           {Rings: []keyring.Ring{stale}},
		"among others":    {Rings: []keyring.Ring{f.ring("acme/access"), stale}, Grants: []keyring.Grant{Grant("ann")}},
		"as if it is new": {Rings: []keyring.Ring{Ring("acme/id")}},
	} {
		if at, err := f.store.Swap(f.Context(), seen, e); !errors.Is(err, keyring.ErrConflict) || at != (keyring.Position{}) {
			f.Errorf("a stale ring %s: %v, %v, want ErrConflict", what, at, err)
		}
	}
	if _, err := f.store.Swap(f.Context(), keyring.Position{}, keyring.Edit{Issuers: []keyring.Issuer{Issuer("acme")}}); !errors.Is(err, keyring.ErrConflict) {
		f.Errorf("an issuer that was there all along: %v, want ErrConflict", err)
	}
	f.unchanged(before)

	// Rows that did not change since go through.
	fresh := f.ring("acme/access")
	if _, err := f.store.Swap(f.Context(), seen, keyring.Edit{Rings: []keyring.Ring{fresh}, Grants: []keyring.Grant{Grant("ann")}}); err != nil {
		f.Errorf("a write of other rows: %v", err)
	}
	if _, err := f.store.Swap(f.Context(), seen, keyring.Edit{Grants: []keyring.Grant{Grant("ann")}}); !errors.Is(err, keyring.ErrConflict) {
		f.Errorf("a grant that somebody else made first: %v, want ErrConflict", err)
	}
}

func testCutoffConflict(f *fixture) {
	seen := f.acme(Ring("acme/access"))
	c := cutoff("op-1")
	c.Reach = keyring.Reach{Kind: keyring.OneIssuer, Name: "acme"}
	f.cut(c)
	before := f.all()
	for what, e := range map[string]keyring.Edit{
		"a ring":             {Rings: []keyring.Ring{before.Rings[0]}},
		"a new ring":         {Rings: []keyring.Ring{Ring("acme/id")}},
		"a grant and a ring": {Grants: []keyring.Grant{Grant("ann")}, Rings: []keyring.Ring{before.Rings[0]}},
	} {
		if at, err := f.store.Swap(f.Context(), seen, e); !errors.Is(err, keyring.ErrConflict) || at != (keyring.Position{}) {
			f.Errorf("writing %s as of before a cutoff: %v, %v, want ErrConflict", what, at, err)
		}
	}
	f.unchanged(before)
	f.edit("acme/access", func(r *keyring.Ring) { Reserve(r) })
}

// testForeignCutoff: a cutoff that concerns none of its rings stops no write, so that who may revoke one ring cannot stop
// the rotation of others.
func testForeignCutoff(f *fixture) {
	seen := f.acme(Ring("acme/access"))
	c := cutoff("op-1")
	c.Reach = keyring.Reach{Kind: keyring.OneRing, Name: "acme/elsewhere"}
	f.cut(c)
	r := f.all().Rings[0]
	Reserve(&r)
	for what, e := range map[string]keyring.Edit{
		"another ring": {Rings: []keyring.Ring{r}},
		"a new ring":   {Rings: []keyring.Ring{Ring("acme/id")}},
		"a grant":      {Grants: []keyring.Grant{Grant("ann")}},
		"an issuer":    {Issuers: []keyring.Issuer{Issuer("other")}},
	} {
		if _, err := f.store.Swap(f.Context(), seen, e); err != nil {
			f.Errorf("writing %s as of before a cutoff of acme/elsewhere: %v", what, err)
		}
	}
}

func testKidKnown(f *fixture) {
	a, b := Ring("acme/a"), Ring("acme/b")
	Reserve(&a)
	Reserve(&b)
	f.acme(a, b)
	a, b = f.ring("acme/a"), f.ring("acme/b")
	Move(a.Key(1), keyring.Staged)
	Move(b.Key(1), keyring.Staged)
	ownKid := b.Key(1).Kid
	kid := a.Key(1).Kid
	b.Key(1).Kid = kid
	f.refused(keyring.Edit{Rings: []keyring.Ring{a, b}}, keyring.ErrKidKnown) // in one write
	f.swap(keyring.Edit{Rings: []keyring.Ring{a}})
	f.refused(keyring.Edit{Rings: []keyring.Ring{b}}, keyring.ErrKidKnown)
	b.Key(1).Kid = ownKid
	f.swap(keyring.Edit{Rings: []keyring.Ring{b}})
	f.knows(kid, "acme/a/1")
	f.knows(ownKid, "acme/b/1")

	f.walk("acme/a", 1, keyring.Active)
	f.edit("acme/a", func(r *keyring.Ring) { Reserve(r) })
	c := f.ring("acme/a")
	Move(c.Key(2), keyring.Staged)
	c.Key(2).Kid = kid
	f.refused(keyring.Edit{Rings: []keyring.Ring{c}}, keyring.ErrKidKnown) // in its own ring
	f.knows(kid, "acme/a/1")
	if id, ok, err := f.store.KeyByKid(f.Context(), "never seen"); ok || err != nil {
		f.Errorf("an unknown kid belongs to %q, %v", id, err)
	}
}

func (f *fixture) knows(kid, want string) {
	f.Helper()
	if id, ok, err := f.store.KeyByKid(f.Context(), kid); err != nil || !ok || id != want {
		f.Errorf("kid of %s belongs to %q, %v, %v", want, id, ok, err)
	}
}

func testArchive(f *fixture) {
	ring := Ring("acme/access")
	Reserve(&ring)
	f.acme(ring, Ring("acme/id"))
	f.walk("acme/access", 1, keyring.Staged, keyring.Revoked)
	f.edit("acme/access", func(r *keyring.Ring) { Reserve(r) })
	f.walk("acme/access", 2, keyring.Revoked) // never minted: it has no kid
	leave := func(serial uint64, want error) {
		f.Helper()
		r := f.ring("acme/access")
		for i := range r.Keys {
			if r.Keys[i].Serial == serial {
				r.Keys = append(r.Keys[:i], r.Keys[i+1:]...)
				break
			}
		}
		if want == nil {
			f.swap(keyring.Edit{Rings: []keyring.Ring{r}})
		} else {
			f.refused(keyring.Edit{Rings: []keyring.Ring{r}}, want)
		}
	}
	leave(1, keyring.ErrRefused)
	f.edit("acme/access", func(r *keyring.Ring) { r.Key(1).Destroy, r.Key(2).Destroy = epoch, epoch })
	leave(1, keyring.ErrRefused)
	f.edit("acme/access", func(r *keyring.Ring) { r.Key(1).Destroyed, r.Key(2).Destroyed = epoch, epoch })
	last := f.ring("acme/access").Keys
	f.archived("acme/access", nil)
	leave(2, nil)
	f.archived("acme/access", last[1:])
	leave(1, nil)
	f.archived("acme/access", last)
	f.archived("acme/id", nil)
	if r := f.ring("acme/access"); len(r.Keys) != 0 || r.NextSerial != 3 {
		f.Errorf("the ring is %+v", r)
	}

	f.knows(last[0].Kid, "acme/access/1")
	f.edit("acme/id", func(r *keyring.Ring) { Reserve(r) })
	thief := f.ring("acme/id")
	Move(thief.Key(1), keyring.Staged)
	thief.Key(1).Kid = last[0].Kid
	f.refused(keyring.Edit{Rings: []keyring.Ring{thief}}, keyring.ErrKidKnown)
	back := f.ring("acme/access")
	back.Keys = last
	f.refused(keyring.Edit{Rings: []keyring.Ring{back}}, keyring.ErrRefused)
}

func (f *fixture) archived(ring string, want []keyring.Key) {
	f.Helper()
	got, err := f.store.Archived(f.Context(), ring)
	if err != nil || len(got) != len(want) || len(want) > 0 && !reflect.DeepEqual(got, want) {
		f.Errorf("the archive of %s holds %+v, %v; want %+v", ring, got, err, want)
	}
}
