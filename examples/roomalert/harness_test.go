package main

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience bounds how long a program may say nothing new, and every other wait
// of a test.
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
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var s said
	done := make(chan int, 1)
	go func() { done <- run(ctx, args, &s.out, &s.err) }()
	code, ok := await(done, &s)
	if !ok {
		cancel()
		code = <-done
	}
	return &finished{code, s.out.String(), s.err.String()}
}

// said is what a run has written.
type said struct{ out, err output }

func (s *said) contains(text string) bool {
	return strings.Contains(s.out.String(), text) || strings.Contains(s.err.String(), text)
}

// lines returns how many different lines there are.
func (s *said) lines() int {
	seen := make(map[string]bool)
	for line := range strings.Lines(s.out.String() + "\n" + s.err.String()) {
		seen[line] = true
	}
	return len(seen)
}

// await waits for the end of a run for as long as it says something new: a busy
// machine is slow, and a run that stands still repeats itself at most.
func await[T any](done <-chan T, s *said) (v T, ok bool) {
	lines := 0
	for {
		select {
		case v = <-done:
			return v, true
		case <-time.After(patience):
		}
		n := s.lines()
		if n == lines {
			return v, false
		}
		lines = n
	}
}

// until waits for a text in the same way.
func (s *said) until(t *testing.T, text string) {
	t.Helper()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	lines, since := 0, time.Now()
	for !s.contains(text) {
		<-ticker.C
		if time.Since(since) < patience {
			continue
		}
		n := s.lines()
		if n == lines {
			t.Fatalf("%q does not come\n%s\n%s", text, s.out.String(), s.err.String())
		}
		lines, since = n, time.Now()
	}
}

// program is a run in this process.
type program struct {
	said
	t    *testing.T
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
	if _, ok := await(p.done, &p.said); !ok {
		p.t.Fatalf("the program has not ended\n%s\n%s", p.out.String(), p.err.String())
	}
	return &finished{p.code, p.out.String(), p.err.String()}
}

func (p *program) interrupt() *finished {
	p.t.Helper()
	p.stop()
	return p.wait()
}

func (p *program) until(text string) {
	p.t.Helper()
	p.said.until(p.t, text)
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

// countLines returns how many lines of what was written contain text.
func countLines(o *output, text string) (n int) {
	for line := range strings.Lines(o.String()) {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}
