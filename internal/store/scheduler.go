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
type scheduler struct {
	held atomic.Bool
	// overdue says that compactions have to run in spite of that.
	overdue atomic.Bool

	mu       sync.Mutex
	db       pebble.DBForCompaction // set once, before everything else
	running  int
	granting bool
	closed   bool
	settled  *sync.Cond // granting has ended
	poke     chan struct{}
	stop     chan struct{}
}

func newScheduler() *scheduler {
	s := &scheduler{poke: make(chan struct{}, 1), stop: make(chan struct{})}
	s.settled = sync.NewCond(&s.mu)
	return s
}

// hold keeps compactions from beginning, until release.
func (s *scheduler) hold() { s.held.Store(true) }

func (s *scheduler) release() {
	s.held.Store(false)
	s.UpdateGetAllowedWithoutPermission()
}

// open reports whether a compaction may begin.
func (s *scheduler) open() bool { return !s.held.Load() || s.overdue.Load() }

// grantInterval is how often waiting compactions are looked for: what makes them
// possible is not always told.
const grantInterval = 100 * time.Millisecond

// Register implements pebble.CompactionScheduler.
func (s *scheduler) Register(_ int, db pebble.DBForCompaction) {
	s.db = db
	go s.grantLoop()
}

// Unregister implements pebble.CompactionScheduler.
func (s *scheduler) Unregister() {
	close(s.stop)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for s.granting {
		s.settled.Wait()
	}
}

// TrySchedule implements pebble.CompactionScheduler.
func (s *scheduler) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	if !s.open() {
		return false, nil
	}
	allowed := s.db.GetAllowedWithoutPermission()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.running >= allowed {
		return false, nil
	}
	s.running++
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
		case <-s.poke:
		case <-s.stop:
			return
		}
		s.grant()
	}
}

// grant starts the compactions that wait. No lock is held while Pebble is
// called, which takes locks of its own.
func (s *scheduler) grant() {
	if !s.open() {
		return
	}
	allowed := s.db.GetAllowedWithoutPermission()
	s.mu.Lock()
	if s.closed || s.granting || s.running >= allowed {
		s.mu.Unlock()
		return
	}
	s.granting = true
	for s.running < allowed && !s.closed {
		s.running++
		s.mu.Unlock()
		waiting, _ := s.db.GetWaitingCompaction()
		started := waiting && s.db.Schedule(grantHandle{s})
		s.mu.Lock()
		if !started {
			s.running--
			break
		}
	}
	s.granting = false
	s.settled.Broadcast()
	s.mu.Unlock()
}

// grantHandle is what a compaction reports to.
type grantHandle struct{ s *scheduler }

// Started implements pebble.CompactionGrantHandle.
func (grantHandle) Started() {}

// MeasureCPU implements pebble.CompactionGrantHandle.
func (grantHandle) MeasureCPU(pebble.CompactionGoroutineKind) {}

// CumulativeStats implements pebble.CompactionGrantHandle.
func (grantHandle) CumulativeStats(pebble.CompactionGrantHandleStats) {}

// Done implements pebble.CompactionGrantHandle.
func (h grantHandle) Done() {
	h.s.mu.Lock()
	h.s.running--
	h.s.mu.Unlock()
	h.s.UpdateGetAllowedWithoutPermission()
}
