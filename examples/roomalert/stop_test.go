package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/globaltable/enrich/internal/kafkatest"
)

// prompt is how long a stop may take on a busy machine.
const prompt = 15 * time.Second

// process is the program in a process of its own, to be killed.
type process struct {
	said
	t      *testing.T
	cmd    *exec.Cmd
	exited chan error
	ended  bool
}

func startProcess(t *testing.T, args ...string) *process {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	p := &process{t: t, cmd: exec.Command(exe, args...), exited: make(chan error, 1)}
	p.cmd.Env = append(os.Environ(), envProgram+"=1")
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	stdin, err := p.cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	go func() { p.exited <- p.cmd.Wait() }()
	t.Cleanup(func() {
		_ = stdin.Close()
		if !p.ended {
			_ = p.cmd.Process.Kill()
			if err := <-p.exited; err == nil {
				t.Log("the process ended by itself before it was killed")
			}
		}
	})
	return p
}

func (p *process) wait() *finished {
	p.t.Helper()
	err, ok := await(p.exited, &p.said)
	if !ok {
		p.t.Fatalf("the process has not ended\n%s\n%s", p.out.String(), p.err.String())
	}
	p.ended = true
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		require.NoError(p.t, err)
	}
	return &finished{p.cmd.ProcessState.ExitCode(), p.out.String(), p.err.String()}
}

func (p *process) until(text string) {
	p.t.Helper()
	p.said.until(p.t, text)
}

// kill is kill -9.
func (p *process) kill() {
	p.t.Helper()
	_ = p.cmd.Process.Kill()
	p.wait()
}

// requireOnce checks that every mail of want arrived, and that none came twice
// but for one that was the last of a process that was killed and the first of
// the next.
func requireOnce(t *testing.T, server *smtpServer, want []string, sessionsOfKilled []int) {
	t.Helper()
	mails := server.caught()
	slices.SortStableFunc(mails, func(a, b caughtMail) int { return a.session - b.session })
	seen := make(map[string]int) // id -> place of the last one
	var unique []string
	for i, m := range mails {
		id := m.parse(t).Header.Get("Message-Id")
		if before, twice := seen[id]; twice {
			require.Equal(t, i-1, before, "mail %s came twice, and not one right after the other", id)
			require.True(t, slices.ContainsFunc(sessionsOfKilled, func(end int) bool { return mails[before].session <= end && end < m.session }),
				"mail %s came twice though no process was killed in between", id)
		} else {
			unique = append(unique, id)
		}
		seen[id] = i
	}
	slices.Sort(unique)
	require.Equal(t, want, unique)
}

// TestKillAtRandomMoments kills the program again and again, and then lets it
// finish. A kill comes after a random time, or at a random point of a mail's
// way.
func TestKillAtRandomMoments(t *testing.T) {
	want := example(t)
	scenario := func(t *testing.T, flags []string) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		rng := rand.New(rand.NewPCG(seed, 2))
		server := startSMTPServer(t)
		flags = with(flags, "-state", filepath.Join(t.TempDir(), "state"), "-smtp", server.addr)
		var ends []int
		for round := range 8 {
			p := startProcess(t, flags...)
			now := make(chan struct{})
			server.answer(nil)
			if round%2 == 0 {
				stage, n := []string{"mail", "rcpt", "data"}[rng.IntN(3)], rng.IntN(6)
				server.answer(func(s string, _ *caughtMail) error {
					if s == stage {
						if n == 0 {
							close(now)
						}
						n--
					}
					return nil
				})
			}
			select {
			case <-now:
			case <-time.After(time.Duration(rng.Int64N(int64(1500 * time.Millisecond)))):
			}
			p.kill()
			ends = append(ends, server.sessions())
		}
		server.answer(nil)
		r := startProcess(t, flags...).wait()
		require.Equal(t, exitDone, r.code, r.stderr)
		require.Equal(t, want.last(), r.last())
		requireOnce(t, server, want.ids(), ends)
	}
	t.Run("in-process broker", func(t *testing.T) { scenario(t, nil) })
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		flags, _, _ := topics(t, b, 3, 5)
		scenario(t, with(flags, exampleFiles()...))
	})
}

// TestKillWhileLoading kills the program and the broker in it while the readings
// are on their way into the broker's log, each time further on.
func TestKillWhileLoading(t *testing.T) {
	want := example(t)
	server := startSMTPServer(t)
	state := filepath.Join(t.TempDir(), "state")
	flags := []string{"-state", state, "-smtp", server.addr}
	partition := filepath.Join(state, "broker", "partitions", "readings-0", "0.dat")
	var ends []int // it may have been quicker
	for _, size := range []int64{1, 1, 50_000, 150_000, 300_000} {
		p := startProcess(t, flags...)
		require.Eventually(t, func() bool {
			info, err := os.Stat(partition)
			return err == nil && info.Size() >= size || len(p.exited) > 0
		}, patience, time.Millisecond)
		p.kill()
		ends = append(ends, server.sessions())
	}
	r := startProcess(t, flags...).wait()
	require.Equal(t, exitDone, r.code, r.stderr)
	require.Equal(t, want.last(), r.last())
	requireOnce(t, server, want.ids(), ends)
}

// What is committed to Kafka is not handed out again, so it has to be in the
// state by then, alert or not.
func TestKillAfterACommitKeepsTheCount(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		const n = 100
		flags, _, readings := topics(t, b, 1, 1)
		for i := range n {
			b.Produce(t, record(readings, "a", fmt.Sprintf(`{"device":"a","time":"2026-01-01T00:00:%02dZ","temp_f":50}`, i/2)))
		}
		state := t.TempDir()
		flags = with(flags, "-state", state)
		p := startProcess(t, with(flags, "-follow")...)
		p.until("joining")
		adm := b.Admin(t)
		require.Eventually(t, func() bool {
			lags, err := adm.Lag(t.Context())
			if err != nil {
				return false
			}
			for _, g := range lags {
				if at, ok := g.Lag.Lookup(readings, 0); ok && at.Commit.At == n {
					return true
				}
			}
			return false
		}, patience, 50*time.Millisecond)
		p.kill()
		r := runProgram(t.Context(), flags...)
		require.Equal(t, exitDone, r.code, r.stderr)
		require.Equal(t, "readings=100 joined=0 unmatched=100 dropped=0 alerts=0 resolved=0 mails=0", r.last())
	})
}

// TestInterruptAtRandomMoments does the same with Ctrl-C, after which nothing at
// all comes twice.
func TestInterruptAtRandomMoments(t *testing.T) {
	want := example(t)
	scenario := func(t *testing.T, flags []string) {
		server := startSMTPServer(t)
		flags = with(flags, "-state", filepath.Join(t.TempDir(), "state"), "-smtp", server.addr)
		for range 8 {
			p := startProgram(t, flags...)
			select {
			case <-p.done:
			case <-time.After(rand.N(1200 * time.Millisecond)):
			}
			begun := time.Now()
			r := p.interrupt()
			require.Less(t, time.Since(begun), prompt)
			if r.code == exitDone {
				break
			}
			require.Equal(t, exitInterrupted, r.code, r.stderr)
			require.Contains(t, r.stderr, "stopped before the end; start again with -state ")
			require.Regexp(t, `^readings=\d+ joined=\d+ unmatched=\d+ dropped=0 alerts=\d+ resolved=\d+ mails=\d+$`, r.last())
		}
		r := runProgram(t.Context(), flags...)
		require.Equal(t, exitDone, r.code, r.stderr)
		require.Equal(t, want.last(), r.last())
		require.Equal(t, want.ids(), slices.Sorted(slices.Values(server.ids())))
	}
	t.Run("in-process broker", func(t *testing.T) { scenario(t, nil) })
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		flags, _, _ := topics(t, b, 3, 5)
		scenario(t, with(flags, exampleFiles()...))
	})
}

func TestInterruptSignal(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no signal that a process can send to another")
	}
	server := newSMTPServer(t) // away, so that the program waits
	p := startProcess(t, "-smtp", server.addr)
	p.until("trying again until it works")
	require.NoError(t, p.cmd.Process.Signal(os.Interrupt))
	r := p.wait()
	require.Equal(t, exitInterrupted, r.code, r.stderr)
	require.Contains(t, r.stderr, "without -state nothing is kept")
	require.Regexp(t, `\d+ mails were waiting, and are lost: only -state keeps them`, r.stderr)
	require.Contains(t, r.last(), "mails=0")
}

func TestInterruptWhileTheSMTPServerIsAwayLosesNoMail(t *testing.T) {
	want := example(t)
	server := newSMTPServer(t)
	flags := []string{"-state", t.TempDir(), "-smtp", server.addr}
	p := startProgram(t, flags...)
	p.until(fmt.Sprintf("%d alerts, 0 mails | %d waiting | SMTP server away", len(want.episodes), 2*len(want.episodes)))
	r := p.interrupt()
	require.Equal(t, exitInterrupted, r.code, r.stderr)
	require.Contains(t, r.stdout, fmt.Sprintf("%d mails are waiting to be sent\n", 2*len(want.episodes)))
	require.Contains(t, r.stderr, "SMTP server "+server.addr+": dial tcp "+server.addr)

	server.start()
	r = runProgram(t.Context(), flags...)
	require.Equal(t, exitDone, r.code, r.stderr)
	require.Equal(t, want.last(), r.last())
	require.Equal(t, want.ids(), slices.Sorted(slices.Values(server.ids())))
}

// freeAddr returns an address that nobody listens on.
func freeAddr(t *testing.T) (addr string, port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String(), l.Addr().(*net.TCPAddr).Port
}

func TestUnreachableBrokersAreWaitedFor(t *testing.T) {
	want := example(t)
	addr, port := freeAddr(t)
	p := startProgram(t, with(exampleFiles(), "-brokers", addr)...)
	p.until("roomalert: topics: broker " + addr + ": ")
	require.Contains(t, p.err.String(), "trying again until it works")
	p.until("0 alerts, 0 mails | broker " + addr) // progress says so too
	c, err := kfake.NewCluster(kfake.Ports(port))
	require.NoError(t, err)
	defer c.Close()
	r := p.wait()
	require.Equal(t, exitDone, r.code, r.stderr)
	require.Equal(t, want.last(), r.last())
}

func TestInterruptWhileBrokersAreUnreachable(t *testing.T) {
	addr, _ := freeAddr(t)
	p := startProgram(t, "-brokers", addr, "-state", t.TempDir())
	p.until("trying again until it works")
	begun := time.Now()
	r := p.interrupt()
	require.Less(t, time.Since(begun), prompt)
	require.Equal(t, exitInterrupted, r.code, r.stderr)
	require.Equal(t, "readings=0 joined=0 unmatched=0 dropped=0 alerts=0 resolved=0 mails=0", r.last())
}

func TestInterruptWhenBrokersHaveGone(t *testing.T) {
	_, port := freeAddr(t)
	c, err := kfake.NewCluster(kfake.Ports(port))
	require.NoError(t, err)
	defer c.Close()
	p := startProgram(t, with(exampleFiles(), "-brokers", c.ListenAddrs()[0], "-follow", "-state", t.TempDir())...)
	p.until("23322 readings")
	c.Close()
	begun := time.Now()
	r := p.interrupt()
	require.Less(t, time.Since(begun), prompt)
	require.Equal(t, exitDone, r.code, r.stderr)
	require.Contains(t, r.last(), "readings=23322")
}

func TestSecondProcessIsRefused(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	p := startProcess(t, "-state", state, "-keep")
	p.until("readings=23322")
	before := listing(t, state)

	r := runProgram(t.Context(), "-state", state)
	require.Equal(t, exitFailed, r.code)
	require.Empty(t, r.stdout)
	require.Contains(t, r.stderr, "roomalert: -state "+state+" is in use by another process")
	require.Contains(t, r.stderr, "stop that one, or give another directory")
	second := startProcess(t, "-state", state).wait()
	require.Equal(t, exitFailed, second.code)
	require.Equal(t, before, listing(t, state), "nothing was touched")

	p.kill() // the lock goes with the process, however that ends
	r = runProgram(t.Context(), "-state", state)
	require.Equal(t, exitDone, r.code, r.stderr)
}

func listing(t *testing.T, dir string) (files []string) {
	t.Helper()
	require.NoError(t, filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() && filepath.Base(path) != "lock" && !strings.Contains(path, "broker") {
			files = append(files, fmt.Sprint(path, " ", info.Size(), " ", info.ModTime()))
		}
		return err
	}))
	return files
}

func TestStateThatCannotBeADirectory(t *testing.T) {
	file := write(t, "file", "x")
	r := runProgram(t.Context(), "-state", file)
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.stderr, "roomalert: -state: ")
	require.Contains(t, r.stderr, "not a directory")
}
