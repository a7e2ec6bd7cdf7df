package store

import (
	"math"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// A backlog holds Apply back while compactions are too far behind.
//
// Pebble does that by itself, but it holds a lock meanwhile that Flush and
// Close need too, and nothing but a compaction ends it: after a failed write or
// with a damaged file there may never be one. So its own limit is switched off.
type backlog struct {
	limit  int          // sublevels of level 0
	loaded atomic.Int64 // how many of them a bulk load has left
	stale  atomic.Bool  // behind has to be looked up anew
	behind atomic.Bool
	moved  chan struct{} // gets a token when a flush or a compaction has ended
}

func newBacklog() *backlog { return &backlog{moved: make(chan struct{}, 1)} }

// takeOver replaces Pebble's limit.
func (b *backlog) takeOver(p *pebble.Options) {
	b.limit = p.L0StopWritesThreshold
	p.L0StopWritesThreshold = math.MaxInt32
}

// touch notes that level 0 has changed. It may be called with any lock held.
func (b *backlog) touch() {
	b.stale.Store(true)
	select {
	case b.moved <- struct{}{}:
	default:
	}
}

// pardon leaves the sublevels that there are out of account: it takes a while to
// compact what a bulk load wrote, and Apply goes on meanwhile.
func (b *backlog) pardon(sublevels int) {
	b.loaded.Store(int64(sublevels))
	b.touch()
}

// late counts the sublevels that Apply has to answer for.
func (b *backlog) late(sublevels int) int {
	loaded := min(int(b.loaded.Load()), sublevels)
	b.loaded.Store(int64(loaded))
	return sublevels - loaded
}

// wait returns when there is room. An error is the failed write's, or ErrClosed
// when stop is closed.
func (b *backlog) wait(db *pebble.DB, fail *failure, stop <-chan struct{}) error {
	for {
		if b.stale.Swap(false) {
			b.behind.Store(b.late(sublevels(db)) >= b.limit)
		}
		if !b.behind.Load() {
			return nil
		}
		select {
		case <-b.moved:
		case <-fail.ch:
			return fail.get()
		case <-stop:
			return ErrClosed
		}
	}
}
