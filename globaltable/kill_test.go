package globaltable

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/internal/kafkatest"
	"github.com/globaltable/enrich/internal/store"
)

// killEnv makes the test binary a replica: its value is a killConfig.
const killEnv = "ENRICH_TABLE_KILL_TEST"

type killConfig struct {
	Brokers    []string
	Topic, Dir string
	Bulk       bool // load in bulk what can be
}

var killRounds = flag.Int("kill.rounds", 6, "how often TestKill9ResumesExactly kills a table")

// killedReplica is the process that is killed. It says when it is ready, what it
// has applied, and what is durable.
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
	// The table is there when it is told of its first batch.
	var tell atomic.Pointer[teller]
	opts = append(opts, Hooks(appliedHook(func(b BatchApplied) {
		if l := tell.Load(); l != nil {
			l.OnBatchApplied(b)
		}
	})))
	tb, err := Open(c.Topic, codec.String(), codec.String(), opts...)
	if err != nil {
		return err
	}
	say := &teller{tb: tb}
	tell.Store(say)
	go func() {
		if tb.WaitReady(ctx) == nil {
			say.line("ready", nil)
		}
	}()
	go say.flushes(ctx)
	return tb.Run(ctx)
}

// teller prints what a replica has done, a line for each.
type teller struct {
	tb *Table[string, string]
	mu sync.Mutex
}

// line prints a word and positions, in one write, so that a kill cuts off at most
// the last line.
func (l *teller) line(word string, s *store.State) {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := word
	if s != nil {
		b, _ := json.Marshal(nextOf(s)) // numbers do not fail
		text = fmt.Sprintf("%s %d %s", word, s.Counters.Records, b)
	}
	fmt.Println(text)
}

// OnBatchApplied says how far the replica is.
func (l *teller) OnBatchApplied(BatchApplied) {
	if f := l.tb.e.follower.Load(); f != nil {
		l.line("applied", f.gen.State())
	}
}

// flushes makes rows durable from time to time, and says which.
func (l *teller) flushes(ctx context.Context) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if f := l.tb.e.follower.Load(); f != nil {
			s := f.gen.State()
			if f.gen.Flush() == nil {
				l.line("durable", s)
			}
		}
	}
}

// said is what a replica has printed.
type said struct {
	ready chan struct{} // closed when it is
	over  chan struct{} // closed when it says no more

	mu               sync.Mutex
	applied, durable told
}

// told is how far a replica was.
type told struct {
	records uint64
	next    map[int32]int64
}

// listen reads what a replica prints until it ends.
func (s *said) listen(r io.Reader) {
	defer close(s.over)
	for lines := bufio.NewScanner(r); lines.Scan(); {
		var at told
		word, rest, _ := strings.Cut(lines.Text(), " ")
		count, next, _ := strings.Cut(rest, " ")
		n, err := fmt.Sscan(count, &at.records)
		if word == "ready" {
			close(s.ready)
		}
		if err != nil || n != 1 || json.Unmarshal([]byte(next), &at.next) != nil {
			continue // the kill cut it off
		}
		s.mu.Lock()
		switch word {
		case "applied":
			s.applied = at
		case "durable":
			s.durable = at
			if s.applied.records < at.records {
				s.applied = at
			}
		}
		s.mu.Unlock()
	}
}

// startReplica starts a process.
func startReplica(t *testing.T, c killConfig) (cmd *exec.Cmd, says *said) {
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
	says = &said{ready: make(chan struct{}), over: make(chan struct{})}
	go says.listen(stdout)
	t.Cleanup(func() {
		_ = stdin.Close()
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return cmd, says
}

// Killed at any moment, a table holds a prefix of what it applied and knows which:
// nothing is missing, nothing that was deleted comes back, no record is counted
// twice, and no more is read again than what came after the last durable flush.
func TestKill9ResumesExactly(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		e := newEnv(t, b, 3)
		h := newHistory(e, rand.New(rand.NewPCG(rand.Uint64(), 0)))
		h.keyed = true
		c := killConfig{Brokers: e.broker.Addrs(), Topic: e.topic, Dir: t.TempDir(), Bulk: true}
		h.put(20_000)
		var again, loaded, bytes []int // records read again after each kill, what the directory had, and bytes read again
		before := map[int32]int64{}
		unprinted := 0
		for round := range *killRounds {
			cmd, says := startReplica(t, c)
			if round%2 == 1 {
				select {
				case <-says.ready:
				case <-time.After(patience):
					t.Fatal("it does not become ready")
				}
				// Changes and deletions while it is live.
				for range 1 + rand.IntN(10) {
					h.put(1 + rand.IntN(20))
				}
			} else {
				// Somewhere in the middle of its bootstrap or catch-up.
				h.put(rand.IntN(500))
				select {
				case <-says.ready:
				case <-time.After(time.Duration(rand.IntN(120)) * time.Millisecond):
				}
			}
			require.NoError(t, cmd.Process.Kill())
			<-says.over
			require.Error(t, cmd.Wait())

			root, err := store.OpenRoot(store.Options{Dir: c.Dir, Topic: e.topic})
			require.NoError(t, err)
			gen, err := root.Current()
			require.NoError(t, err, "round %d", round)
			if gen == nil {
				require.Zero(t, says.applied.records, "round %d", round)
				require.NoError(t, root.Close())
				continue
			}
			state := gen.State()
			next := nextOf(state)
			rows, counters := h.upTo(next, false)
			require.Equal(t, rows, rowsOf(t, gen), "round %d at %v", round, next)
			require.Equal(t, counters, state.Counters, "round %d at %v", round, next)
			require.NoError(t, root.Close())
			for p, at := range before {
				require.GreaterOrEqual(t, next[p], at, "round %d: partition %d is behind the last round", round, p)
			}
			before = next
			for p, at := range says.durable.next {
				require.GreaterOrEqual(t, next[p], at, "round %d: what was durable in partition %d is read again", round, p)
			}
			lost := int(says.applied.records) - int(state.Counters.Records)
			if lost < 0 {
				unprinted, lost = unprinted+1, 0 // it was killed before it said so
			}
			require.LessOrEqual(t, lost, int(says.applied.records)-int(says.durable.records), "round %d", round)
			size := h.bytesBetween(next, says.applied.next)
			t.Logf("round %d: %d records, %d bytes of %d are read again", round, lost, size, h.bytesBetween(nil, says.applied.next))
			again, loaded, bytes = append(again, lost), append(loaded, int(state.Counters.Records)), append(bytes, size)
		}
		r := e.ready(Dir(c.Dir))
		h.caughtUp(r, false)
		st := r.Stats()
		require.Equal(t, Resumed, st.Decision, "%s", st)
		require.EqualValues(t, len(h.records), st.Records, "each record was counted once: %s", st)
		r.close()
		slices.Sort(again)
		slices.Sort(loaded)
		slices.Sort(bytes)
		require.NotEmpty(t, again)
		t.Logf("%d kills: bytes read again min=%d median=%d max=%d of %d; records read again min=%d median=%d max=%d; records kept min=%d median=%d max=%d; killed before it said what was durable: %d",
			*killRounds, bytes[0], bytes[len(bytes)/2], bytes[len(bytes)-1], h.bytesBetween(nil, h.ends()), again[0], again[len(again)/2], again[len(again)-1], loaded[0], loaded[len(loaded)/2], loaded[len(loaded)-1], unprinted)
	})
}
