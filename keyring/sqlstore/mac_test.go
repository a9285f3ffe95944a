package sqlstore

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"

	"intaglio.example/internal/secret"
	"intaglio.example/keyring"
)

// TestFormat pins what stands in databases out there: it may not change without a migration.
func TestFormat(t *testing.T) {
	key := sealer{key: secret.New(bytes.Repeat([]byte{7}, keyLen)), store: testID}
	r := key.sealed(kindRing, "acme/access", 12, []byte(`{"name":"acme/access"}`))
	if got, want := hex.EncodeToString(r.mac), "5b37298f04537b3fbb051fc42a15cb95a0bcb2b586ec75fba83f867c11709413"; got != want {
		t.Errorf("MAC %s, want %s", got, want)
	}
	var set setHash
	set.add(r)
	if got, want := fmt.Sprintf("%x", sha256.Sum256(set.appendTo(nil))), "1e9c22e870f3df7fa5730ef10ff1993fc45484be0a9e32e3e46e9e70d1c5a334"; got != want {
		t.Errorf("set hash %s, want %s", got, want)
	}
	s := &Store{meta: meta{store: testID, timing: keyring.DefaultTiming()}}
	if at, err := s.origin(); err != nil || at.Digest.String() != "a08f5fd574914969ad29b8473d00ac22b6f6b1446781c3f3c8c112728a373864" {
		t.Errorf("origin %v, %v", at.Digest, err)
	}
}

// TestMACCoversEverything, and tells where one part ends and the next begins.
func TestMACCoversEverything(t *testing.T) {
	key := sealer{key: newKey(), store: testID}
	base := record{kind: "ab", name: "cd", revision: 1, body: []byte("ef")}
	base.mac = key.mac(&base)
	if err := key.check(&base); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(r *record, k *sealer){
		"kind":                  func(r *record, _ *sealer) { r.kind = "xx" },
		"name":                  func(r *record, _ *sealer) { r.name = "xx" },
		"revision":              func(r *record, _ *sealer) { r.revision = 2 },
		"body":                  func(r *record, _ *sealer) { r.body = []byte("xx") },
		"MAC":                   func(r *record, _ *sealer) { r.mac = append([]byte{r.mac[0] + 1}, r.mac[1:]...) },
		"no MAC":                func(r *record, _ *sealer) { r.mac = nil },
		"store":                 func(_ *record, k *sealer) { k.store = "x" },
		"key":                   func(_ *record, k *sealer) { k.key = newKey() },
		"kind moved into name":  func(r *record, _ *sealer) { r.kind, r.name = "a", "bcd" },
		"store moved into kind": func(r *record, k *sealer) { k.store, r.kind = testID[:15], testID[15:]+"ab" },
	} {
		r, k := base, key
		change(&r, &k)
		if k.check(&r) == nil {
			t.Errorf("another %s has the same MAC", what)
		}
	}
}

func TestSetHash(t *testing.T) {
	var records []*record
	for i := range 20 {
		records = append(records, &record{kind: "ring", name: fmt.Sprint(i / 2), revision: keyring.Revision(i % 2), body: []byte("x")})
	}
	var forward, shuffled, parts, other setHash
	for _, r := range records {
		forward.add(r)
	}
	draw := rand.New(rand.NewPCG(1, 2))
	for n, i := range draw.Perm(len(records)) {
		shuffled.add(records[i])
		if n%2 == 0 {
			parts.add(records[i])
		} else {
			other.add(records[i])
		}
	}
	parts.merge(&other)
	if forward != shuffled || forward != parts {
		t.Error("the hash of a set depends on the order")
	}
	without := forward
	without.remove(records[3])
	if without == forward {
		t.Error("a record was removed and the hash is the same")
	}
	for i, r := range records {
		again := without
		again.add(r)
		if (again == forward) != (i == 3) {
			t.Errorf("record %d in the place of record 3: same hash is %v", i, again == forward)
		}
	}
	var parsed setHash
	if parsed.parse(forward.appendTo(nil)); parsed != forward {
		t.Error("the hash does not survive being written")
	}
}

func TestStorePrintsNoKey(t *testing.T) {
	const visible = "this is the MAC key, 32 bytes ..."
	s := mustInitWith(t, secret.New([]byte(visible)[:keyLen]), keyring.Edit{}).open(t)
	var logged bytes.Buffer
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("store", "store", s)
	for _, text := range []string{fmt.Sprintf("%v %+v %#v", s, s, s), fmt.Sprintf("%+v", *s), logged.String()} {
		if strings.Contains(text, "MAC key") || strings.Contains(text, hex.EncodeToString([]byte("MAC key"))) {
			t.Errorf("the key prints: %s", text)
		}
	}
}
