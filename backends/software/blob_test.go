package software

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"intaglio.example/backends"
	"intaglio.example/backends/backendtest"
	"intaglio.example/internal/jws"

	"pgregory.net/rapid"
)

// stored mints a key under label in a storage of its own and returns what is stored.
func stored(t *testing.T, kek KEK, label string) []byte {
	t.Helper()
	s := &backendtest.Storage{}
	mint(t, open(t, s, kek), label, jws.ES256)
	data, _, err := s.Get(t.Context(), label)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// put replaces whatever is under label.
func put(t *testing.T, s Sealed, label string, data []byte) {
	t.Helper()
	if err := s.Delete(t.Context(), label); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), label, data); err != nil {
		t.Fatal(err)
	}
}

// TestTamperedBlobs touches the storage in every way the format knows of: each has its error, from Sign and from Mint,
// and what is stored stays as it is.
func TestTamperedBlobs(t *testing.T) {
	const label, other = "store1.payments.access.1.aa", "store1.payments.access.2.bb"
	kek, foreign := NewKEK(noon), NewKEK(noon)
	good, moved := stored(t, kek, label), stored(t, kek, other)
	relabelled := reencode(t, moved, other, func(b *blob) { b.label = label })
	cases := map[string]struct {
		data []byte
		want error
		say  string
	}{
		"empty":                         {nil, ErrDamaged, ""},
		"no KEK id":                     {good[:5], ErrDamaged, "begin"},
		"truncated":                     {good[:len(good)-1], ErrDamaged, "private key"},
		"trailing byte":                 {append(bytes.Clone(good), 0), ErrDamaged, "follow"},
		"another magic":                 {edited(good, 0, 'i'), ErrDamaged, "begin"},
		"version 0":                     {edited(good, 3, 0), ErrDamaged, "version 0"},
		"version 2":                     {edited(good, 3, 2), ErrNewer, "version 2"},
		"unknown state":                 {edited(good, 4, 3), ErrDamaged, "state 3"},
		"wrong KEK":                     {stored(t, foreign, label), ErrNoKEK, foreign.ID()},
		"KEK id forged":                 {reencode(t, stored(t, foreign, label), label, func(b *blob) { b.kek = kek.id }), ErrDamaged, kek.ID()},
		"moved from another label":      {moved, ErrMoved, other},
		"moved and relabelled":          {relabelled, ErrDamaged, "edited"},
		"another store's":               {stored(t, kek, "store2.payments.access.1.aa"), ErrMoved, "store2"},
		"another algorithm":             {reencode(t, good, label, func(b *blob) { b.alg = jws.ES384 }), ErrDamaged, "edited"},
		"another public key":            {swapPublic(t, good, moved, label, other), ErrDamaged, "edited"},
		"another private key":           {swapSealed(t, good, moved, label, other), ErrDamaged, "edited"},
		"no private key":                {reencode(t, good, label, func(b *blob) { b.sealed = nil }), ErrDamaged, "edited"},
		"bytes between label and alg":   {reencode(t, good, label, func(b *blob) { b.alg = "S" + b.alg }), ErrDamaged, "edited"},
		"last byte of the tag":          {edited(good, len(good)-1, good[len(good)-1]^1), ErrDamaged, "edited"},
		"marked disabled":               {edited(good, 4, byte(disabled)), backends.ErrDisabled, ""},
		"label longer than the message": {edited(good, 13, 0xff), ErrDamaged, "label"},
	}
	ref := newRef(label, publicOf(t, good, label))
	for name, c := range cases {
		s := &backendtest.Storage{}
		put(t, s, "first", stored(t, kek, "first")) // so that New sees a key it can open
		put(t, s, label, c.data)
		b := open(t, s, kek)
		_, sign := b.Sign(t.Context(), ref, jws.ES256, []byte("x"))
		_, minted := b.Mint(t.Context(), label, jws.ES256)
		for call, err := range map[string]error{"Sign": sign, "Mint": minted} {
			if !errors.Is(err, c.want) || err != nil && !strings.Contains(err.Error(), c.say) {
				t.Errorf("%s, %s: %v; want %q and %q", name, call, err, c.want, c.say)
			}
			if c.want != backends.ErrDisabled && !errors.Is(err, backends.ErrUnusable) {
				t.Errorf("%s, %s: %v is not ErrUnusable", name, call, err)
			}
		}
		if after, _, err := s.Get(t.Context(), label); err != nil || !bytes.Equal(after, c.data) {
			t.Errorf("%s: what is stored was changed", name)
		}
	}
	s := &backendtest.Storage{}
	put(t, s, label, good)
	if _, err := open(t, s, kek).Sign(t.Context(), ref, jws.ES256, []byte("x")); err != nil {
		t.Errorf("the blob all cases are made of: %v", err)
	}
}

func edited(data []byte, at int, to byte) []byte {
	data = bytes.Clone(data)
	data[at] = to
	return data
}

func reencode(t *testing.T, data []byte, label string, edit func(*blob)) []byte {
	t.Helper()
	b, err := parseBlob(label, data)
	if err != nil {
		t.Fatal(err)
	}
	edit(b)
	out, err := b.encode()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func swapPublic(t *testing.T, data, from []byte, label, fromLabel string) []byte {
	return reencode(t, data, label, func(b *blob) {
		reencode(t, from, fromLabel, func(x *blob) { b.public = x.public })
	})
}

func swapSealed(t *testing.T, data, from []byte, label, fromLabel string) []byte {
	return reencode(t, data, label, func(b *blob) {
		reencode(t, from, fromLabel, func(x *blob) { b.sealed = x.sealed })
	})
}

func publicOf(t *testing.T, data []byte, label string) *jws.PublicKey {
	t.Helper()
	b, err := parseBlob(label, data)
	if err != nil {
		t.Fatal(err)
	}
	public, err := jws.ParsePKIX(b.alg, b.public)
	if err != nil {
		t.Fatal(err)
	}
	return public
}

// TestEveryBitCounts flips each bit of a blob and cuts it at each length: no copy that differs opens, but for the mark
// that disables it, and that does not sign.
func TestEveryBitCounts(t *testing.T) {
	kek := NewKEK(noon)
	b := open(t, &backendtest.Storage{}, kek)
	data := stored(t, kek, "a.b")
	if _, err := b.unseal("a.b", data); err != nil {
		t.Fatal(err)
	}
	for i := range data {
		if _, err := b.unseal("a.b", data[:i]); !errors.Is(err, ErrDamaged) {
			t.Errorf("cut at %d: %v", i, err)
		}
		for bit := range 8 {
			if _, err := b.unseal("a.b", edited(data, i, data[i]^1<<bit)); !errors.Is(err, backends.ErrUnusable) {
				t.Errorf("byte %d, bit %d: %v", i, bit, err)
			}
		}
	}
}

// TestBlobRoundTrip checks that blobs parse to what they were made from, that there is one encoding of each, and that the
// parser survives anything.
func TestBlobRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		field := func(name string) []byte { return rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, name) }
		b := &blob{
			state:  rapid.SampledFrom([]blobState{usable, disabled}).Draw(t, "state"),
			kek:    kekID(rapid.SliceOfN(rapid.Byte(), 8, 8).Draw(t, "kek")),
			label:  string(field("label")),
			alg:    jws.Alg(field("alg")),
			public: field("public"),
			sealed: field("sealed"),
		}
		data, err := b.encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := parseBlob(b.label, data)
		if err != nil {
			t.Fatal(err)
		}
		again, err := back.encode()
		if err != nil || !bytes.Equal(data, again) {
			t.Fatalf("parsed and encoded again it differs: %v", err)
		}
		noise := rapid.SliceOf(rapid.Byte()).Draw(t, "noise")
		if parsed, err := parseBlob(b.label, noise); err == nil {
			if again, err := parsed.encode(); err != nil || !bytes.Equal(noise, again) {
				t.Fatalf("two encodings of one blob: %v", err)
			}
		}
	})
}

// TestAdditionalDataIsUnambiguous: fields that run together must not seal alike.
func TestAdditionalDataIsUnambiguous(t *testing.T) {
	a := &blob{label: "ab", alg: "c", public: []byte("d")}
	for _, b := range []*blob{{label: "a", alg: "bc", public: []byte("d")}, {label: "ab", alg: "cd"}, {label: "abcd"}} {
		if bytes.Equal(a.additional(), b.additional()) {
			t.Errorf("%+v and %+v have one additional data", a, b)
		}
	}
	if _, err := (&blob{label: strings.Repeat("a", maxField+1)}).encode(); err == nil {
		t.Error("a field longer than its length can say was encoded")
	}
}
