// Package test holds what is true of the repository as a whole.
package test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "intaglio.example"

// A room is a package, or with /... it and all below it, and what it may import besides the standard library.
type room struct {
	own     []string // rooms of ours; * is every one
	foreign []string // import paths of other modules, and what is below them
}

var (
	grpc       = []string{"google.golang.org/grpc", "google.golang.org/protobuf", "google.golang.org/genproto/googleapis/rpc"}
	metrics    = []string{"github.com/prometheus/client_golang"}
	properties = []string{"pgregory.net/rapid"}
)

// rooms is the picture in docs/design.md, as data. Arrows point down only; a package that is not here does not pass, so
// a new room is a decision and not an accident.
var rooms = map[string]room{
	"internal/jws":    {},
	"internal/secret": {},
	"audit":           {},
	"api/intagliov1":  {foreign: grpc},
	"api/verify":      {own: []string{"internal/jws"}},

	"keyring":           {},
	"keyring/storetest": {own: []string{"keyring"}},
	"keyring/sqlstore": {
		own:     []string{"keyring", "rotation", "audit", "internal/secret"},
		foreign: []string{"modernc.org/sqlite"},
	},

	"backends":             {own: []string{"keyring", "internal/jws"}},
	"backends/software":    {own: []string{"backends", "keyring", "internal/jws", "internal/secret"}},
	"backends/backendtest": {own: []string{"backends", "keyring", "internal/jws"}},

	"rotation": {own: []string{"keyring", "backends", "audit", "internal/jws"}},
	"server": {
		own:     []string{"api/intagliov1", "keyring", "backends", "rotation", "audit", "internal/jws"},
		foreign: slices.Concat(grpc, metrics, []string{"github.com/google/uuid"}),
	},
	"cmd/intaglio/...": {
		own: []string{"*"},
		foreign: slices.Concat(grpc, metrics, []string{
			"github.com/spf13/cobra", "github.com/spf13/pflag", "go.yaml.in/yaml/v3", "github.com/mattn/go-isatty", "github.com/google/uuid", "golang.org/x/net/netutil",
		}),
	},

	"test":                            {},
	"test/acceptance/internal/accept": {},
	"test/acceptance/...":             {own: []string{"*"}, foreign: slices.Concat(grpc, properties, []string{"go.yaml.in/yaml/v3"})},
}

// listed is what go list says of a package.
type listed struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

// TestArrows holds every import of every package against the picture. Tests may look into any room of ours, and use rapid.
func TestArrows(t *testing.T) {
	readTree(t)
	// Two looks, since what is meant for another system, or for cgo, is not listed.
	for _, env := range [][]string{{"GOOS=linux", "CGO_ENABLED=1"}, {"GOOS=darwin", "CGO_ENABLED=0"}} {
		for _, p := range list(t, env...) {
			name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
			r, ok := find(name)
			if !ok {
				t.Errorf("package %s is not in the picture: add its line to rooms, or put it in a room that exists", name)
				continue
			}
			for _, imported := range p.Imports {
				if !r.allows(imported) {
					t.Errorf("%s imports %s, and no arrow leads there", name, imported)
				}
			}
			r.own, r.foreign = []string{"*"}, append(slices.Clone(r.foreign), properties...)
			for _, imported := range slices.Concat(p.TestImports, p.XTestImports) {
				if !r.allows(imported) {
					t.Errorf("the tests of %s import %s: tests stand on the standard library, rapid and our own packages", name, imported)
				}
			}
		}
	}
}

// TestArrowsRefuse shows that the comparison can fail.
func TestArrowsRefuse(t *testing.T) {
	refused := map[string][]string{
		"keyring":                         {"google.golang.org/grpc", "intaglio.example/backends", "intaglio.example/internal/jws", "pgregory.net/rapid"},
		"internal/jws":                    {"intaglio.example/keyring", "golang.org/x/crypto/ed25519"},
		"keyring/storetest":               {"pgregory.net/rapid", "intaglio.example/keyring/sqlstore"},
		"backends":                        {"intaglio.example/backends/software", "intaglio.example/rotation"},
		"rotation":                        {"intaglio.example/server", "intaglio.example/keyring/sqlstore"},
		"server":                          {"intaglio.example/cmd/intaglio", "intaglio.example/keyring/sqlstore", "intaglio.example/backends/software", "google.golang.org/grpcfork"},
		"cmd/intaglio":                    {"github.com/hashicorp/vault/api", "C"},
		"test/acceptance/internal/accept": {"intaglio.example/keyring"},
	}
	for name, imports := range refused {
		r, ok := find(name)
		if !ok {
			t.Fatalf("%s is not in the picture", name)
		}
		for _, imported := range imports {
			if r.allows(imported) {
				t.Errorf("%s may import %s", name, imported)
			}
		}
	}
	for _, name := range []string{"", "util", "keyring/cache", "server/admin", "cmd/other"} {
		if _, ok := find(name); ok {
			t.Errorf("package %q is in the picture", name)
		}
	}
}

// find returns the room of the package, the nearest one that includes it.
func find(name string) (room, bool) {
	if r, ok := rooms[name]; ok {
		return r, true
	}
	for above, more := name, true; more; above, more = parent(above) {
		if r, ok := rooms[above+"/..."]; ok {
			return r, true
		}
	}
	return room{}, false
}

func parent(name string) (string, bool) {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return "", false
	}
	return name[:i], true
}

func (r room) allows(imported string) bool {
	if imported == "C" { // cgo: the main binary is built without
		return false
	}
	first, _, _ := strings.Cut(imported, "/")
	if !strings.Contains(first, ".") { // the standard library's paths have no dot before the first slash
		return true
	}
	if own, ok := strings.CutPrefix(imported, module+"/"); ok {
		return slices.Contains(r.own, "*") || slices.Contains(r.own, own)
	}
	return slices.ContainsFunc(r.foreign, func(path string) bool {
		return imported == path || strings.HasPrefix(imported, path+"/")
	})
}

// readTree opens every directory of ours: go test remembers what a test has read, not what its commands have, and would
// repeat an old answer after an import was added.
func readTree(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() && (d.Name() == "node_modules" || strings.HasPrefix(d.Name(), ".") && path != "..") {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func list(t *testing.T, env ...string) []listed {
	t.Helper()
	// -e: a package that does not compile is somebody else's failure, and its imports still count.
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	cmd.Dir, cmd.Env = "..", append(cmd.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var packages []listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("reading go list: %v", err)
		}
		packages = append(packages, p)
	}
	if len(packages) == 0 {
		t.Fatal("go list found no packages")
	}
	return packages
}
