package secret

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

type holder struct {
	Name  string
	inner struct{ key Bytes }
	Open  Bytes
}

func TestSecretsNeverPrint(t *testing.T) {
	const plain = "hunter2-hunter2"
	h := holder{Name: "vault", Open: New([]byte(plain))}
	h.inner.key = New([]byte(plain))
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%08b", "%c", "%U", "%t", "%p", "%T"} {
		for _, v := range []any{h, &h, h.Open, &h.Open, h.inner, []Bytes{h.Open}, map[string]Bytes{"k": h.Open}, h.inner.key} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
	}
	fmt.Fprint(&out, h, h.Open.String(), h.Open.GoString())
	for _, l := range []*slog.Logger{slog.New(slog.NewJSONHandler(&out, nil)), slog.New(slog.NewTextHandler(&out, nil))} {
		l.Info("x", "h", h, "s", h.Open, "e", fmt.Errorf("bad %v", h))
	}
	j, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(j)
	seen := out.String()
	for _, leak := range []string{plain, fmt.Sprintf("%x", plain), fmt.Sprintf("%X", plain), fmt.Sprint([]byte(plain)), "104 117 110", "0x68, 0x75"} {
		if strings.Contains(seen, leak) {
			t.Errorf("printed %q", leak)
		}
	}
	if !strings.Contains(seen, "[secret]") {
		t.Error("nothing was redacted: the test looked at nothing")
	}
}

func TestFilesOfSecrets(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "kek")
	if err := WriteFile(path, New([]byte("0123"))); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(path, New([]byte("4567"))); !errors.Is(err, os.ErrExist) {
		t.Errorf("overwriting: %v", err)
	}
	if s, err := ReadFile(path); err != nil || string(s.Reveal()) != "0123" {
		t.Errorf("read %q, %v", s.Reveal(), err)
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o660, 0o700, 0o666, 0o602} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadFile(path); !errors.Is(err, ErrExposed) {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(link); err == nil {
		t.Error("followed a symbolic link")
	}
	if _, err := ReadFile(dir); err == nil {
		t.Error("read a directory")
	}
	if err := os.Truncate(path, maxFile+1); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(path); err == nil {
		t.Error("read a huge file")
	}
}

func TestErase(t *testing.T) {
	b := []byte("0123")
	s := New(b)
	s.Erase()
	if !bytes.Equal(b, make([]byte, 4)) || s.Len() != 4 {
		t.Errorf("after Erase: %q", b)
	}
	if z := (Bytes{}); z.Len() != 0 || z.Reveal() != nil {
		t.Error("the zero value holds something")
	}
}
