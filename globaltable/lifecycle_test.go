package globaltable

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/internal/kafkatest"
)

func TestStatesOfARun(t *testing.T) {
	each(t, 2, func(t *testing.T, e *env) {
		e.put("a=1")
		h := &recorder{}
		r := e.ready(Hooks(h))
		require.Equal(t, Ready, r.Status().State)
		select {
		case <-r.Ready():
		default:
			t.Fatal("the channel is not closed")
		}
		r.cancel()
		require.NoError(t, r.runErr())
		require.Equal(t, Stopped, r.Status().State)
		require.Equal(t, e.want, r.rows(), "it goes on answering until Close")
		require.ErrorIs(t, r.Run(t.Context()), ErrRunTwice)
		require.NoError(t, r.Close())
		require.NoError(t, r.Close(), "again")
		require.Equal(t, Closed, r.Status().State)
		require.Equal(t, []string{"bootstrapping", "ready", "stopped", "closed"}, h.states())
		require.Equal(t, []string{"bootstrapped"}, h.readies)
		require.NotEmpty(t, h.batches)
	})
}

func TestEveryUseAfterCloseSaysSo(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	e.put("a=1")
	r := e.ready()
	snap, err := r.Snapshot()
	require.NoError(t, err)
	require.NoError(t, r.Close())
	require.ErrorIs(t, r.runErr(), ErrClosed, "Close ends Run")

	_, _, err = r.Get("a")
	require.ErrorIs(t, err, ErrClosed)
	_, _, err = r.GetEntry("a")
	require.ErrorIs(t, err, ErrClosed)
	_, err = r.GetMany([]string{"a"})
	require.ErrorIs(t, err, ErrClosed)
	_, err = r.Snapshot()
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorIs(t, r.WaitReady(t.Context()), ErrClosed)
	require.ErrorIs(t, r.WaitFor(t.Context(), Position{Offset: 99}), ErrClosed)
	require.ErrorIs(t, r.Run(t.Context()), ErrClosed)
	require.Equal(t, Closed, r.Stats().Status.State)

	_, _, err = snap.Get("a")
	require.ErrorIs(t, err, ErrClosed)
	for _, err := range snap.All() {
		require.ErrorIs(t, err, ErrClosed)
	}
	snap.Close()
}

func TestCloseWithoutRun(t *testing.T) {
	tb, err := Open("devices", codec.String(), codec.String(), Brokers("127.0.0.1:1"), InMemory())
	require.NoError(t, err)
	waiting := make(chan error, 1)
	go func() { waiting <- tb.WaitReady(context.Background()) }()
	require.NoError(t, tb.Close())
	require.ErrorIs(t, <-waiting, ErrClosed)
}

func TestWaitReadyEndsWithRun(t *testing.T) {
	tb, err := Open("devices", codec.String(), codec.String(), Brokers("127.0.0.1:1"), InMemory())
	require.NoError(t, err)
	defer func() { require.NoError(t, tb.Close()) }()
	waiting := make(chan error, 1)
	go func() { waiting <- tb.WaitReady(context.Background()) }()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, tb.Run(ctx))
	require.ErrorIs(t, <-waiting, ErrNotReady)
}

// Time is virtual here, so a second is a second on any machine.
func TestCancelEndsRunWithinASecond(t *testing.T) {
	for _, at := range []string{"unreachable", "bootstrap", "live"} {
		t.Run(at, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := kafkatest.FakeVirtual(t)
				e := newEnv(t, b, 2)
				e.put(numbered("k", 0, 1000)...)
				opts := []Opt{}
				switch at {
				case "unreachable":
					opts = append(opts, Brokers("127.0.0.1:1"))
				case "bootstrap":
					// Every record waits for something that does not come.
					opts = append(opts, Transform("v1", func(en Entry[string, string]) (string, bool, error) {
						return "", false, codec.Retryable(context.DeadlineExceeded)
					}))
				}
				r := e.open(opts...)
				if at == "live" {
					r.waitReady()
				}
				time.Sleep(30 * time.Second) // virtual: it is where it will stay
				began := time.Now()
				r.cancel()
				require.NoError(t, r.runErr())
				require.Less(t, time.Since(began), time.Second)
				require.NoError(t, r.Close())
			})
		})
	}
}

func TestDirectoryInUse(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	dir := filepath.Join(t.TempDir(), "deep", "er")
	r := e.ready(Dir(dir))
	_, err := Open(e.topic, codec.String(), codec.String(), e.opts(Dir(dir))...)
	require.ErrorIs(t, err, ErrLocked)
	require.ErrorContains(t, err, dir)
	require.ErrorIs(t, Remove(dir), ErrLocked)

	// LockWait waits for the other one to close.
	type opened struct {
		tb  *Table[string, string]
		err error
	}
	second := make(chan opened, 1)
	go func() {
		tb, err := Open(e.topic, codec.String(), codec.String(), e.opts(Dir(dir), LockWait(patience))...)
		second <- opened{tb, err}
	}()
	r.close()
	o := <-second
	require.NoError(t, o.err)
	require.NoError(t, o.tb.Close())
}

func TestWrongDirectoriesAreRefusedAndUntouched(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	dir := t.TempDir()
	e.put("a=1")
	e.ready(Dir(dir)).close()

	_, err := Open("other", codec.String(), codec.String(), e.opts(Dir(dir))...)
	wrong := &WrongTableError{}
	require.ErrorAs(t, err, &wrong)
	require.Equal(t, e.topic, wrong.Has)

	foreign := t.TempDir()
	file := filepath.Join(foreign, "letter.txt")
	require.NoError(t, os.WriteFile(file, []byte("dear"), 0o600))
	_, err = Open(e.topic, codec.String(), codec.String(), e.opts(Dir(foreign))...)
	notATable := &NotATableError{}
	require.ErrorAs(t, err, &notATable)
	require.ErrorAs(t, Remove(foreign), &notATable)
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "dear", string(b))

	r := e.ready(Dir(dir))
	e.holds(r)
	require.Equal(t, Resumed, r.Stats().Decision)
}

func TestRemoveDeletesTheTableAndNothingElse(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	e.put("a=1")
	dir := filepath.Join(t.TempDir(), "t")
	e.ready(Dir(dir)).close()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "mine.txt"), nil, 0o600))
	require.NoError(t, Remove(dir))
	names, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, names, 1)
	require.NoError(t, os.Remove(filepath.Join(dir, "mine.txt")))

	e.ready(Dir(dir)).close()
	require.NoError(t, Remove(dir))
	require.NoDirExists(t, dir)
	require.NoError(t, Remove(dir), "one that is not there")
}

func TestDirectoryPermissions(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no such permissions")
	}
	e := newEnv(t, kafkatest.Fake(t), 1)
	dir := filepath.Join(t.TempDir(), "t")
	e.ready(Dir(dir)).close()
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.EqualValues(t, 0o750, info.Mode().Perm())
}

func TestNotCompacted(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		e := newEnvWith(t, b, 1, map[string]string{"cleanup.policy": "delete"})
		e.put("a=1")
		r := e.open()
		err := r.runErr()
		refused := &NotCompactedError{}
		require.ErrorAs(t, err, &refused)
		require.Equal(t, NotCompactedError{Topic: e.topic, Policy: "delete"}, *refused)
		require.ErrorContains(t, err, "cleanup.policy=compact")
		require.ErrorContains(t, err, "AcceptUncompacted")

		// Whoever reads or waits learns of it.
		require.Equal(t, Failed, r.Status().State)
		failed := &RunError{}
		require.ErrorAs(t, r.WaitReady(t.Context()), &failed)
		_, _, err = r.Get("a")
		require.ErrorAs(t, err, &failed)
		require.ErrorAs(t, err, &refused)
		require.NotErrorIs(t, err, ErrNotReady, "waiting would not help")

		e.holds(e.ready(AcceptUncompacted()))
	})
}

func TestTopicAbsentAtStartIsWaitedFor(t *testing.T) {
	each(t, 1, func(t *testing.T, e *env) {
		e.deleteTopic()
		r := e.open()
		r.until("it says what it waits for", func() bool { return r.Status().Err != nil })
		require.ErrorIs(t, r.Status().Err, ErrTopicAbsent)
		_, _, err := r.Get("a")
		require.ErrorIs(t, err, ErrNotReady, "never an empty table that is ready")
		e.createAgain(2)
		e.put("a=1", "b=2")
		r.waitReady()
		r.until("rows", func() bool { return len(r.rows()) == 2 })
		e.holds(r)
	})
}

func TestUnreachableBrokersAreWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tb, err := Open("devices", codec.String(), codec.String(), InMemory(), Brokers("127.0.0.1:1"),
			Kafka(kafkatest.FakeVirtual(t).Opts()...))
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- tb.Run(ctx) }()
		time.Sleep(time.Hour) // virtual
		require.Equal(t, Starting, tb.Status().State)
		require.ErrorContains(t, tb.Status().Err, "unable to dial")
		cancel()
		require.NoError(t, <-done)
		require.NoError(t, tb.Close())
	})
}

func TestBadOptions(t *testing.T) {
	good := []Opt{Brokers("127.0.0.1:1"), InMemory()}
	for _, c := range []struct {
		name, want string
		opts       []Opt
	}{
		{"no brokers", "give Brokers", []Opt{InMemory()}},
		{"no place", "give Dir(...) or InMemory()", []Opt{Brokers("x:1")}},
		{"two places", "exclude each other", append(good, Dir("x"))},
		{"file system in memory", "FileSystem and InMemory exclude each other", append(good, FileSystem(vfs.NewMem()))},
		{"policy", "BadRecords takes Skip or Fail, not 7", append(good, BadRecords(7))},
		{"jitter", "RebuildJitter cannot be below 0", append(good, RebuildJitter(-1))},
		{"flush interval", "FlushInterval has to be above 0, not 0s", append(good, FlushInterval(0))},
		{"lock wait", "LockWait cannot be below 0", append(good, LockWait(-1))},
		{"delete retention", "DeleteRetention cannot be below 0", append(good, DeleteRetention(-1))},
		{"hook", "int implements none of the Hook interfaces", append(good, Hooks(3))},
		{"transform version", "Transform needs a version", append(good, Transform("", func(e Entry[string, string]) (string, bool, error) { return "", true, nil }))},
		{"transform types", "needs a Transform of type func(globaltable.Entry[string,string])", append(good, Transform("v", func(e Entry[string, int]) (int, bool, error) { return 0, true, nil }))},
		{"transform nil", "needs a function", append(good, Transform[string, string]("v", nil))},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Open("devices", codec.String(), codec.String(), c.opts...)
			require.ErrorContains(t, err, c.want)
		})
	}
	_, err := Open("", codec.String(), codec.String(), good...)
	require.ErrorContains(t, err, "needs a topic")
	_, err = Open[string, string]("t", nil, codec.String(), good...)
	require.ErrorContains(t, err, "needs a key codec")

	tb, err := Open("devices", codec.String(), codec.String(), append(good, nil, Kafka(kgo.ClientID("")))...)
	require.NoError(t, err)
	require.NoError(t, tb.Close())
}
