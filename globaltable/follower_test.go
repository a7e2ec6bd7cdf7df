package globaltable

import (
	"context"
	"errors"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/globaltable/enrich/internal/feed"
	"github.com/globaltable/enrich/internal/kafkatest"
	"github.com/globaltable/enrich/internal/store"
)

func TestStartsOf(t *testing.T) {
	require.Empty(t, startsOf(&store.State{}))
	s := stateAt(5, -1, 0)
	s.At(0).Epoch = 3
	require.Equal(t, []feed.Start{{Partition: 0, Offset: 5, Epoch: 3}, {Partition: 2, Offset: 0, Epoch: -1}}, startsOf(s),
		"one that was never seen is read from its log's start")
}

// crashed is the store as a crash leaves it of a disk: what was synced.
func crashed(t *testing.T, fs *vfs.MemFS, topic string) (rows map[string]string, state *store.State) {
	t.Helper()
	root, err := store.OpenRoot(store.Options{FS: fs.CrashClone(vfs.CrashCloneCfg{}), Dir: "/table", Topic: topic})
	require.NoError(t, err)
	defer func() { require.NoError(t, root.Close()) }()
	gen, err := root.Current()
	require.NoError(t, err)
	require.NotNil(t, gen)
	return rowsOf(t, gen), gen.State()
}

func onDisk(fs vfs.FS) Opt { return opt(func(c *config) { c.fs, c.dir = fs, "/table" }) }

// What changes is durable after FlushInterval, and not before: without a stop and
// without a Close. Time is virtual.
func TestFlushByTime(t *testing.T) {
	for _, bulk := range []bool{false, true} {
		t.Run(map[bool]string{false: "live", true: "bulk"}[bulk], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newEnv(t, kafkatest.FakeVirtual(t), 1)
				fs := vfs.NewCrashableMem()
				e.put("a=1")
				opts := []Opt{onDisk(fs), FlushInterval(10 * time.Second)}
				if bulk {
					opts = append(opts, bulkOf(1, 1<<20))
				}
				r := e.ready(opts...)
				synctest.Wait()
				rows, state := crashed(t, fs, e.topic)
				require.Equal(t, e.want, rows, "it is flushed when it is ready")
				require.EqualValues(t, 1, state.Get(0).Next)

				rs := e.put("b=2", "a")
				r.sees(rs)
				if !bulk { // a bulk load is durable when it is visible
					rows, _ = crashed(t, fs, e.topic)
					require.Equal(t, map[string]string{"a": "1"}, rows)
				}
				time.Sleep(10 * time.Second) // virtual
				synctest.Wait()
				rows, state = crashed(t, fs, e.topic)
				require.Equal(t, map[string]string{"b": "2"}, rows)
				require.EqualValues(t, 3, state.Get(0).Next)
				r.close()
			})
		})
	}
}

// In the middle of a bootstrap too what was read is durable after FlushInterval.
func TestFlushByTimeInABootstrap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, kafkatest.FakeVirtual(t), 1)
		fs := vfs.NewCrashableMem()
		e.put(numbered("k", 0, 100)...)
		r := e.open(onDisk(fs), Transform("v1", func(en Entry[string, string]) (string, bool, error) {
			if en.Offset == 60 {
				return "", false, errAway
			}
			return en.Value, true, nil
		}))
		time.Sleep(11 * time.Second) // virtual
		rows, state := crashed(t, fs, e.topic)
		require.Len(t, rows, 60)
		require.EqualValues(t, 60, state.Get(0).Next)
		require.Equal(t, Bootstrapping, r.Status().State)
		r.close()
	})
}

// A topic in which nothing happens leaves a stored time at the end that is never
// old by more than a small part of the retention; and is not written at each
// flush. A table that is killed after a quiet day has not been away for a day.
func TestTimeAtTheEndIsKeptWhileIdle(t *testing.T) {
	const retention = 20 * time.Minute
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, kafkatest.FakeVirtual(t), 2)
		fs := vfs.NewCrashableMem()
		e.put(numbered("k", 0, 20)...)
		r := e.ready(onDisk(fs), DeleteRetention(retention), FlushInterval(time.Second))
		writes, last := 0, time.Time{}
		for range 40 {
			time.Sleep(30 * time.Second) // virtual
			_, state := crashed(t, fs, e.topic)
			for p := range int32(2) {
				require.Less(t, time.Since(state.Get(p).AtEnd), retention/idleShare+5*time.Second)
			}
			if at := state.Get(0).AtEnd; at != last {
				writes, last = writes+1, at
			}
		}
		require.InDelta(t, 20, writes, 1, "once in a minute")
		// Without Close.
		disk := fs.CrashClone(vfs.CrashCloneCfg{})
		r.close()
		e.put("k1=later")
		again := e.ready(onDisk(disk), DeleteRetention(retention))
		require.Equal(t, Resumed, again.Stats().Decision)
		e.holds(again)
		again.close()
	})
}

func TestNoteTime(t *testing.T) {
	f := alone(t, 2)
	f.retention = 20 * time.Minute
	for p := range int32(2) {
		f.given(t, batchOf(p, 0, 1, "a=1"))
	}
	require.NoError(t, f.applyPending())
	stored := f.gen.State().Get(1).AtEnd
	f.next.At(1).AtEnd = stored.Add(time.Minute)
	f.noteTime()
	require.False(t, f.changed, "not yet")
	f.next.At(1).AtEnd = stored.Add(time.Minute + 1)
	f.noteTime()
	require.True(t, f.changed)
	require.NoError(t, f.applySoon())
	require.Equal(t, stored.Add(time.Minute+1), f.gen.State().Get(1).AtEnd)
	f.noteTime()
	require.False(t, f.changed)
}

// Brokers are away for longer than tombstones are kept; meanwhile a row is
// deleted, and the log cleaner removes it and its tombstone. What comes then says
// that a deletion may have been missed, and the row goes. Time is virtual.
func TestTombstonesExpireWhileRunning(t *testing.T) {
	const retention = time.Minute
	for _, c := range []struct {
		name   string
		away   time.Duration
		verify []string
	}{
		{"longer than the retention", 2 * retention, []string{"TombstonesExpired 1"}},
		{"shorter", retention / 2, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := kafkatest.FakeVirtual(t)
				e := newEnvWith(t, b, 1, kafkatest.CompactedSoon(retention))
				e.put(keepRow)
				hot := e.put("dev1=hot")[0]
				e.put("dev2=cold")
				h := &recorder{}
				fetches := newGate(b, kmsg.Fetch)
				r := e.ready(Hooks(h), Dir(t.TempDir()))
				require.Equal(t, Ready, r.Status().State)

				fetches.shut()
				// The broker may hold a fetch that came before.
				r.until("no fetch is under way", func() bool { return r.Status().State == Stale })
				e.put(string(hot.Key))
				time.Sleep(c.away) // virtual
				e.filler()
				b.Fake().Compact()
				require.Equal(t, Stale, r.Status().State)
				require.Equal(t, "hot", r.rows()["dev1"], "nobody knows yet")
				fetches.open()
				r.sees(e.put("last=1"))
				time.Sleep(time.Minute)
				synctest.Wait()
				require.Equal(t, c.verify, h.list(func() []string { return h.verified }))
				e.holds(r)
				require.Equal(t, Ready, r.Status().State)
				require.Empty(t, r.Status().Reason)
				require.Empty(t, r.e.served().State().PendingVerify)
				if c.verify != nil {
					require.Contains(t, h.states(), "verifying TombstonesExpired")
					require.EqualValues(t, 1, r.Stats().Verifications)
					// The tombstone was read by nobody.
					require.EqualValues(t, 0, r.Stats().Tombstones)
				}
				r.close()
			})
		})
	}
}

// The new generation takes the place of the old one when it is not behind it, if
// both are of one log; else it need not wait for what never comes.
func TestNotBehind(t *testing.T) {
	one, two, none := TopicID{1}, TopicID{2}, TopicID{}
	for _, c := range []struct {
		name     string
		old, new TopicID
		reason   Reason
		at, is   []int64 // where the old one stands, and the new one
		waits    bool
	}{
		{"behind in one partition", one, one, StoreDamaged, []int64{5, 5}, []int64{9, 4}, true},
		{"a partition that it has not seen", one, one, StoreDamaged, []int64{5, 3}, []int64{9}, true},
		{"where the old one is", one, one, StoreDamaged, []int64{5, 5}, []int64{5, 5}, false},
		{"further", one, one, StoreDamaged, []int64{5, -1}, []int64{6, 1}, false},
		{"another topic", one, two, TopicRecreated, []int64{5}, []int64{1}, false},
		{"a log that was cut off", one, one, LogTruncated, []int64{5}, []int64{1}, false},
		{"another cluster, and no ids", none, none, ClusterChanged, []int64{5}, []int64{1}, false},
		{"no ids", none, none, StoreDamaged, []int64{5}, []int64{1}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := alone(t, 2)
			old := f.gen
			id := old.Identity()
			id.TopicID = c.old
			require.NoError(t, old.SetIdentity(id))
			require.NoError(t, old.Apply(nil, stateAt(c.at...)))
			id.TopicID = c.new
			gen, err := f.e.root.Create(id)
			require.NoError(t, err)
			require.NoError(t, gen.Apply(nil, stateAt(c.is...)))
			f.gen, f.plan = gen, plan{gen: gen, beside: true, reason: c.reason}

			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- f.notBehind(ctx, old) }()
			if !c.waits {
				require.NoError(t, <-done)
				cancel()
				return
			}
			// Something changes, and it is still behind.
			waiting(t, f.e)
			f.e.changed.wake()
			waiting(t, f.e)
			cancel()
			require.ErrorIs(t, <-done, context.Canceled)
			// It catches up.
			go func() { done <- f.notBehind(t.Context(), old) }()
			waiting(t, f.e)
			require.NoError(t, gen.Apply(nil, stateAt(9, 9)))
			f.e.changed.wake()
			require.NoError(t, <-done)
		})
	}
	require.NoError(t, alone(t, 1).notBehind(t.Context(), nil), "there is no old one")
}

// waiting returns when somebody waits for a change.
func waiting(t *testing.T, e *engine) {
	t.Helper()
	require.Eventually(t, func() bool {
		e.changed.mu.Lock()
		defer e.changed.mu.Unlock()
		return e.changed.ch != nil
	}, patience, time.Millisecond)
}

// A reader that takes its time over the old rows keeps nobody: the new ones
// answer, the table is ready, and Run ends when it is told to.
func TestSlowReaderDoesNotHoldARebuild(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	e.put("a=old", "b=old")
	h := &recorder{}
	r := e.ready(Hooks(h))
	snap, err := r.Snapshot()
	require.NoError(t, err)
	reading, goOn := make(chan struct{}), make(chan struct{})
	seen := make(chan []string, 1)
	go func() {
		var values []string
		for en, err := range snap.All() {
			if err != nil {
				values = append(values, err.Error())
				continue
			}
			if len(values) == 0 {
				close(reading)
				<-goOn
			}
			values = append(values, en.Value)
		}
		seen <- values
	}()
	<-reading
	e.recreate(1)
	e.put("a=new")
	r.until("the new rows answer", func() bool { v, _, err := r.Get("a"); return err == nil && v == "new" })
	r.until("it is ready", func() bool { return r.Status().State == Ready })
	e.holds(r)
	r.cancel()
	require.NoError(t, r.runErr())
	close(goOn)
	require.Equal(t, []string{"old", "old"}, <-seen, "the read that had begun ends as it would have")
	_, _, err = snap.Get("a")
	if err != nil {
		require.ErrorIs(t, err, ErrClosed)
	}
	snap.Close()
	require.NoError(t, r.Close())
}

// A directory that refuses to name the new generation as the one that answers is
// no end of Run: the old one goes on answering, the new one takes its place when
// it can, and is not built twice.
func TestPromotionMeetsAFullDisk(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	disk := &fullDisk{}
	disk.only.Store("TABLE")
	hold := make(chan struct{})
	var begun atomic.Bool
	e.put("a=old")
	h := &recorder{}
	r := e.ready(disk.on(vfs.NewMem()), Hooks(h), Transform("v1", func(en Entry[string, string]) (string, bool, error) {
		if en.Value == "new" {
			begun.Store(true)
			<-hold
		}
		return en.Value, true, nil
	}))
	fetches := newGate(e.broker, kmsg.Fetch)
	fetches.shut()
	e.recreate(1)
	e.put("a=new")
	fetches.open()
	r.until("the new generation is there", begun.Load)
	disk.full.Store(true)
	close(hold)
	r.until("it says why it waits", func() bool { return errors.Is(r.Status().Err, syscall.ENOSPC) })
	require.Equal(t, Rebuilding, r.Status().State)
	require.Equal(t, map[string]string{"a": "old"}, r.rows(), "the old rows answer")
	disk.full.Store(false)
	r.until("the new rows answer", func() bool { v, _, err := r.Get("a"); return err == nil && v == "new" })
	e.holds(r)
	require.EqualValues(t, 2, r.Stats().Generation, "it was kept")
	require.EqualValues(t, 1, r.Stats().Records)
	require.Zero(t, r.Stats().RebuildsDropped)
}
