// Command roomalert turns sensor readings into alert mails: it joins a stream
// of temperature readings with a replicated table of devices, keeps an alert
// state per device, and mails the device's owner when a room gets too warm and
// when it is well again. See README.md for its flags.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Exit codes.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2 // flags and input files
	exitInterrupted = 130
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the whole program. It returns the exit code. When ctx ends it stops
// in order.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	cfg, err := parseFlags(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitDone
	case err != nil:
		_, _ = fmt.Fprintf(stderr, "roomalert: %v\nroomalert -h lists the flags.\n", err)
		return exitUsage
	}
	in, err := readInputs(cfg)
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "roomalert: %v\n", err)
		return exitUsage
	}
	con := newConsole(stdout, stderr, isTerminal(stderr))
	code, err := runApp(ctx, cfg, in, con)
	if err != nil {
		con.note("%v", err)
	}
	return code
}
