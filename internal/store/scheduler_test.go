package store

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// fakeDB is what a scheduler sees of a database. Like Pebble's, its lock is held
// when it asks for a compaction, and taken by what the scheduler calls.
type fakeDB struct {
	s       *scheduler
	allowed int

	mu      sync.Mutex
	waiting int // compactions that wait
	refuse  bool
	running []pebble.CompactionGrantHandle
	most    int // that ran at the same time
	calls   int
	locked  bool          // it was called with the scheduler's lock held
	block   chan struct{} // where set, Schedule waits for it
}

func newFakeDB(allowed, waiting int) *fakeDB {
	db := &fakeDB{s: newScheduler(), allowed: allowed, waiting: waiting}
	db.s.Register(2, db)
	return db
}

func (db *fakeDB) GetAllowedWithoutPermission() int { return db.allowed }

// see notes whether the scheduler's lock is held. Where nobody else is at work,
// it is the caller that holds it.
func (db *fakeDB) see() {
	if db.s.mu.TryLock() {
		db.s.mu.Unlock()
	} else {
		db.locked = true
	}
}

func (db *fakeDB) GetWaitingCompaction() (bool, pebble.WaitingCompaction) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.see()
	db.calls++
	return db.waiting > 0, pebble.WaitingCompaction{}
}

func (db *fakeDB) Schedule(h pebble.CompactionGrantHandle) bool {
	if db.block != nil {
		<-db.block
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	db.see()
	db.calls++
	if db.refuse || db.waiting == 0 {
		return false
	}
	db.waiting--
	db.begin(h)
	return true
}

func (db *fakeDB) begin(h pebble.CompactionGrantHandle) {
	h.Started()
	h.MeasureCPU(pebble.CompactionGoroutinePrimary)
	db.running = append(db.running, h)
	db.most = max(db.most, len(db.running))
}

// ask is how Pebble begins a compaction by itself.
func (db *fakeDB) ask() bool {
	db.mu.Lock()
	defer db.mu.Unlock()
	ok, h := db.s.TrySchedule()
	if ok {
		db.begin(h)
	} else {
		db.waiting++
	}
	return ok
}

// finish ends a compaction.
func (db *fakeDB) finish() bool {
	db.mu.Lock()
	if len(db.running) == 0 {
		db.mu.Unlock()
		return false
	}
	h := db.running[0]
	db.running = db.running[1:]
	db.mu.Unlock()
	h.CumulativeStats(pebble.CompactionGrantHandleStats{})
	h.Done()
	return true
}

// counts returns how many compactions run and wait.
func (db *fakeDB) counts() [2]int {
	db.mu.Lock()
	defer db.mu.Unlock()
	return [2]int{len(db.running), db.waiting}
}

func TestSchedulerGrantsWhatIsAllowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := newFakeDB(2, 0)
		require.True(t, db.ask())
		require.True(t, db.ask())
		require.False(t, db.ask(), "two are allowed")
		require.False(t, db.ask())
		synctest.Wait()
		require.Equal(t, [2]int{2, 2}, db.counts())
		began := time.Now()
		for left := 1; left >= 0; left-- {
			require.True(t, db.finish())
			synctest.Wait()
			require.Equal(t, [2]int{2, left}, db.counts(), "the next one follows at once")
		}
		require.True(t, db.finish())
		require.True(t, db.finish())
		synctest.Wait()
		require.Equal(t, began, time.Now())
		require.Zero(t, db.s.running)
		require.True(t, db.ask(), "places were given back")
		require.Equal(t, 2, db.most)
		require.False(t, db.locked, "the scheduler's lock is the inner one")
		db.s.Unregister()
	})
}

// TestSchedulerLooksByItself: more may be allowed, or something may wait, without
// a call.
func TestSchedulerLooksByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := newFakeDB(3, 0)
		synctest.Wait()
		db.mu.Lock()
		db.waiting = 2
		db.mu.Unlock()
		time.Sleep(grantInterval)
		synctest.Wait()
		require.Equal(t, [2]int{2, 0}, db.counts())
		db.s.Unregister()
	})
}

func TestSchedulerIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := newFakeDB(2, 0)
		require.True(t, db.ask())
		db.s.hold()
		require.False(t, db.ask())
		db.s.UpdateGetAllowedWithoutPermission()
		time.Sleep(10 * grantInterval)
		synctest.Wait()
		require.Equal(t, [2]int{1, 1}, db.counts(), "what ran goes on")
		require.True(t, db.finish())
		time.Sleep(10 * grantInterval)
		require.Equal(t, [2]int{0, 1}, db.counts())

		db.s.setOverdue(true)
		synctest.Wait()
		require.Equal(t, [2]int{1, 0}, db.counts(), "it cannot be held any longer")
		require.True(t, db.ask())
		db.s.setOverdue(false)
		require.True(t, db.finish())
		require.False(t, db.ask(), "now it can be")
		time.Sleep(10 * grantInterval)
		require.Equal(t, [2]int{1, 1}, db.counts())

		began := time.Now()
		db.s.release()
		synctest.Wait()
		require.Equal(t, [2]int{2, 0}, db.counts(), "nothing else has to happen")
		require.Equal(t, began, time.Now())

		require.True(t, db.finish())
		require.True(t, db.finish())
		db.s.hold()
		db.s.setOverdue(true)
		db.s.release()
		db.s.hold()
		require.False(t, db.ask(), "the next load begins anew")
		db.s.Unregister()
	})
}

// TestSchedulerTakesBackWhatIsRefused: a grant that Pebble has no use for does
// not count.
func TestSchedulerTakesBackWhatIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := newFakeDB(1, 1)
		db.refuse = true
		for range 5 {
			db.s.UpdateGetAllowedWithoutPermission()
			synctest.Wait()
		}
		require.Zero(t, db.s.running)
		db.mu.Lock()
		db.waiting = 0
		db.mu.Unlock()
		db.s.UpdateGetAllowedWithoutPermission()
		synctest.Wait()
		require.Zero(t, db.s.running)
		require.True(t, db.ask())
		db.s.Unregister()
	})
}

// TestUnregisterWaitsForAGrant: Pebble is not called after it.
func TestUnregisterWaitsForAGrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := newFakeDB(4, 4)
		db.block = make(chan struct{})
		db.s.UpdateGetAllowedWithoutPermission()
		synctest.Wait() // a grant is under way
		ended := make(chan struct{})
		go func() {
			db.s.Unregister()
			close(ended)
		}()
		synctest.Wait()
		select {
		case <-ended:
			require.Fail(t, "it has not waited")
		default:
		}
		close(db.block)
		<-ended
		require.Equal(t, [2]int{1, 3}, db.counts(), "what was granted runs, and nothing more is")
		calls := db.calls
		require.True(t, db.finish())
		require.False(t, db.ask())
		time.Sleep(10 * grantInterval)
		require.Equal(t, calls, db.calls)
		db.s.Unregister()
	})
}

// TestSchedulerLocks lets everything happen at once: no lock order is broken, and
// each place is given back.
func TestSchedulerLocks(t *testing.T) {
	db := newFakeDB(2, 0)
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			for range 2000 {
				db.ask()
				db.s.UpdateGetAllowedWithoutPermission()
				db.finish()
			}
		})
	}
	all.Go(func() {
		for i := range 2000 {
			db.s.hold()
			db.s.setOverdue(i%2 == 0)
			db.s.release()
		}
	})
	all.Wait()
	db.s.Unregister()
	for db.finish() {
	}
	require.Zero(t, db.s.running)
	require.LessOrEqual(t, db.most, 2)
}

// compacting returns a generation of small levels in a bubble, which compacts
// as soon as three tables overlap.
func compacting(t *testing.T, tune func(*pebble.Options)) (*Root, *Generation) {
	o := testOptions(vfs.NewMem())
	o.Tune = func(p *pebble.Options) {
		p.L0CompactionThreshold = 3
		if tune != nil {
			tune(p)
		}
	}
	r, err := OpenRoot(o)
	require.NoError(t, err)
	return r, create(t, r)
}

// loadOne submits a chunk of one row, and waits for it.
func loadOne(t *testing.T, b *Bulk, i int) {
	t.Helper()
	b.Put(fmt.Append(nil, "k", i), &Row{Offset: int64(i), Value: []byte("v")})
	s := b.g.State().Clone()
	*s.At(0) = Partition{Known: true, Next: int64(i + 1)}
	require.NoError(t, b.Submit(s))
	require.NoError(t, b.Wait())
}

// TestCompactionsWaitForABulkLoad, and begin by themselves at its end.
func TestCompactionsWaitForABulkLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, g := compacting(t, nil)
		b, err := g.NewBulk(BulkOptions{})
		require.NoError(t, err)
		for i := range 20 {
			loadOne(t, b, i)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, 20, sublevels(g.db)-1, "and the one of Create")
		require.Zero(t, g.db.Metrics().Compact.Count)
		require.NoError(t, b.Close())
		synctest.Wait()
		require.Less(t, sublevels(g.db), 3)
		require.Len(t, rows(t, g), 20)
		require.NoError(t, r.Close())
	})
}

// TestCloseWithCompactionsHeld: neither they nor the load are waited for.
func TestCloseWithCompactionsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, g := compacting(t, nil)
		b, err := g.NewBulk(BulkOptions{})
		require.NoError(t, err)
		for i := range 10 {
			loadOne(t, b, i)
		}
		require.NoError(t, r.Close())
		require.NoError(t, b.Close(), "all of it was taken in")
		require.ErrorIs(t, b.Submit(&State{}), ErrClosed)
	})
}

// TestTooManyTables: compactions run beside a load that goes on for long.
func TestTooManyTables(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, g := compacting(t, nil)
		b, err := g.NewBulk(BulkOptions{compactFrom: 10, waitFrom: 12})
		require.NoError(t, err)
		most := 0
		for i := range 200 {
			loadOne(t, b, i)
			most = max(most, sublevels(g.db))
		}
		require.Greater(t, most, 9, "they are held until then")
		require.LessOrEqual(t, most, 13)
		require.Positive(t, g.db.Metrics().Compact.Count)
		require.NoError(t, b.Close())
		require.Len(t, rows(t, g), 200)
		require.NoError(t, r.Close())
	})
}

// loadThatWaits returns a bulk load that waits for a compaction, which never
// comes.
func loadThatWaits(t *testing.T) (*Root, *Bulk, chan error) {
	r, g := compacting(t, func(p *pebble.Options) { p.DisableAutomaticCompactions = true })
	b, err := g.NewBulk(BulkOptions{compactFrom: 2, waitFrom: 3})
	require.NoError(t, err)
	for i := range 3 {
		loadOne(t, b, i)
	}
	waited := make(chan error, 1)
	b.Put([]byte("more"), &Row{Value: []byte("v")})
	require.NoError(t, b.Submit(b.g.State().Clone()))
	go func() { waited <- b.Wait() }()
	synctest.Wait()
	require.Empty(t, waited)
	require.NoError(t, g.Flush(), "a flush does not wait for it")
	require.Len(t, rows(t, g), 3)
	return r, b, waited
}

func TestBulkWaitsForCompactions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, b, waited := loadThatWaits(t)
		// It needs the scheduler's leave like every other.
		require.NoError(t, b.g.db.Compact(t.Context(), stateKey, rowsUpper, false))
		require.NoError(t, <-waited)
		require.Len(t, rows(t, b.g), 4)
		require.NoError(t, b.Close())
		require.NoError(t, r.Close())
	})
}

// TestBulkThatWaitsEnds by each of what can end it.
func TestBulkThatWaitsEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, b, waited := loadThatWaits(t)
		require.NoError(t, b.Close(), "the few that are left are taken in")
		require.NoError(t, <-waited)
		require.Len(t, rows(t, b.g), 4)
		require.NoError(t, r.Close())
	})
	synctest.Test(t, func(t *testing.T) {
		r, b, waited := loadThatWaits(t)
		require.NoError(t, r.Close())
		require.ErrorIs(t, <-waited, ErrClosed)
		require.ErrorIs(t, b.Close(), ErrClosed)
	})
	synctest.Test(t, func(t *testing.T) {
		r, b, waited := loadThatWaits(t)
		b.g.fail.set(&WriteError{Op: "write", Path: "x", Err: errNoSpace})
		require.ErrorIs(t, <-waited, errNoSpace)
		require.ErrorIs(t, b.Close(), errNoSpace)
		require.ErrorIs(t, r.Close(), errNoSpace)
	})
}

// TestApplyDoesNotAnswerForABulkLoad: it waits for what it has added itself only.
func TestApplyDoesNotAnswerForABulkLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, g := compacting(t, func(p *pebble.Options) {
			p.DisableAutomaticCompactions = true
			p.L0StopWritesThreshold = 3
		})
		b, err := g.NewBulk(BulkOptions{})
		require.NoError(t, err)
		for i := range 20 {
			loadOne(t, b, i)
		}
		require.NoError(t, b.Close())
		for i := range 3 {
			put(t, g, int64(20+i), "a", "1")
			require.NoError(t, g.Flush())
		}
		applied := make(chan error, 1)
		go func() { applied <- tryPut(g, 23, "a", "2") }()
		synctest.Wait()
		require.Empty(t, applied, "three of its own")
		require.NoError(t, g.db.Compact(t.Context(), stateKey, rowsUpper, false))
		require.NoError(t, <-applied)
		require.NoError(t, r.Close())
	})
	b := newBacklog()
	b.pardon(20)
	require.Equal(t, 0, b.late(20))
	require.Equal(t, 2, b.late(22))
	require.Equal(t, 0, b.late(5), "what is compacted is not pardoned again")
	require.Equal(t, 2, b.late(7))
}
