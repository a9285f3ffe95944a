package accept

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	cases := []struct {
		name string
		f    func(r *Report) error
		code int
		want string
	}{
		{"met", func(r *Report) error { r.AtMost("size", 12.5, 40, "MiB"); return nil }, 0, "figure:  size: 12.50 MiB   bar: at most 40 MiB   PASS\nPASS"},
		{"on the bar", func(r *Report) error { r.AtLeast("ratio", 85, 85, "%"); return nil }, 0, "85%   bar: at least 85%   PASS"},
		{"above", func(r *Report) error { r.AtMost("size", 41, 40, "MiB"); return nil }, 1, "41 MiB   bar: at most 40 MiB   FAIL\nFAIL"},
		{"below", func(r *Report) error { r.AtLeast("ratio", 84.99, 85, "%"); return nil }, 1, "FAIL"},
		{"one of two", func(r *Report) error { r.Equal("kills", 10, 10); r.Holds("intact", false); return nil }, 1, "1 of 2 bars met"},
		{"another count", func(r *Report) error { r.Equal("kills", 9, 10); return nil }, 1, "9   bar: 10   FAIL"},
		{"error", func(r *Report) error { r.Holds("intact", true); return errors.New("no server") }, 1, "error:   no server\nFAIL"},
		{"nothing shown", func(r *Report) error { r.Note("all fine"); return nil }, 1, "no figure was held against a bar"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			if code := run(&out, "x", "y", c.f); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			if !strings.Contains(out.String(), c.want) {
				t.Errorf("report lacks %q:\n%s", c.want, &out)
			}
		})
	}
}

func TestExec(t *testing.T) {
	var out strings.Builder
	r := &Report{out: &out}
	got, err := r.Exec(exec.Command("sh", "-c", "echo told; echo warned >&2"))
	if err != nil || got != "told\n" {
		t.Errorf("Exec = %q, %v; want stdout only", got, err)
	}
	_, err = r.Exec(exec.Command("sh", "-c", "echo told; echo broken >&2; exit 3"))
	if err == nil || !strings.Contains(err.Error(), "told\nbroken") {
		t.Errorf("a failing command's error does not show its output: %v", err)
	}
	if !strings.Contains(out.String(), "ran:     sh -c echo told") {
		t.Errorf("commands are not reported: %s", &out)
	}
}

func TestRoot(t *testing.T) {
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "proto", "intaglio", "v1")); err != nil {
		t.Errorf("Root found %s, which is not the repository: %v", root, err)
	}
	t.Chdir(t.TempDir())
	if root, err := Root(); err == nil {
		t.Errorf("Root found %s outside the repository", root)
	}
}
