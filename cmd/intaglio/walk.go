package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"

	"intaglio.example/cmd/intaglio/internal/cli"
)

// A walk goes through the main job once, as a person with a terminal would: every step is a command line of this program,
// carried out over the network with the context file, and shown with its output.
type walk struct {
	a       *app
	dir     string
	context string
	http    string
	step    int
}

func newWalk(a *app, s *devState, b bound) *walk {
	return &walk{a: a, dir: s.dir, context: s.path("context.yaml"), http: b.http}
}

// claims of the walk's tokens; the number is one that a JSON library which reads numbers as floats would change.
const walkClaims = `{"sub":"alice","aud":"` + demoAudience + `","n":9007199254740993}`

func (w *walk) run(ctx context.Context) error {
	if err := w.settle(ctx); err != nil {
		return err
	}
	fmt.Fprintf(w.a.stdout, "\nA walk through the main job. Each command is one you can type.\n\n$ %s\n", exportLine(shortest(w.context)))
	old, err := w.signAndLook(ctx)
	if err != nil {
		return err
	}
	fresh, err := w.rotate(ctx, old)
	if err != nil {
		return err
	}
	if err := w.revokeOld(ctx, old, fresh); err != nil {
		return err
	}
	if err := w.revokeAll(ctx, fresh); err != nil {
		return err
	}
	fmt.Fprintf(w.a.stdout, "\nwalk: done\n")
	return nil
}

func (w *walk) heading(text string) {
	w.step++
	fmt.Fprintf(w.a.stdout, "\n%d. %s\n", w.step, text)
}

// result is what a command came to.
type result struct {
	stdout, stderr string
	code           cli.Code
}

// quiet carries out a command line of this program in a run of its own.
func (w *walk) quiet(ctx context.Context, stdin string, args ...string) result {
	var stdout, stderr bytes.Buffer
	sub := &app{stdin: strings.NewReader(stdin), stdout: &stdout, stderr: &stderr, getenv: func(name string) string {
		if name == "INTAGLIO_CONTEXT" {
			return w.context
		}
		return w.a.getenv(name)
	}}
	code := sub.run(ctx, args)
	return result{stdout.String(), stderr.String(), code}
}

// do shows a command and what comes of it, and wants an exit status. before and after are the rest of the shell's line.
func (w *walk) do(ctx context.Context, want cli.Code, before, after, stdin string, args ...string) (result, error) {
	shown := make([]string, len(args))
	for i, arg := range args {
		shown[i] = cli.ShellQuote(arg)
	}
	fmt.Fprintf(w.a.stdout, "$ %sintaglio %s%s\n", before, strings.Join(shown, " "), after)
	r := w.quiet(ctx, stdin, args...)
	io.WriteString(w.a.stdout, r.stderr+r.stdout)
	if r.code != want {
		return r, w.failed(fmt.Sprintf("intaglio %s ended with %d, not with %d", strings.Join(args, " "), r.code, want))
	}
	return r, nil
}

func (w *walk) failed(why string) error {
	return &cli.Failure{
		What: fmt.Sprintf("the walk failed at step %d", w.step), Reason: "WALK_FAILED", Why: why, Code: cli.Failed,
		Next: "The output above says more; the state is kept:  intaglio dev --dir " + cli.ShellQuote(w.dir),
	}
}

// settle waits until nothing is left to do from an earlier start that could get in the way: a successor about to sign.
func (w *walk) settle(ctx context.Context) error {
	var denied error
	err := w.until(ctx, func() bool {
		keys := w.quiet(ctx, "", "key", "list", demoRing)
		if keys.code != cli.Done && ctx.Err() == nil {
			denied = w.failed("the keys cannot be looked at:\n" + keys.stderr)
			return true
		}
		return w.signer(ctx) != "" && !strings.Contains(keys.stdout, "staged") && !strings.Contains(keys.stdout, "reserved")
	}, "ring "+demoRing+" did not come to rest")
	return errors.Join(denied, err)
}

// patience is how long the walk waits for the server to do something by itself.
const patience = 20 * time.Second

func (w *walk) until(ctx context.Context, done func() bool, otherwise string) error {
	deadline := time.After(patience)
	for !done() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-deadline:
			return w.failed(otherwise)
		case <-time.After(100 * time.Millisecond):
		}
	}
	return nil
}

func (w *walk) signAndLook(ctx context.Context) (token string, err error) {
	w.heading("Sign")
	if token, err = w.sign(ctx, "old.jwt"); err != nil {
		return "", err
	}
	w.heading("Look inside")
	parts := strings.Split(strings.TrimSpace(token), ".")
	for i, name := range []string{"header", "claims"} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			return "", w.failed(err.Error())
		}
		fmt.Fprintf(w.a.stdout, "%s  %s\n", name, cli.Clean(string(text)))
	}
	w.heading("Fetch the public keys, as any verifier does")
	if err := w.fetch(ctx, w.http+"/"+demoIssuer+"/jwks.json"); err != nil {
		return "", err
	}
	w.heading("Verify")
	_, err = w.do(ctx, cli.Done, "", " < old.jwt", token, "verify", "--audience", demoAudience, "--explain")
	return token, err
}

func (w *walk) sign(ctx context.Context, file string) (string, error) {
	r, err := w.do(ctx, cli.Done, "echo '"+walkClaims+"' | ", " | tee "+file, walkClaims+"\n", "sign", demoRing)
	return r.stdout, err
}

func (w *walk) fetch(ctx context.Context, url string) error {
	fmt.Fprintf(w.a.stdout, "$ curl -s %s\n", url)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return w.failed(err.Error())
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return w.failed(err.Error())
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil || res.StatusCode != http.StatusOK {
		return w.failed(fmt.Sprintf("%s answered %s, %v", url, res.Status, err))
	}
	fmt.Fprintln(w.a.stdout, strings.TrimSpace(string(body)))
	return nil
}

// signer is the key that signs, for show and to notice a change.
func (w *walk) signer(ctx context.Context) string {
	r := w.quiet(ctx, "", "ring", "get", demoRing)
	for line := range strings.Lines(r.stdout) {
		if name, ok := strings.CutPrefix(line, "signer"); ok {
			return strings.TrimSpace(name)
		}
	}
	return ""
}

func (w *walk) rotate(ctx context.Context, old string) (fresh string, err error) {
	before := w.signer(ctx)
	w.heading("Rotate: a successor is made and published; it signs once verifiers have had time to fetch it")
	if _, err := w.do(ctx, cli.Done, "", "", "", "rotate", demoRing); err != nil {
		return "", err
	}
	fmt.Fprintln(w.a.stdout, "(waiting 5 s, the ring's propagation time; the server goes on by itself)")
	err = w.until(ctx, func() bool { now := w.signer(ctx); return now != "" && now != before }, "the successor did not begin to sign")
	if err != nil {
		return "", err
	}
	if _, err := w.do(ctx, cli.Done, "", "", "", "plan", demoRing); err != nil {
		return "", err
	}
	if fresh, err = w.sign(ctx, "new.jwt"); err != nil {
		return "", err
	}
	w.heading("The old token is still good: its key no longer signs, but is still published")
	if _, err = w.do(ctx, cli.Done, "", " < old.jwt", old, "verify", "--audience", demoAudience); err != nil {
		return "", err
	}
	_, err = w.do(ctx, cli.Done, "", " < new.jwt", fresh, "verify", "--audience", demoAudience)
	return fresh, err
}

var confirmPattern = regexp.MustCompile(`--confirm ([0-9]+-[0-9A-F]{4})`)

// confirmed does the dry run of a revocation, then the real one with the code it printed.
func (w *walk) confirmed(ctx context.Context, args ...string) error {
	dry, err := w.do(ctx, cli.Done, "", "", "", args...)
	if err != nil {
		return err
	}
	code := confirmPattern.FindStringSubmatch(dry.stdout)
	if code == nil {
		return w.failed("the dry run printed no code to confirm")
	}
	_, err = w.do(ctx, cli.Done, "", "", "", append(args, "--confirm", code[1])...)
	return err
}

// retiring is the key before the one that signs.
func (w *walk) retiring(ctx context.Context) (string, error) {
	r := w.quiet(ctx, "", "key", "list", demoRing)
	for line := range strings.Lines(r.stdout) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[1] == "retiring" {
			return fields[0], nil // the newest comes first
		}
	}
	return "", w.failed("no key is retiring:\n" + r.stdout + r.stderr)
}

func (w *walk) revokeOld(ctx context.Context, old, fresh string) error {
	w.heading("Suppose the old key was stolen. Revoke it: first a dry run, then with the code it printed")
	key, err := w.retiring(ctx)
	if err != nil {
		return err
	}
	if err := w.confirmed(ctx, "revoke", "key", key, "--reason", "stolen laptop"); err != nil {
		return err
	}
	w.heading("The old token is refused, although its signature is as good as ever. The new one is not concerned")
	if _, err := w.do(ctx, cli.Failed, "", " < old.jwt", old, "verify", "--audience", demoAudience, "--explain"); err != nil {
		return err
	}
	_, err = w.do(ctx, cli.Done, "", " < new.jwt", fresh, "verify", "--audience", demoAudience)
	return err
}

func (w *walk) revokeAll(ctx context.Context, fresh string) error {
	w.heading("Suppose everything was stolen. Revoke every key there is, and make new ones in another backend")
	if err := w.confirmed(ctx, "revoke-all", "--into", spareBackend, "--reason", "storm"); err != nil {
		return err
	}
	if _, err := w.do(ctx, cli.Failed, "", " < new.jwt", fresh, "verify", "--audience", demoAudience); err != nil {
		return err
	}
	w.heading("And go on")
	if _, err := w.do(ctx, cli.Done, "", "", "", "ring", "list"); err != nil {
		return err
	}
	last, err := w.sign(ctx, "last.jwt")
	if err != nil {
		return err
	}
	_, err = w.do(ctx, cli.Done, "", " < last.jwt", last, "verify", "--audience", demoAudience)
	return err
}
