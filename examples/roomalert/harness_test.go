package main

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience bounds every wait of a test.
const patience = time.Minute

// tick is how often a test looks whether what it waits for has happened.
const tick = 5 * time.Millisecond

// finished is a run that has ended.
type finished struct {
	code           int
	stdout, stderr string
}

// last is the last line on stdout.
func (f *finished) last() string {
	lines := strings.Split(strings.TrimRight(f.stdout, "\n"), "\n")
	return lines[len(lines)-1]
}

// subjects are the mails that were delivered, as shown.
func (f *finished) subjects() (s []string) {
	for line := range strings.Lines(f.stdout) {
		if _, subject, ok := strings.Cut(strings.TrimSpace(line), ": "); ok && strings.HasPrefix(line, "mail to ") {
			s = append(s, subject)
		}
	}
	return s
}

func runProgram(ctx context.Context, args ...string) *finished {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var out, err bytes.Buffer
	code := run(ctx, args, &out, &err)
	return &finished{code, out.String(), err.String()}
}

// program is a run in this process.
type program struct {
	t    *testing.T
	out  output
	err  output
	stop context.CancelFunc // what Ctrl-C does
	done chan struct{}
	code int
}

func startProgram(t *testing.T, args ...string) *program {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p := &program{t: t, stop: cancel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.code = run(ctx, args, &p.out, &p.err)
	}()
	t.Cleanup(func() { cancel(); <-p.done })
	return p
}

func (p *program) wait() *finished {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatalf("the program has not ended\n%s\n%s", p.out.String(), p.err.String())
	}
	return &finished{p.code, p.out.String(), p.err.String()}
}

func (p *program) interrupt() *finished {
	p.t.Helper()
	p.stop()
	return p.wait()
}

// until waits for something on stdout or stderr.
func (p *program) until(text string) {
	p.t.Helper()
	require.Eventually(p.t, func() bool {
		return strings.Contains(p.out.String(), text) || strings.Contains(p.err.String(), text)
	}, patience, tick, "%q does not come", text)
}

// output is a buffer that can be read while it is written.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}
