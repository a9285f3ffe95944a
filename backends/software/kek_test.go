package software

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"intaglio.example/backends"
	"intaglio.example/backends/backendtest"
	"intaglio.example/internal/jws"
	"intaglio.example/internal/secret"
)

func TestKEKFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kek")
	k := NewKEK(noon.Add(123456789).In(time.FixedZone("X", 3600)))
	if err := WriteKEK(path, k); err != nil {
		t.Fatal(err)
	}
	back, err := ReadKEK(path)
	if err != nil {
		t.Fatal(err)
	}
	if back.ID() != k.ID() || !back.Made().Equal(noon) || !bytes.Equal(back.key.Reveal(), k.key.Reveal()) {
		t.Errorf("wrote %v, read %v", k, back)
	}
	line, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := "intaglio-kek-1 2026-11-22T12:00:00Z " + base64.RawURLEncoding.EncodeToString(k.key.Reveal()) + "\n"; string(line) != want {
		t.Error("the line is not of the documented form")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := WriteKEK(path, NewKEK(noon)); !errors.Is(err, os.ErrExist) {
		t.Errorf("overwriting: %v", err)
	}
	if err := WriteKEK(path+"2", KEK{}); !errors.Is(err, ErrKEK) {
		t.Errorf("writing the zero KEK: %v", err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadKEK(path); !errors.Is(err, secret.ErrExposed) {
		t.Errorf("reading an exposed file: %v", err)
	}
}

// TestKEKID fixes the id: it is written on every sealed key.
func TestKEKID(t *testing.T) {
	k, err := ParseKEK(secret.New([]byte("intaglio-kek-1 2026-11-22T15:00:00Z AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8")))
	if err != nil {
		t.Fatal(err)
	}
	if want := "8e9b89c0cf822636"; k.ID() != want { // SHA-256 of the domain, a zero byte and bytes 0 to 31, by another program
		t.Errorf("id %s, want %s", k.ID(), want)
	}
}

func TestParseKEKRefuses(t *testing.T) {
	const when = "2026-11-22T15:00:00Z"
	key := strings.Repeat("A", 42) + "E" // 32 bytes, the last one 1
	good := "intaglio-kek-1 " + when + " " + key
	if _, err := ParseKEK(secret.New([]byte(good + "\n"))); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"", "\n", good + "\n\n", good + " ", " " + good, good + "\r\n", good + "\n" + good, strings.ReplaceAll(good, " ", "  "), strings.ReplaceAll(good, " ", "\t"),
		"intaglio-kek-2 " + when + " " + key,
		"intaglio-kek-1 2026-11-22T15:00:00+01:00 " + key,
		"intaglio-kek-1 2026-11-22T15:00:00.5Z " + key,
		"intaglio-kek-1 2026-11-22 " + key,
		"intaglio-kek-1 " + when + " " + key[:42],
		"intaglio-kek-1 " + when + " " + key + "A",
		"intaglio-kek-1 " + when + " " + key + "=",
		"intaglio-kek-1 " + when + " " + key[:42] + "F", // unused bits
		"intaglio-kek-1 " + when + " " + key[:20] + "\n" + key[20:],
		"intaglio-kek-1 " + when + " " + strings.Repeat("+", 43),
	} {
		_, err := ParseKEK(secret.New([]byte(line)))
		if !errors.Is(err, ErrKEK) {
			t.Errorf("%q: %v, want ErrKEK", line, err)
		} else if strings.Contains(err.Error(), "AAAA") {
			t.Errorf("the error quotes the key: %v", err)
		}
	}
}

func TestNewRefusesKEKs(t *testing.T) {
	a, b := NewKEK(noon), NewKEK(noon)
	again := a
	again.made = noon.Add(time.Hour)
	for name, keks := range map[string][]KEK{"none": nil, "zero": {{}}, "one time twice": {a, b}, "one id twice": {a, again}, "one twice": {a, a}} {
		if _, err := New(t.Context(), "soft", &backendtest.Storage{}, keks...); !errors.Is(err, ErrKEK) {
			t.Errorf("%s: %v, want ErrKEK", name, err)
		}
	}
}

// TestNewestSeals gives KEKs in both orders: the newest seals, all open.
func TestNewestSeals(t *testing.T) {
	old, young := NewKEK(noon), NewKEK(noon.Add(time.Second))
	for _, keks := range [][]KEK{{old, young}, {young, old}} {
		s := &backendtest.Storage{}
		before := mint(t, open(t, s, old), "old", jws.ES256)
		b := open(t, s, keks...)
		mint(t, b, "young", jws.ES256)
		if _, err := b.Sign(t.Context(), before.Ref, jws.ES256, []byte("x")); err != nil {
			t.Errorf("a key under the older KEK: %v", err)
		}
		for label, want := range map[string]KEK{"old": old, "young": young} {
			data, _, err := s.Get(t.Context(), label)
			if err != nil {
				t.Fatal(err)
			}
			if sealed, err := parseBlob(label, data); err != nil || sealed.kek != want.id {
				t.Errorf("key %s is not sealed under %s: %v", label, want.ID(), err)
			}
		}
	}
}

// TestWrongKEKAtStart opens a storage with a KEK that none of its keys are sealed under.
func TestWrongKEKAtStart(t *testing.T) {
	s, kek, wrong := &backendtest.Storage{}, NewKEK(noon), NewKEK(noon.Add(time.Second))
	mint(t, open(t, s, kek), "a", jws.ES256)
	_, err := New(t.Context(), "soft", s, wrong)
	if !errors.Is(err, ErrNoKEK) || !errors.Is(err, backends.ErrUnusable) || !strings.Contains(err.Error(), kek.ID()) || !strings.Contains(err.Error(), "soft") {
		t.Errorf("error %v, want ErrNoKEK that names the KEK and the backend", err)
	}
	open(t, s, wrong, kek)
	put(t, s, "0", []byte("not a sealed key")) // listed first: it does not keep the server down
	open(t, s, kek)
}
