// Command newcomer does what the README says, in a fresh clone: make run to the end of its walk, then make test.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"intaglio.example/test/acceptance/internal/accept"
)

// The bars hold for two cores and a warm module cache.
const (
	walkBar = 3 * time.Minute
	testBar = 45 * time.Minute
)

var walkOnly = flag.Bool("walk-only", false, "leave make test out")

func main() {
	flag.Parse()
	accept.Run("newcomer", "a fresh clone, and the README's two commands", show)
}

func show(r *accept.Report) error {
	root, err := accept.Root()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "intaglio newcomer") // with a space, as people have them
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	clone := filepath.Join(dir, "intaglio")
	if _, err := r.Exec(exec.Command("git", "clone", "-q", root, clone)); err != nil {
		return err
	}
	took, err := walk(r, clone)
	if err != nil {
		return err
	}
	r.AtMost("make run, until the walk is done", took.Seconds(), walkBar.Seconds(), "s")
	if *walkOnly {
		return nil
	}
	began := time.Now()
	test := exec.Command("make", "test")
	test.Dir = clone
	if _, err := r.Exec(test); err != nil {
		return err
	}
	r.AtMost("make test", time.Since(began).Minutes(), testBar.Minutes(), "min")
	return nil
}

// walk runs make run until it says that the walk is done and that it serves, and ends it as Ctrl-C does.
func walk(r *accept.Report, clone string) (time.Duration, error) {
	told, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cmd := exec.Command("make", "run", "ARGS=--grpc 127.0.0.1:0 --http 127.0.0.1:0")
	cmd.Dir = clone
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // make and what it runs end together
	r.Ran("%s", strings.Join(cmd.Args, " "))
	out := &watch{}
	cmd.Stdout, cmd.Stderr = out, out
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // whatever of them is left
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	for !out.contains("walk: done") {
		select {
		case err := <-exited:
			return 0, fmt.Errorf("make run ended before its walk did: %v\n%s", err, out.text())
		case <-told.Done():
			return 0, context.Cause(told)
		case <-time.After(50 * time.Millisecond):
		}
		if time.Since(began) > 2*walkBar {
			return 0, fmt.Errorf("the walk did not end\n%s", out.text())
		}
	}
	took := time.Since(began)
	syscall.Kill(-cmd.Process.Pid, syscall.SIGINT)
	select {
	case <-exited:
	case <-time.After(20 * time.Second):
		return 0, fmt.Errorf("the server did not end on an interrupt\n%s", out.text())
	}
	return took, nil
}

// watch keeps what is written to it, to be looked at meanwhile.
type watch struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

var _ io.Writer = (*watch)(nil)

func (w *watch) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.Write(b)
}

func (w *watch) contains(s string) bool { return strings.Contains(w.text(), s) }

func (w *watch) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}
