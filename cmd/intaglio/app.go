package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"intaglio.example/cmd/intaglio/internal/cli"
	"intaglio.example/cmd/intaglio/internal/client"
	"intaglio.example/internal/secret"
)

// An app is one run of the command line: what it reads, where it writes, and the flags that all verbs share. Nothing of it is
// global, so that one process can run many.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string

	contextFile string
	format      cli.Format
	timeout     time.Duration
}

// run carries out one command line and returns its exit status.
func (a *app) run(ctx context.Context, args []string) cli.Code {
	a.format = cli.Table
	root := newRoot(a)
	root.SetArgs(args)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	return cli.Report(a.stderr, root.ExecuteContext(ctx))
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "intaglio",
		Short: "Sign tokens with keys that nobody can read; rotate them; revoke them all",
		Long: `Intaglio signs tokens with keys that nobody can read, rotates the keys, and revokes them: one, or all at once.

Results go to stdout, progress and warnings to stderr. Exit status: 0 done, 1 failed, 2 usage, 3 denied, 4 not found,
5 conflict, 6 unavailable, 7 done but something is left to do. Revoking is a dry run until it is confirmed.`,
		Example: `  intaglio dev --walk
  export INTAGLIO_CONTEXT=.intaglio/context.yaml
  echo '{"sub":"alice","aud":"https://api.demo.test"}' | intaglio sign demo/access | intaglio verify --explain`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	flags := root.PersistentFlags()
	flags.StringVar(&a.contextFile, "context", "", "`FILE` that says which server to talk to, and as whom (default $INTAGLIO_CONTEXT, then intaglio context use)")
	flags.VarP(&a.format, "output", "o", "how results are printed: "+strings.Join(cli.Formats(), ", "))
	flags.DurationVar(&a.timeout, "timeout", 30*time.Second, "how long a command may take that talks to a server")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return cli.Misused(err.Error(), "See its flags:  %s --help", cmd.CommandPath())
	})
	for _, g := range []struct {
		id, title string
		verbs     []*cobra.Command
	}{
		{"run", "Run it:", []*cobra.Command{newDev(a), newInit(a), newServe(a), newStore(a)}},
		{"use", "Use it:", []*cobra.Command{newSign(a), newVerify(a)}},
		{"shape", "Shape it:", []*cobra.Command{newIssuer(a), newRing(a), newGrant(a)}},
		{"keep", "Keep it:", []*cobra.Command{newPlan(a), newRotate(a), newKey(a)}},
		{"emergency", "Emergency:", []*cobra.Command{newRevoke(a), newRevokeAll(a)}},
		{"client", "This program:", []*cobra.Command{newContext(a), newVersion(a)}},
	} {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, verb := range g.verbs {
			verb.GroupID = g.id
			root.AddCommand(verb)
		}
	}
	root.SetHelpCommandGroupID("client")
	root.SetCompletionCommandGroupID("client")
	explain(root)
	return root
}

// explain has every verb end in a failure for people, so that what is left unexplained is the command line's own parsing.
func explain(c *cobra.Command) {
	for _, sub := range c.Commands() {
		explain(sub)
	}
	do := c.RunE
	if do == nil {
		return
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		err := do(c, args)
		if f := (*cli.Failure)(nil); err == nil || errors.As(err, &f) {
			return err
		}
		return &cli.Failure{
			What: c.CommandPath() + " failed", Reason: "FAILED", Why: err.Error(), Code: cli.Failed, Cause: err,
			Next: "Repeat it; if it fails again, this may be a defect.",
		}
	}
}

// family is a command that does nothing but hold others.
func family(use, short string, verbs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: cobra.ArbitraryArgs}
	var examples []string
	for _, v := range verbs {
		first, _, _ := strings.Cut(v.Example, "\n")
		examples = append(examples, first)
	}
	c.Example = strings.Join(examples, "\n")
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			return cli.Misused(fmt.Sprintf("there is no %s %s", c.CommandPath(), args[0]), "See what there is:  %s --help", c.CommandPath())
		}
		return cli.Misused(c.CommandPath()+" needs to be told what to do", "See what there is:  %s --help", c.CommandPath())
	}
	c.AddCommand(verbs...)
	return c
}

// takes wants as many arguments as it names.
func takes(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == len(names) {
			return nil
		}
		want := strings.Join(names, " ")
		if want == "" {
			want = "no arguments"
		}
		return cli.Misused(fmt.Sprintf("%s takes %s, got %d", c.CommandPath(), want, len(args)), "See examples:  %s --help", c.CommandPath())
	}
}

// required refuses a command line without one of the flags.
func required(c *cobra.Command, flags ...string) error {
	for _, name := range flags {
		if f := c.Flags().Lookup(name); f == nil || !f.Changed || f.Value.String() == "" {
			return cli.Misused(c.CommandPath()+" needs --"+name, "See examples:  %s --help", c.CommandPath())
		}
	}
	return nil
}

// online is a verb that talks to the context's server.
func (a *app) online(do func(ctx context.Context, c *client.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		return a.connected(cmd.Context(), func(ctx context.Context, c *client.Client) error { return do(ctx, c, args) })
	}
}

// connected calls do with the context's server, and with a context that ends at the timeout.
func (a *app) connected(ctx context.Context, do func(context.Context, *client.Client) error) error {
	c, err := a.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	return do(ctx, c)
}

func (a *app) dial() (*client.Client, error) {
	found, err := client.Find(a.contextFile, a.getenv)
	if err != nil {
		return nil, contextFailure(err)
	}
	c, err := found.Dial()
	if err != nil {
		return nil, contextFailure(err)
	}
	return c, nil
}

func contextFailure(err error) error {
	f := &cli.Failure{
		What: "cannot tell which server to talk to", Reason: "CONTEXT_INVALID", Why: err.Error(), Cause: err, Code: cli.Failed,
		Next: "See what is chosen:  intaglio context list    choose another:  intaglio context use FILE",
	}
	switch {
	case errors.Is(err, client.ErrNone):
		f.Reason, f.Code = "CONTEXT_MISSING", cli.Usage
		f.Why = "neither --context nor INTAGLIO_CONTEXT names a context, and none was chosen with intaglio context use"
		f.Next = "With a server of intaglio dev:  export INTAGLIO_CONTEXT=.intaglio/context.yaml"
	case errors.Is(err, fs.ErrNotExist):
		f.Reason, f.Code = "CONTEXT_MISSING", cli.Usage
	case errors.Is(err, secret.ErrExposed):
		f.Reason, f.Next = "FILE_EXPOSED", "Make it yours alone:  chmod 0600 FILE.  If others could read it, have a new certificate issued."
	}
	return f
}

func (a *app) printer() cli.Printer { return cli.Printer{W: a.stdout, Format: a.format} }

// warn writes a line for the person, not for the result.
func (a *app) warn(format string, args ...any) {
	fmt.Fprintln(a.stderr, cli.Clean(fmt.Sprintf(format, args...)))
}

// terminal reports whether standard input is a person.
func (a *app) terminal() bool {
	f, ok := a.stdin.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// readInput reads the file, or standard input when its name is empty or -.
func (a *app) readInput(path, what string) ([]byte, error) {
	const most = 1 << 20
	in := a.stdin
	if path != "" && path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, inputFailure(what, err)
		}
		defer f.Close()
		in = f
	} else if a.terminal() {
		a.warn("Reading %s from the terminal; end with Ctrl-D.", what)
	}
	text, err := io.ReadAll(io.LimitReader(in, most))
	if err != nil {
		return nil, inputFailure(what, err)
	}
	return text, nil
}

func inputFailure(what string, err error) error {
	return &cli.Failure{
		What: "cannot read " + what, Reason: "INPUT_UNREADABLE", Why: err.Error(), Cause: err, Code: cli.Failed,
		Next: "Name a file you can read, or send it to standard input.",
	}
}

// pages calls get until there is no next page.
func pages(get func(token string) (next string, err error)) error {
	for token := ""; ; {
		next, err := get(token)
		if err != nil || next == "" {
			return err
		}
		token = next
	}
}

// pageSize is the most that a server gives at once.
const pageSize = 1000
