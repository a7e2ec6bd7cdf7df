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
	limit  int32       // sublevels of level 0
	stale  atomic.Bool // behind has to be looked up anew
	behind atomic.Bool
	moved  chan struct{} // gets a token when a flush or a compaction has ended
}

func newBacklog() *backlog { return &backlog{moved: make(chan struct{}, 1)} }

// takeOver replaces Pebble's limit.
func (b *backlog) takeOver(p *pebble.Options) {
	b.limit = int32(min(p.L0StopWritesThreshold, math.MaxInt32))
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

// wait returns when there is room. An error is the failed write's, or ErrClosed
// when stop is closed.
func (b *backlog) wait(db *pebble.DB, fail *failure, stop <-chan struct{}) error {
	for {
		if b.stale.Swap(false) {
			b.behind.Store(db.Metrics().Levels[0].Sublevels >= b.limit)
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
