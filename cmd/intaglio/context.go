package main

import (
	"io"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"intaglio.example/cmd/intaglio/internal/cli"
	"intaglio.example/cmd/intaglio/internal/client"
)

func newContext(a *app) *cobra.Command {
	list := &cobra.Command{
		Use: "list", Short: "List the contexts used on this machine", Example: "  intaglio context list", Args: takes(),
		RunE: func(*cobra.Command, []string) error { return a.listContexts() },
	}
	use := &cobra.Command{
		Use: "use FILE", Short: "Choose a context for the commands to come", Example: "  intaglio context use .intaglio/context.yaml", Args: takes("FILE"),
		RunE: func(_ *cobra.Command, args []string) error { return a.useContext(args[0]) },
	}
	show := &cobra.Command{
		Use: "show", Short: "Show the context in effect: the server, and who you are there",
		Example: "  intaglio context show\n  intaglio context show --context .intaglio/app-context.yaml", Args: takes(),
		RunE: func(*cobra.Command, []string) error { return a.showContext() },
	}
	return family("context", "Which server commands talk to, and as whom", list, use, show)
}

func (a *app) listContexts() error {
	known, err := client.ReadKnown(a.getenv)
	if err != nil {
		return contextFailure(err)
	}
	effective := ""
	if c, err := client.Find(a.contextFile, a.getenv); err == nil {
		effective = c.Path
		if !slices.Contains(known.Files, c.Path) {
			known.Files = append(known.Files, c.Path)
		}
	}
	type row struct {
		File      string `json:"file"`
		Server    string `json:"server,omitempty"`
		Principal string `json:"principal,omitempty"`
		InEffect  bool   `json:"inEffect"`
		Problem   string `json:"problem,omitempty"`
	}
	rows := make([]row, 0, len(known.Files))
	for _, path := range known.Files {
		r := row{File: path, InEffect: path == effective}
		c, err := client.Load(path)
		if err == nil {
			r.Server = c.Server
			var id client.Identity
			id, err = c.Identity()
			r.Principal = id.Principal
		}
		if err != nil {
			r.Problem = err.Error()
		}
		rows = append(rows, r)
	}
	return a.printer().Value(rows, known.Files, func(w io.Writer) {
		cells := make([][]string, len(rows))
		for i, r := range rows {
			mark := " "
			if r.InEffect {
				mark = "*"
			}
			cells[i] = []string{mark, r.File, r.Server, r.Principal, r.Problem}
		}
		cli.Columns(w, []string{" ", "FILE", "SERVER", "YOU", "PROBLEM"}, cells)
	})
}

func (a *app) useContext(path string) error {
	c, err := client.Load(path)
	if err != nil {
		return contextFailure(err)
	}
	known, err := client.ReadKnown(a.getenv)
	if err == nil {
		err = known.Use(c.Path)
	}
	if err != nil {
		return contextFailure(err)
	}
	a.warn("From now on: %s, unless --context or INTAGLIO_CONTEXT says otherwise.", c.Path)
	if env := a.getenv("INTAGLIO_CONTEXT"); env != "" {
		a.warn("INTAGLIO_CONTEXT is set to %s, and goes first.", env)
	}
	return nil
}

func (a *app) showContext() error {
	c, err := client.Find(a.contextFile, a.getenv)
	if err != nil {
		return contextFailure(err)
	}
	id, err := c.Identity()
	if err != nil {
		return contextFailure(err)
	}
	shown := struct {
		File       string    `json:"file"`
		From       string    `json:"from"`
		Server     string    `json:"server"`
		HTTP       string    `json:"http,omitempty"`
		Issuer     string    `json:"issuer,omitempty"`
		Principal  string    `json:"principal"`
		ExpireTime time.Time `json:"expireTime"`
	}{c.Path, c.From, c.Server, c.HTTP, c.Issuer, id.Principal, id.Until.UTC()}
	return a.printer().Value(shown, []string{c.Path}, func(w io.Writer) {
		you := id.Principal
		if you == "" {
			you = "nobody: " + id.Nameless
		}
		until := "until " + cli.Time(id.Until, time.Now())
		if time.Now().After(id.Until) {
			until = "EXPIRED " + cli.Time(id.Until, time.Now())
		}
		cli.Facts(w, "context", c.Path+" (by "+c.From+")", "server", c.Server, "http", c.HTTP, "issuer", c.Issuer,
			"you", you, "certificate", filepath.Base(c.Cert)+", "+until)
	})
}
