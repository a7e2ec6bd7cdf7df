package globaltable

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/globaltable/enrich/codec"
)

// killEnv makes the test binary a replica: its value is a killConfig.
const killEnv = "ENRICH_TABLE_KILL_TEST"

type killConfig struct {
	Brokers    []string
	Topic, Dir string
	Bulk       bool // load in bulk what can be
}

// killedReplica is the process that is killed. It says when it is ready.
func killedReplica() int {
	var c killConfig
	err := json.Unmarshal([]byte(os.Getenv(killEnv)), &c)
	if err == nil {
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			// It must not outlive the test that started it.
			_, _ = io.Copy(io.Discard, os.Stdin)
			cancel()
		}()
		err = runReplica(ctx, c)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func runReplica(ctx context.Context, c killConfig) error {
	opts := []Opt{Brokers(c.Brokers...), Dir(c.Dir), FlushInterval(20 * time.Millisecond), Logger(slog.New(slog.NewTextHandler(os.Stderr, nil)))}
	if c.Bulk {
		opts = append(opts, smallBulk())
	}
	tb, err := Open(c.Topic, codec.String(), codec.String(), opts...)
	if err != nil {
		return err
	}
	go func() {
		if tb.WaitReady(ctx) == nil {
			fmt.Println("ready")
		}
	}()
	return tb.Run(ctx)
}

// startReplica starts a process. ready is closed when it says so.
func startReplica(t *testing.T, c killConfig) (cmd *exec.Cmd, ready chan struct{}) {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	b, err := json.Marshal(c)
	require.NoError(t, err)
	cmd = exec.Command(exe)
	cmd.Env = append(os.Environ(), killEnv+"="+string(b))
	cmd.Stderr = &testWriter{t: t}
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	ready = make(chan struct{})
	go func() {
		var buf [6]byte
		if _, err := io.ReadFull(stdout, buf[:]); err == nil {
			close(ready)
		}
	}()
	t.Cleanup(func() {
		_ = stdin.Close()
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return cmd, ready
}

// Killed at any moment, a table holds a prefix of what it applied and knows
// which: what is read after it is never read twice over, and nothing is missing.
func TestKill9ResumesExactly(t *testing.T) {
	each(t, 3, func(t *testing.T, e *env) {
		c := killConfig{Brokers: e.broker.Addrs(), Topic: e.topic, Dir: t.TempDir(), Bulk: true}
		e.put(numbered("k", 0, 20_000)...)
		resumed := 0
		for round := range 6 {
			cmd, ready := startReplica(t, c)
			if round%2 == 1 {
				select {
				case <-ready:
				case <-time.After(patience):
					t.Fatal("it does not become ready")
				}
				// Changes and deletions while it is live.
				e.put(numbered("k", round*100, round*100+50)...)
				for i := range 20 {
					e.put(fmt.Sprintf("k%d", round*1000+i))
				}
			} else {
				// Somewhere in the middle of its bootstrap or catch-up.
				select {
				case <-ready:
				case <-time.After(time.Duration(rand.IntN(120)) * time.Millisecond):
				}
			}
			require.NoError(t, cmd.Process.Kill())
			require.Error(t, cmd.Wait())
		}
		r := e.ready(Dir(c.Dir))
		e.holds(r)
		st := r.Stats()
		if st.Decision == Resumed {
			resumed++
		}
		require.Equal(t, 1, resumed, "%s", st)
		r.close()
		r = e.ready(Dir(c.Dir))
		e.holds(r)
	})
}
