// Command arrows shows what stands on what: the heart on the standard library, the main binary without cgo.
package main

import (
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"intaglio.example/test/acceptance/internal/accept"
)

const (
	module   = "intaglio.example"
	sizeBar  = 40 // MiB
	mebibyte = 1 << 20
)

func main() {
	accept.Run("arrows", "the heart stands on the standard library; the main binary is one file without cgo", show)
}

func show(r *accept.Report) error {
	root, err := accept.Root()
	if err != nil {
		return err
	}
	for _, room := range []string{"./keyring", "./keyring/storetest", "./internal/jws"} {
		out, err := r.Exec(command(root, 0, "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", room))
		if err != nil {
			return err
		}
		foreign := slices.DeleteFunc(strings.Fields(out), func(p string) bool {
			return p == module || strings.HasPrefix(p, module+"/")
		})
		if len(foreign) > 0 {
			r.Note("below %s: %s", room, strings.Join(foreign, " "))
		}
		r.Equal("packages of others below "+room, len(foreign), 0)
	}
	if err := noCgo(r, root); err != nil {
		return err
	}
	return binary(r, root)
}

// noCgo looks with cgo switched on: switched off, go list would hide what it leaves out.
func noCgo(r *accept.Report, root string) error {
	out, err := r.Exec(command(root, 1, "list", "-deps", "-f", "{{if and .CgoFiles (not .Standard)}}{{.ImportPath}}{{end}}", "./cmd/intaglio"))
	if err != nil {
		return err
	}
	cgo := strings.Fields(out)
	if len(cgo) > 0 {
		r.Note("with cgo: %s", strings.Join(cgo, " "))
	}
	r.Equal("packages below ./cmd/intaglio that use cgo, the standard library's own aside", len(cgo), 0)
	return nil
}

// binary builds what make build builds, and weighs it.
func binary(r *accept.Report, root string) error {
	dir, err := os.MkdirTemp("", "arrows")
	if err != nil {
		return fmt.Errorf("making a place for the binary: %w", err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "intaglio")
	if _, err := r.Exec(command(root, 0, "build", "-trimpath", "-o", path, "./cmd/intaglio")); err != nil {
		return err
	}
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading how the binary was built: %w", err)
	}
	r.Holds("built with CGO_ENABLED=0", slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool {
		return s.Key == "CGO_ENABLED" && s.Value == "0"
	}))
	r.Holds("it starts", exec.Command(path, "help").Run() == nil)
	file, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("weighing the binary: %w", err)
	}
	r.AtMost("size of the binary", float64(file.Size())/mebibyte, sizeBar, "MiB")
	return nil
}

func command(root string, cgo int, args ...string) *exec.Cmd {
	cmd := exec.Command("go", args...)
	cmd.Dir = root
	cmd.Env = append(cmd.Environ(), fmt.Sprintf("CGO_ENABLED=%d", cgo))
	return cmd
}
