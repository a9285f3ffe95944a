package keyring

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	noon   = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	timing = Timing{SnapshotTTL: 10 * time.Second, MaxAge: time.Minute}
)

func testRing(keys ...Key) Ring {
	return Ring{
		Name: "payments/access", Algorithm: "ES256", Backend: "soft", BackendSet: 1, MinProtection: Software,
		Scope:      Scope{Typ: "at+jwt", Usage: Tokens, Audiences: Audiences{Exact: []string{"https://api"}}, MaxTTL: time.Hour},
		DefaultTTL: time.Minute, Created: noon, NextSerial: 10, Keys: keys, Revision: 1,
		Rotation: Rotation{Lifetime: 24 * time.Hour, Propagation: time.Hour, Skew: time.Second},
	}
}

// testKey is a key as it would stand in the given state.
func testKey(serial uint64, state State) Key {
	k := Key{
		Serial: serial, Nonce: strings.Repeat("0", 32), State: state, Reserved: Revision(serial), Backend: "soft",
		Algorithm: "ES256", Created: noon, Scope: testRing().Scope,
	}
	if state > Reserved {
		k.Ref, k.Kid, k.PublicKey, k.Protection, k.Staged = "ref", KeyID("kid", serial), []byte{1}, Software, noon
		k.Window = Window{NotBefore: noon, SignUntil: noon.Add(time.Hour), VerifyUntil: noon.Add(2 * time.Hour)}
	}
	return k
}

var (
	allStates = []State{Reserved, Staged, Active, Retiring, Retired, Revoked}
	rev       = Revision(100)
)

// TestMoves holds Advance against the picture of the states: every pair, and nothing but the pairs in it.
func TestMoves(t *testing.T) {
	allowed := map[[2]State]bool{
		{Reserved, Staged}: true, {Staged, Active}: true, {Active, Retiring}: true, {Retiring, Active}: true, {Retiring, Retired}: true,
	}
	for _, from := range allStates {
		allowed[[2]State{from, from}] = true
		allowed[[2]State{from, Revoked}] = true
		for _, to := range allStates {
			old := testRing(testKey(1, from))
			next := old.Clone()
			next.Keys[0] = testKey(1, to)
			if from > Reserved {
				next.Keys[0] = testKey(1, from)
				next.Keys[0].State = to
			} else if to == Revoked {
				next.Keys[0] = testKey(1, from)
				next.Keys[0].State = Revoked
			}
			_, err := Advance(&old, next, nil, timing, rev)
			if ok := err == nil; ok != allowed[[2]State{from, to}] {
				t.Errorf("%s → %s: %v", from, to, err)
			}
		}
	}
}

// TestFelledKeysOnlyEnd: once a cutoff fells a key, its record can become revoked and nothing else.
func TestFelledKeysOnlyEnd(t *testing.T) {
	cs := Cutoffs{{Operation: "op", Reach: Reach{Kind: All}, Reason: "r", Revision: 50}}
	for _, from := range allStates {
		for _, to := range allStates {
			old := testRing(testKey(1, from))
			next := old.Clone()
			if from == Reserved && to == Staged {
				next.Keys[0] = testKey(1, Staged)
			} else {
				next.Keys[0].State = to
			}
			if _, err := Advance(&old, next, cs, timing, rev); (err == nil) != (to == from || to == Revoked) {
				t.Errorf("felled %s → %s: %v", from, to, err)
			}
		}
	}
}

// TestRefusedChanges is what no correct program writes; each is one change to a ring that would otherwise be accepted.
func TestRefusedChanges(t *testing.T) {
	dead := testKey(1, Retired)
	dead.Destroy, dead.Destroyed = noon, noon
	retained := testKey(1, Retiring)
	retained.Retain = true
	condemned := testKey(1, Retired)
	condemned.Destroy = noon
	for _, c := range []struct {
		name string
		old  Ring
		edit func(r *Ring)
		want error // nil: accepted, as a control
	}{
		{"nothing changes", testRing(testKey(1, Active)), func(*Ring) {}, nil},
		{"typ changes", testRing(), func(r *Ring) { r.Scope.Typ = "JWT" }, ErrRefused},
		{"usage changes", testRing(), func(r *Ring) { r.Scope.Usage = Raw }, ErrRefused},
		{"origin changes", testRing(), func(r *Ring) { r.Created = noon.Add(1) }, ErrRefused},
		{"a serial is given out twice", testRing(), func(r *Ring) { r.NextSerial = 9 }, ErrRefused},
		{"backend's date is forged", testRing(), func(r *Ring) { r.BackendSet = 99 }, ErrRefused},
		{"a record vanishes", testRing(testKey(1, Active)), func(r *Ring) { r.Keys = nil }, ErrRefused},
		{"a retired record vanishes", testRing(testKey(1, Retired)), func(r *Ring) { r.Keys = nil }, ErrRefused},
		{"a condemned record vanishes", testRing(condemned), func(r *Ring) { r.Keys = nil }, ErrRefused},
		{"a destroyed record is archived", testRing(dead), func(r *Ring) { r.Keys = nil }, nil},
		{"two active keys", testRing(testKey(1, Active), testKey(2, Staged)), func(r *Ring) { r.Keys[1].State = Active }, ErrRefused},
		{"an active key gives way", testRing(testKey(1, Active), testKey(2, Staged)), func(r *Ring) { r.Keys[0].State, r.Keys[1].State = Retiring, Active }, nil},
		{"two successors", testRing(testKey(1, Staged)), func(r *Ring) { r.reserve() }, ErrRefused},
		{"a successor", testRing(testKey(1, Active)), func(r *Ring) { r.reserve() }, nil},
		{"an old serial is reserved", testRing(testKey(2, Active)), func(r *Ring) { r.Keys = append([]Key{testKey(1, Reserved)}, r.Keys...) }, ErrRefused},
		{"a key appears staged", testRing(), func(r *Ring) { r.reserve(); r.Keys[0].State = Staged }, ErrRefused},
		{"a key appears minted", testRing(), func(r *Ring) { r.reserve(); r.Keys[0].Kid = "k" }, ErrRefused},
		{"a key appears retained", testRing(), func(r *Ring) { r.reserve(); r.Keys[0].Retain = true }, ErrRefused},
		{"a reservation without a nonce", testRing(), func(r *Ring) { r.reserve(); r.Keys[0].Nonce = "" }, ErrInvalid},
		{"the line of a key moves", testRing(testKey(1, Active)), func(r *Ring) { r.Keys[0].Reserved++ }, ErrRefused},
		{"the operation of a key changes", testRing(testKey(1, Active)), func(r *Ring) { r.Keys[0].Operation = "mine" }, ErrRefused},
		{"the nonce changes", testRing(testKey(1, Active)), func(r *Ring) { r.Keys[0].Nonce = strings.Repeat("1", 32) }, ErrRefused},
		{"the backend of a key changes", testRing(testKey(1, Active)), func(r *Ring) { r.Keys[0].Backend = "hsm" }, ErrRefused},
		{"the algorithm of a key changes", testRing(testKey(1, Active)), func(r *Ring) { r.Keys[0].Algorithm = "RS256" }, ErrRefused},
		{"the scope of a key widens", testRing(testKey(1, Active)), func(r *Ring) { r.Keys[0].Scope.Audiences = Audiences{Any: true} }, ErrRefused},
		{"a public key is exchanged", testRing(testKey(1, Active)), func(r *Ring) { r.Keys[0].PublicKey = []byte{2} }, ErrRefused},
		{"a kid is exchanged", testRing(testKey(1, Active)), func(r *Ring) { r.Keys[0].Kid = "other" }, ErrRefused},
		{"protection is claimed", testRing(testKey(1, Active)), func(r *Ring) { r.Keys[0].Protection = HSM }, ErrRefused},
		{"a window is lengthened", testRing(testKey(1, Active)), func(r *Ring) { r.Keys[0].Window.SignUntil = noon.Add(90 * time.Minute) }, ErrRefused},
		{"verification is lengthened", testRing(testKey(1, Active)), func(r *Ring) { r.Keys[0].Window.VerifyUntil = noon.Add(3 * time.Hour) }, ErrRefused},
		{"a window begins later", testRing(testKey(1, Active)), func(r *Ring) { r.Keys[0].Window.NotBefore = noon.Add(time.Minute) }, ErrRefused},
		{"a window is shortened", testRing(testKey(1, Active)), func(r *Ring) { r.Keys[0].Window.SignUntil = noon.Add(time.Minute) }, nil},
		{"a window with fractions", testRing(testKey(1, Active)), func(r *Ring) { r.Keys[0].Window.SignUntil = noon.Add(time.Minute + 1) }, ErrInvalid},
		{"a window turned round", testRing(testKey(1, Active)), func(r *Ring) { r.Keys[0].Window.SignUntil = noon.Add(-time.Minute) }, ErrInvalid},
		{"staged without a kid", testRing(testKey(1, Reserved)), func(r *Ring) { r.Keys[0] = testKey(1, Staged); r.Keys[0].Kid = "" }, ErrInvalid},
		{"a retained key is unpublished", testRing(retained), func(r *Ring) { r.Keys[0].State = Retired }, ErrRefused},
		{"a retained key is revoked", testRing(retained), func(r *Ring) { r.Keys[0].State = Revoked }, nil},
		{"a retained key is condemned", testRing(retained), func(r *Ring) { r.Keys[0].State = Revoked; r.Keys[0].Destroy = noon }, ErrRefused},
		{"a live key is condemned", testRing(testKey(1, Active)), func(r *Ring) { r.Keys[0].Destroy = noon }, ErrRefused},
		{"a condemned key is retained", testRing(condemned), func(r *Ring) { r.Keys[0].Retain = true }, ErrRefused},
		{"a condemned key is spared", testRing(condemned), func(r *Ring) { r.Keys[0].Destroy = time.Time{} }, ErrRefused},
		{"destroyed without intent", testRing(testKey(1, Retired)), func(r *Ring) { r.Keys[0].Destroyed = noon }, ErrRefused},
		{"destroyed in one write with the intent", testRing(testKey(1, Retired)), func(r *Ring) { r.Keys[0].Destroy = noon; r.Keys[0].Destroyed = noon }, ErrRefused},
		{"destroyed", testRing(condemned), func(r *Ring) { r.Keys[0].Destroyed = noon }, nil},
		{"keys out of order", testRing(testKey(1, Retired), testKey(2, Active)), func(r *Ring) { r.Keys[0], r.Keys[1] = r.Keys[1], r.Keys[0] }, ErrRefused},
		{"no audience", testRing(), func(r *Ring) { r.Scope.Audiences = Audiences{} }, ErrInvalid},
		{"an empty prefix", testRing(), func(r *Ring) { r.Scope.Audiences = Audiences{Prefixes: []string{""}} }, ErrInvalid},
		{"more audiences than a scope holds", testRing(), func(r *Ring) { r.Scope.Audiences.Exact = slices.Repeat([]string{"a"}, maxAudiences+1) }, ErrInvalid},
		{"a very long audience", testRing(), func(r *Ring) { r.Scope.Audiences.Prefixes = []string{strings.Repeat("a", maxAudience+1)} }, ErrInvalid},
		{"as many and as long as allowed", testRing(), func(r *Ring) {
			r.Scope.Audiences = Audiences{Exact: slices.Repeat([]string{strings.Repeat("a", maxAudience)}, maxAudiences)}
		}, nil},
		{"any and a list", testRing(), func(r *Ring) { r.Scope.Audiences.Any = true }, ErrInvalid},
		{"default above max TTL", testRing(), func(r *Ring) { r.DefaultTTL = 2 * time.Hour }, ErrInvalid},
		{"propagation below what caches need", testRing(), func(r *Ring) { r.Rotation.Propagation = 70 * time.Second }, ErrInvalid},
		{"lifetime below two propagations", testRing(), func(r *Ring) { r.Rotation.Lifetime = 119 * time.Minute }, ErrInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			next := c.old.Clone()
			c.edit(&next)
			if _, err := Advance(&c.old, next, nil, timing, rev); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

// reserve appends a reservation as rotation would.
func (r *Ring) reserve() {
	k := testKey(r.NextSerial, Reserved)
	k.Reserved = 0
	r.Keys = append(r.Keys, k)
	r.NextSerial++
}

// TestStamps: the revision of a reservation and of a choice of backend is the store's word.
func TestStamps(t *testing.T) {
	old := testRing()
	next := old.Clone()
	next.reserve()
	next.BackendSet = 0
	kept, err := Advance(&old, next, nil, timing, rev)
	if err != nil {
		t.Fatal(err)
	}
	if kept.Keys[0].Reserved != rev || kept.BackendSet != rev || kept.Revision != rev {
		t.Errorf("reserved %d, backend set %d, revision %d, want %d", kept.Keys[0].Reserved, kept.BackendSet, kept.Revision, rev)
	}
	next = testRing()
	next.Backend, next.Revision = "hsm", 0
	if kept, err = Advance(&old, next, nil, timing, rev); err != nil || kept.BackendSet != rev {
		t.Errorf("a new backend is dated %d: %v", kept.BackendSet, err)
	}
	fresh := testRing()
	if kept, err = Advance(nil, fresh, nil, timing, rev); err != nil || kept.BackendSet != rev {
		t.Errorf("a new ring is dated %d: %v", kept.BackendSet, err)
	}
	next = old.Clone()
	next.reserve()
	next.Keys[0].Reserved = 1 << 40
	if _, err := Advance(&old, next, nil, timing, rev); !errors.Is(err, ErrRefused) {
		t.Errorf("a reservation that dates itself: %v", err)
	}
}
