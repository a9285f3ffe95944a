package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is the release this source is or will be.
const version = "0.1.0"

// build is what this binary was made from.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func newVersion(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print which release this is",
		Example: "  intaglio version\n  intaglio version -o json",
		Args:    takes(),
		RunE: func(*cobra.Command, []string) error {
			b := build{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
			if info, ok := debug.ReadBuildInfo(); ok {
				for _, s := range info.Settings {
					switch s.Key {
					case "vcs.revision":
						b.Revision = s.Value
					case "vcs.modified":
						b.Modified = s.Value == "true"
					}
				}
			}
			return a.printer().Value(b, []string{version}, func(w io.Writer) {
				fmt.Fprintf(w, "intaglio %s  %s  %s", b.Version, b.Go, b.Platform)
				if b.Revision != "" {
					fmt.Fprintf(w, "  %.12s", b.Revision)
				}
				if b.Modified {
					fmt.Fprint(w, " with changes")
				}
				fmt.Fprintln(w)
			})
		},
	}
}
