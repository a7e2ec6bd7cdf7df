package store

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// A scheduler lets compactions run, as many at a time as Pebble allows, except
// while it is held: a bulk load is faster when what it writes is merged once, at
// its end. It does not hold them back when too many runs have come together.
//
// Pebble calls TrySchedule with its own locks held, so mu is the inner lock: no
// method of db that takes locks is called with it held.
type scheduler struct {
	held atomic.Bool
	// overdue says that compactions have to run in spite of that.
	overdue atomic.Bool

	db   pebble.DBForCompaction // set once, before everything else
	poke chan struct{}          // gets a token when something may be granted
	stop chan struct{}
	loop sync.WaitGroup
	tick func() // called every grantInterval

	mu      sync.Mutex
	running int // grants given, or about to be
	closed  bool
}

func newScheduler() *scheduler {
	return &scheduler{poke: make(chan struct{}, 1), stop: make(chan struct{}), tick: func() {}}
}

// hold keeps compactions from beginning, until release. Those that run go on.
func (s *scheduler) hold() { s.held.Store(true) }

func (s *scheduler) release() {
	s.overdue.Store(false)
	s.held.Store(false)
	s.UpdateGetAllowedWithoutPermission()
}

// setOverdue says whether compactions have to run although they are held.
func (s *scheduler) setOverdue(overdue bool) {
	if s.overdue.Swap(overdue) != overdue {
		s.UpdateGetAllowedWithoutPermission()
	}
}

// open reports whether a compaction may begin.
func (s *scheduler) open() bool { return !s.held.Load() || s.overdue.Load() }

// grantInterval is how often waiting compactions are looked for: what makes them
// possible is not always told.
const grantInterval = 100 * time.Millisecond

// Register implements pebble.CompactionScheduler.
func (s *scheduler) Register(_ int, db pebble.DBForCompaction) {
	s.db = db
	s.loop.Go(s.grantLoop)
}

// Unregister implements pebble.CompactionScheduler. Nothing is granted any more
// when it returns. It may be called more than once: Pebble does not call it if
// it fails to open.
func (s *scheduler) Unregister() {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	s.mu.Unlock()
	if first {
		close(s.stop)
	}
	s.loop.Wait()
}

// TrySchedule implements pebble.CompactionScheduler.
func (s *scheduler) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	if !s.take() {
		return false, nil
	}
	return true, grantHandle{s}
}

// UpdateGetAllowedWithoutPermission implements pebble.CompactionScheduler.
func (s *scheduler) UpdateGetAllowedWithoutPermission() {
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

func (s *scheduler) grantLoop() {
	tick := time.NewTicker(grantInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.tick()
		case <-s.poke:
		case <-s.stop:
			return
		}
		s.grant()
	}
}

// grant starts the compactions that wait.
func (s *scheduler) grant() {
	for s.take() {
		waiting, _ := s.db.GetWaitingCompaction()
		if !waiting || !s.db.Schedule(grantHandle{s}) {
			s.give()
			return
		}
	}
}

// take reserves a place for a compaction, if there is one.
func (s *scheduler) take() bool {
	if !s.open() {
		return false
	}
	allowed := s.db.GetAllowedWithoutPermission() // it takes no lock
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.running >= allowed {
		return false
	}
	s.running++
	return true
}

// give gives a place back.
func (s *scheduler) give() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
}

// grantHandle is what a compaction reports to.
type grantHandle struct{ s *scheduler }

// Started implements pebble.CompactionGrantHandle.
func (grantHandle) Started() {}

// MeasureCPU implements pebble.CompactionGrantHandle.
func (grantHandle) MeasureCPU(pebble.CompactionGoroutineKind) {}

// CumulativeStats implements pebble.CompactionGrantHandle.
func (grantHandle) CumulativeStats(pebble.CompactionGrantHandleStats) {}

// Done implements pebble.CompactionGrantHandle. The next grant is left to the
// loop, which holds no lock.
func (h grantHandle) Done() {
	h.s.give()
	h.s.UpdateGetAllowedWithoutPermission()
}
