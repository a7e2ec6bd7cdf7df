package globaltable

import (
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

	reached chan struct{} // closed when none is open
}

func newTargets(topic *feed.Topic, since time.Time) *targets {
	t := &targets{since: since, open: map[int32]bool{}, offsets: map[int32]int64{}, reached: make(chan struct{})}
	for _, p := range topic.Partitions {
		t.open[p.Partition] = true
	}
	return t
}

// see takes an answer in.
func (t *targets) see(b *feed.Batch) {
	if !t.open[b.Partition] || b.Asked.Before(t.since) {
		return
	}
	// An end that falls below the target, by truncation or by the abort of what
	// was there, takes it along.
	if at, ok := t.offsets[b.Partition]; !ok || b.End < at {
		t.offsets[b.Partition] = b.End
	}
}

// reach closes the targets that were reached by what was applied.
func (t *targets) reach(applied *store.State) {
	if len(t.open) == 0 {
		return
	}
	for p := range t.open {
		if at, ok := t.offsets[p]; ok {
			if is := applied.Get(p); is.Known && is.Next >= at {
				delete(t.open, p)
			}
		}
	}
	if len(t.open) == 0 {
		close(t.reached)
	}
}
