// Package accept is the frame of an acceptance program: a main function that shows one thing, says what it ran, and
// holds each figure against a bar. Use it as
//
//	func main() {
//		accept.Run("arrows", "the heart stands on the standard library", func(r *accept.Report) error {
//			out, err := r.Exec(exec.Command("go", "list", "-deps", "./keyring"))
//			...
//			r.AtMost("third-party packages below ./keyring", count, 0, "")
//			return nil
//		})
//	}
//
// Programs run from anywhere in the repository; [Root] is its top.
package accept

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Report is where a program writes what it ran and what came of it. It is not safe for concurrent use.
type Report struct {
	out         io.Writer
	met, missed int
}

// Run runs an acceptance program, prints its report to stdout and ends the process: with 0 if f returned nil and every
// bar was met, else with 1. A program that holds nothing against a bar has shown nothing, and fails.
func Run(name, shows string, f func(r *Report) error) {
	os.Exit(run(os.Stdout, name, shows, f))
}

func run(out io.Writer, name, shows string, f func(r *Report) error) int {
	r := &Report{out: out}
	start := time.Now()
	fmt.Fprintf(out, "== %s: %s\n", name, shows)
	err := f(r)
	if err == nil && r.met+r.missed == 0 {
		err = errors.New("no figure was held against a bar")
	}
	verdict, code := "PASS", 0
	if err != nil {
		fmt.Fprintf(out, "error:   %v\n", err)
	}
	if err != nil || r.missed > 0 {
		verdict, code = "FAIL", 1
	}
	fmt.Fprintf(out, "%s     %s: %d of %d bars met in %s\n", verdict, name, r.met, r.met+r.missed, time.Since(start).Round(100*time.Millisecond))
	return code
}

// Ran tells the reader what was done, so that they can do it again.
func (r *Report) Ran(format string, args ...any) {
	fmt.Fprintf(r.out, "ran:     %s\n", fmt.Sprintf(format, args...))
}

// Note prints a figure that has no bar, or a remark.
func (r *Report) Note(format string, args ...any) {
	fmt.Fprintf(r.out, "note:    %s\n", fmt.Sprintf(format, args...))
}

// Figure prints a figure beside its bar, and whether the bar was met.
func (r *Report) Figure(what, figure, bar string, met bool) {
	verdict := "PASS"
	if met {
		r.met++
	} else {
		r.missed++
		verdict = "FAIL"
	}
	fmt.Fprintf(r.out, "figure:  %s: %s   bar: %s   %s\n", what, figure, bar, verdict)
}

// AtMost holds a figure against an upper bar, both in unit ("" for a count).
func (r *Report) AtMost(what string, figure, bar float64, unit string) {
	r.Figure(what, number(figure, unit), "at most "+number(bar, unit), figure <= bar)
}

// AtLeast holds a figure against a lower bar, both in unit ("" for a count).
func (r *Report) AtLeast(what string, figure, bar float64, unit string) {
	r.Figure(what, number(figure, unit), "at least "+number(bar, unit), figure >= bar)
}

// Equal holds a count against the only one that will do.
func (r *Report) Equal(what string, figure, bar int) {
	r.Figure(what, strconv.Itoa(figure), strconv.Itoa(bar), figure == bar)
}

// Holds is for what is true or not.
func (r *Report) Holds(what string, holds bool) {
	r.Figure(what, yes(holds), yes(true), holds)
}

// Exec runs cmd to its end, reports it as ran, and returns what it wrote to stdout. If it fails, the error carries all it
// wrote to stdout and stderr. cmd's Stdout and Stderr must be unset.
func (r *Report) Exec(cmd *exec.Cmd) (string, error) {
	r.Ran("%s", strings.Join(cmd.Args, " "))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s: %w\n%s%s", strings.Join(cmd.Args, " "), err, &stdout, &stderr)
	}
	return stdout.String(), nil
}

var moduleLine = regexp.MustCompile(`(?m)^module intaglio\.example$`)

// Root is the top of the repository: the directory at or above the current one whose go.mod is the main module's.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("looking for the repository: %w", err)
	}
	for start := dir; ; dir = filepath.Dir(dir) {
		mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && moduleLine.Match(mod) {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("%s is not inside the repository of module intaglio.example", start)
		}
	}
}

func number(v float64, unit string) string {
	s := strconv.FormatFloat(v, 'f', -1, 64)
	if v != float64(int64(v)) {
		s = strconv.FormatFloat(v, 'f', 2, 64)
	}
	if unit == "" || unit == "%" {
		return s + unit
	}
	return s + " " + unit
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
