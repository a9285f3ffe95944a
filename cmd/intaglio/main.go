// Command intaglio is the server and the command line of Intaglio in one binary.
//
// Use intaglio dev to try everything on one machine, intaglio init and intaglio serve to run it, and the other verbs as a
// client of a running server. All wiring of rooms is here: serve.go reads from the configuration to the listeners.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	a := &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv}
	code := a.run(ctx, os.Args[1:])
	stop()
	os.Exit(int(code))
}
