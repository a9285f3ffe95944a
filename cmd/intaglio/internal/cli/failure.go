package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// Code is an exit status. Scripts may rely on it.
type Code int

const (
	// Done is success.
	Done Code = iota
	// Failed is everything that has no number of its own, a token that was refused among it.
	Failed
	// Usage is a command line that makes no sense; nothing was tried.
	Usage
	// Denied is a caller who is unknown or has no grant.
	Denied
	// NotFound is a thing that is not there.
	NotFound
	// Conflict is something that changed, or exists already.
	Conflict
	// Unavailable is a server, store or backend that cannot answer now.
	Unavailable
	// Left is work that was done, with something left to do.
	Left
)

// A Failure is the end of a command as a person reads it: what happened to which thing, why, and what to type next.
type Failure struct {
	What   string // "cannot sign with payments/access"
	Reason string // in capitals, stable, for scripts: a reason of the API, or one of the command line's own
	Why    string
	Next   string // never empty
	Code   Code
	Cause  error // for errors.Is; not printed
	// Verdict says that What is a result in itself, such as "refused: …", and no error of ours.
	Verdict bool
}

// Error returns the first two lines in one.
func (f *Failure) Error() string { return f.What + ": " + f.Why }

// Unwrap gives the cause.
func (f *Failure) Unwrap() error { return f.Cause }

// Misused is a command line that makes no sense.
func Misused(why, next string, args ...any) *Failure {
	return &Failure{What: "the command was not understood", Reason: "USAGE", Why: why, Next: fmt.Sprintf(next, args...), Code: Usage}
}

// Report writes err in three lines, and returns the exit status. An error that is no [Failure] came from parsing the
// command line, which is the only place that makes others.
func Report(w io.Writer, err error) Code {
	if err == nil {
		return Done
	}
	f := (*Failure)(nil)
	if !errors.As(err, &f) {
		f = Misused(err.Error(), "See what there is:  intaglio --help")
		f.Cause = err
	}
	word := "error: "
	if f.Verdict {
		word = ""
	}
	fmt.Fprintf(w, "%s%s   [%s]\n  %s\n  %s\n", word, Clean(f.What), f.Reason, indented(f.Why), indented(f.Next))
	return f.Code
}

// indented keeps the lines of a longer text, each cleaned and under the same indent.
func indented(s string) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	for i := range lines {
		lines[i] = Clean(lines[i])
	}
	return strings.Join(lines, "\n  ")
}
