package globaltable

import (
	"sync"
	"time"

	"github.com/globaltable/enrich/internal/feed"
	"github.com/globaltable/enrich/internal/store"
)

// targets are offsets that every partition has to reach. Each is the end of what
// could be read (the last stable offset, or the high watermark when reading
// uncommitted records) in the first answer to a fetch that was sent after a
// given time.
type targets struct {
	since   time.Time
	open    map[int32]bool  // partitions whose target is not reached
	offsets map[int32]int64 // targets that are known

	reached chan struct{} // for those who wait; closed by close
	once    sync.Once
}

func newTargets(topic *feed.Topic, since time.Time) *targets {
	t := &targets{since: since, open: map[int32]bool{}, offsets: map[int32]int64{}, reached: make(chan struct{})}
	for _, p := range topic.Partitions {
		t.open[p.Partition] = true
	}
	return t
}

// see takes an answer in, and reports whether all targets are reached by what
// was applied.
func (t *targets) see(b *feed.Batch, applied *store.State) bool {
	if !t.open[b.Partition] {
		return len(t.open) == 0
	}
	if !b.Asked.Before(t.since) {
		// An end that falls below the target, by truncation or by the abort
		// of what was there, takes it along.
		if at, ok := t.offsets[b.Partition]; !ok || b.End < at {
			t.offsets[b.Partition] = b.End
		}
	}
	if at, ok := t.offsets[b.Partition]; ok {
		if is := applied.Get(b.Partition); is.Known && is.Next >= at {
			delete(t.open, b.Partition)
		}
	}
	return len(t.open) == 0
}

func (t *targets) close() { t.once.Do(func() { close(t.reached) }) }
