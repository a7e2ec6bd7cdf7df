package globaltable

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/globaltable/enrich/internal/kafkatest"
	"github.com/globaltable/enrich/internal/store"
)

// loading reports whether a bulk load goes on.
func (r *replica) loading() bool {
	f := r.e.follower.Load()
	if f == nil {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bulk != nil
}

// A disk that becomes full in the middle of a bulk load ends Run. What was
// loaded before is there, with its positions, and the next run loads the rest.
func TestFullDiskInABulkLoad(t *testing.T) {
	for _, met := range []struct {
		name string
		kind errorfs.OpKind
		path string
	}{
		{"creating a table", errorfs.OpCreate, "bulk-000004"},
		{"writing a table", errorfs.OpFileWrite, "bulk-000003"},
		{"taking a table in", errorfs.OpFileWrite, "MANIFEST"},
	} {
		t.Run(met.name, func(t *testing.T) {
			b := kafkatest.Fake(t)
			smallFetches(b, 4000)
			e := nullKeyed(t, b, 2)
			h := newHistory(e, rand.New(rand.NewPCG(1, 2)))
			h.put(9000)
			var full, armed atomic.Bool
			fs := vfs.NewMem()
			disk := errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
				if armed.Load() && op.Kind == met.kind && strings.Contains(op.Path, met.path) {
					full.Store(true)
				}
				switch op.Kind {
				case errorfs.OpCreate, errorfs.OpFileWrite, errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
					if full.Load() {
						return syscall.ENOSPC
					}
				}
				return nil
			}))
			on := func(more ...Opt) []Opt {
				return append(more, AcceptUncompacted(), bulkOf(200, 4000), opt(func(c *config) { c.fs, c.dir = disk, "/table" }))
			}
			hook := &firstBulk{do: func() { armed.Store(true) }}
			r := e.open(on(Hooks(hook))...)
			err := r.runErr()
			write := &WriteError{}
			require.ErrorAs(t, err, &write)
			require.ErrorIs(t, err, syscall.ENOSPC)
			require.Equal(t, Failed, r.Status().State)
			failed := &RunError{}
			require.ErrorAs(t, r.WaitReady(t.Context()), &failed)
			require.ErrorAs(t, r.Close(), &write, "what was collected last is not durable")

			armed.Store(false)
			full.Store(false)
			r = e.open(on()...)
			r.until("it begins", func() bool { return r.Stats().Decision != "" })
			require.Equal(t, Resumed, r.Stats().Decision, "the first chunks are there")
			h.caughtUp(r, false)
		})
	}
}

// firstBulk does something when the first batch has been applied.
type firstBulk struct {
	once sync.Once
	do   func()
}

func (h *firstBulk) OnBatchApplied(BatchApplied) { h.once.Do(h.do) }

// A record that has to wait in the middle of a bulk load keeps its partition
// only, and is neither lost nor counted twice. What came before it, and what
// comes in other partitions, becomes visible while the load stays open.
func TestRecordThatWaitsInABulkLoad(t *testing.T) {
	b := kafkatest.Fake(t)
	smallFetches(b, 8000)
	e := newEnv(t, b, 2)
	for p := range int32(2) {
		for i := range 6 {
			rs := records(e.topic, numbered(fmt.Sprint("p", p, "-"), i*1000, i*1000+1000)...)
			e.broker.ProduceTo(t, p, rs...)
			fold(e.want, rs)
		}
	}
	var away atomic.Bool
	away.Store(true)
	tries := atomic.Int64{}
	r := e.open(bulkOf(1500, 4000), Transform("v1", func(en Entry[string, string]) (string, bool, error) {
		if en.Partition == 0 && en.Offset == 2500 && away.Load() {
			tries.Add(1)
			return "", false, errAway
		}
		return en.Value, true, nil
	}))
	at := func(p int32) int64 {
		if f := r.e.follower.Load(); f != nil {
			return f.gen.State().Get(p).Next
		}
		return 0
	}
	r.until("what can be applied is", func() bool { return at(0) == 2500 && at(1) == 6000 })
	require.True(t, r.loading(), "3,500 records are left")
	require.ErrorContains(t, r.Status().Err, "registry is away")
	require.Equal(t, Bootstrapping, r.Status().State)
	late := records(e.topic, "late=1")
	e.broker.ProduceTo(t, 1, late...)
	fold(e.want, late)
	r.until("the other partition goes on", func() bool { return at(1) == 6001 })
	r.until("it is tried again", func() bool { return tries.Load() > 2 })
	require.EqualValues(t, 2500, at(0))
	away.Store(false)
	r.waitReady()
	e.holds(r)
	require.EqualValues(t, 12_001, r.Stats().Records, "each record once")
	r.until("the load ends", func() bool { return !r.loading() })
	require.NoError(t, r.Status().Err)
}

// Cancelling Run in the middle of a bulk load ends it within a second, and what
// was collected is kept. Time is virtual.
func TestCancelInABulkLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := kafkatest.FakeVirtual(t)
		smallFetches(b, 4000)
		e := newEnv(t, b, 1)
		e.put(numbered("k", 0, 5000)...)
		fs := vfs.NewMem()
		stuck := func(away bool) []Opt {
			return []Opt{bulkOf(100, 4000), opt(func(c *config) { c.fs, c.dir = fs, "/table" }),
				Transform("v1", func(en Entry[string, string]) (string, bool, error) {
					if away && en.Offset >= 2500 {
						return "", false, errAway
					}
					return en.Value, true, nil
				})}
		}
		r := e.open(stuck(true)...)
		time.Sleep(time.Minute) // virtual: it is where it will stay
		require.True(t, r.loading())
		require.EqualValues(t, 2500, r.e.follower.Load().gen.State().Get(0).Next)
		began := time.Now()
		r.cancel()
		require.NoError(t, r.runErr())
		require.Less(t, time.Since(began), time.Second)
		require.False(t, r.loading())
		require.NoError(t, r.Close())
		r = e.ready(stuck(false)...)
		e.holds(r)
		require.EqualValues(t, 5000, r.Stats().Records)
		r.close()
	})
}

// Cancelled at random moments of a bulk load that is under way, a table has lost
// and doubled nothing.
func TestCancelAtAnyMomentOfABulkLoad(t *testing.T) {
	b := kafkatest.Fake(t)
	smallFetches(b, 3000)
	e := nullKeyed(t, b, 2)
	h := newHistory(e, rand.New(rand.NewPCG(3, 4)))
	h.put(10_000)
	dir := t.TempDir()
	stops := 0
	for round := 0; ; round++ {
		hook := &batchCount{at: 1 + round%4, reached: make(chan struct{})}
		r := e.open(Dir(dir), AcceptUncompacted(), bulkOf(100, 3000), Hooks(hook))
		select {
		case <-hook.reached:
		case <-r.Ready():
		}
		complete := r.Status().State == Ready
		r.close()
		if complete {
			break
		}
		stops++
	}
	require.Greater(t, stops, 2)
	r := e.ready(Dir(dir), AcceptUncompacted())
	h.caughtUp(r, false)
}

// batchCount tells when so many batches have been applied.
type batchCount struct {
	n       atomic.Int64
	at      int
	reached chan struct{}
}

func (h *batchCount) OnBatchApplied(BatchApplied) {
	if h.n.Add(1) == int64(h.at) {
		close(h.reached)
	}
}

// A rebuild that is loaded in bulk beside readers: the old rows answer, all of
// them, until the new ones do, all of them.
func TestRebuildInBulkBesideReaders(t *testing.T) {
	b := kafkatest.Fake(t)
	smallFetches(b, 20_000)
	fetches := newGate(b, kmsg.Fetch)
	e := newEnv(t, b, 2)
	const n = 3000
	e.put(append(numbered("old", 0, n), "k=old")...)
	hold := make(chan struct{})
	r := e.ready(bulkOf(100, 10_000), Transform("v1", func(en Entry[string, string]) (string, bool, error) {
		if en.Value == "new" {
			<-hold // nearly all others are loaded by then
		}
		return en.Value, true, nil
	}))
	oldGen := r.Stats().Generation

	var wg sync.WaitGroup
	stop := make(chan struct{})
	seenOld, seenNew := make(chan struct{}, 3), make(chan struct{}, 3)
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				value, err := oneTopicsRows(r, n, oldGen)
				if err != nil {
					t.Error(err)
					return
				}
				seen := map[string]chan struct{}{"old": seenOld, "new": seenNew}[value]
				select {
				case seen <- struct{}{}:
				default:
				}
			}
		})
	}
	fetches.shut() // the new topic is not read before it is full
	e.recreate(2)
	rs := e.put(append(numbered("new", 0, n), "k=new")...)
	r.until("the rebuild begins", func() bool { return r.Status().State == Rebuilding })
	fetches.open()
	last := rs[n]
	r.until("the other partition is loaded", func() bool {
		f := r.e.follower.Load()
		return f.plan.beside && f.gen.State().Get(1-last.Partition).Next > 1000
	})
	for range 6 {
		<-seenOld
	}
	select {
	case <-seenNew:
		t.Error("the new rows answer before all of them are there")
	default:
	}
	close(hold)
	for range 6 {
		<-seenNew
	}
	close(stop)
	wg.Wait()
	require.EqualValues(t, 1, r.Stats().Rebuilds)
	require.GreaterOrEqual(t, r.Stats().BulkLoads, uint64(2))
	r.sees(rs)
	e.holds(r)
}

// oneTopicsRows reads all rows, and the key "k" by itself. Rows are all of the old
// topic or all of the new one; it returns which.
func oneTopicsRows(r *replica, n int, oldGen uint64) (value string, err error) {
	en, ok, err := r.GetEntry("k")
	if err != nil || !ok || (en.Generation == oldGen) != (en.Value == "old") {
		return "", fmt.Errorf("get: %+v %v %w", en, ok, err)
	}
	snap, err := r.Snapshot()
	if err != nil {
		return "", err
	}
	defer snap.Close()
	rows := map[string]int{}
	for row, err := range snap.All() {
		if errors.Is(err, ErrClosed) {
			return en.Value, nil // swapped away meanwhile
		}
		if err != nil {
			return "", err
		}
		rows[strings.TrimRight(row.Key, "0123456789")]++
	}
	if len(rows) != 2 || rows["k"] != 1 || rows["old"]+rows["new"] != n {
		return "", fmt.Errorf("not one topic's rows: %v", rows)
	}
	return en.Value, nil
}

// A table that was away for longer than tombstones are kept, and is far behind:
// it verifies its rows and loads in bulk.
func TestVerificationBesideABulkCatchUp(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		e := compactSoon(t, b)
		dir := t.TempDir()
		e.put(keepRow)
		hot := e.put("dev1=hot")[0]
		e.put(numbered("row", 0, 2000)...)
		e.ready(Dir(dir)).close()
		deletedAndForgotten(e, hot)
		for i := range 8 {
			e.put(numbered("more", i*500, i*500+500)...)
			e.put(numbered("row", i*100, i*100+60)...)
			e.put("row5", "more7")
		}
		if !b.Real() {
			smallFetches(b, 10_000)
		}
		h := &recorder{}
		r := e.open(Dir(dir), Hooks(h), bulkOf(100, 10_000))
		// More while it verifies.
		for i := range 20 {
			e.put(numbered("more", i*100, i*100+50)...)
		}
		r.waitReady()
		r.sees(e.put("last=1"))
		e.holds(r)
		require.Equal(t, TombstonesExpired, r.Stats().Reason)
		require.Equal(t, []string{"TombstonesExpired 1"}, h.list(func() []string { return h.verified }))
		require.NotZero(t, r.Stats().BulkLoads)
		require.EqualValues(t, 1, r.Stats().Verified)
	})
}

// Before a record that has to wait all is handed over at once, and what a stop
// finds collected is applied: nothing is read twice for it.
func TestWhatABulkLoadHasCollectedIsKept(t *testing.T) {
	f := alone(t, 1, bulkOf(5, 1<<20), Transform("v1", func(en Entry[string, string]) (string, bool, error) {
		if en.Value == "wait" {
			return "", false, errAway
		}
		return en.Value, true, nil
	}))
	f.given(t, batchOf(0, 0, 10_000, "a=1", "b=2"))
	require.NotNil(t, f.bulk)
	require.Zero(t, f.gen.State().Get(0).Next, "a chunk is filled first")
	require.ErrorIs(t, f.deliver(t.Context(), batchOf(0, 2, 10_000, "c=3", "d=wait")), errAway)
	require.NotNil(t, f.bulk)
	require.NoError(t, f.bulk.Wait())
	require.Equal(t, map[string]string{"a": "1", "b": "2", "c": "3"}, f.rows(t))
	require.EqualValues(t, 3, f.gen.State().Get(0).Next)

	f.given(t, batchOf(0, 3, 10_000, "e=4"))
	require.EqualValues(t, 3, f.gen.State().Get(0).Next)
	require.NoError(t, f.stopWriting())
	require.Nil(t, f.bulk)
	require.Equal(t, map[string]string{"a": "1", "b": "2", "c": "3", "e": "4"}, f.rows(t))
	require.EqualValues(t, 4, f.gen.State().Get(0).Next)
	require.NoError(t, f.stopWriting(), "again")
}

// What was collected for a batch comes before the bulk load that begins then, and
// what comes after the load lies on top of it.
func TestOrderAcrossBatchesAndBulkLoads(t *testing.T) {
	f := alone(t, 2, bulkOf(100, 1<<20))
	f.given(t, batchOf(0, 0, 6, "a=batch", "b=batch", "c=batch", "d=batch"))
	require.NotNil(t, f.batch)
	f.given(t, batchOf(1, 0, 10_000, "x=bulk"))
	require.NotNil(t, f.bulk)
	require.Equal(t, map[string]string{"a": "batch", "b": "batch", "c": "batch", "d": "batch"}, f.rows(t), "applied before it begins")
	require.EqualValues(t, 4, f.gen.State().Get(0).Next)
	f.given(t, batchOf(0, 4, 6, "a=bulk", "b"))
	require.NoError(t, f.applyPending())
	require.Nil(t, f.bulk)
	f.given(t, batchOf(0, 6, 8, "c=live", "x"))
	require.NoError(t, f.applyPending())
	require.Equal(t, map[string]string{"a": "bulk", "c": "live", "d": "batch"}, f.rows(t))
	require.Equal(t, map[int32]int64{0: 8, 1: 1}, nextOf(f.gen.State()))
	require.Equal(t, store.Counters{Records: 9, Tombstones: 2}, f.gen.State().Counters)
	require.EqualValues(t, 1, f.e.stats().BulkLoads)
}
