package globaltable

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/internal/feed"
	"github.com/globaltable/enrich/internal/store"
)

const (
	// batchBytes is how much is collected for one batch while the end of the
	// log is not reached.
	batchBytes = 4 << 20
	// minProvable is the shortest retention of tombstones that a reader can
	// be expected to keep up with.
	minProvable = 10 * time.Second
)

// deliver takes what a fetch brought. It is called for several partitions at
// once.
func (f *follower) deliver(_ context.Context, b *feed.Batch) error {
	var shaped []shapedRecord
	var later error
	if f.e.shape != nil && len(b.Records) > 0 {
		shaped, later = f.shapeAll(b)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken != nil {
		return f.broken
	}
	if err := f.choose(b); err != nil {
		return err
	}
	at := f.next.At(b.Partition)
	if !at.Known {
		// What is deleted from now on is seen by its tombstone.
		*at = store.Partition{Known: true, Next: b.From, Epoch: -1, LogStart: b.LogStart, AtEnd: b.Asked}
		f.changed = true
	}
	if b.From != at.Next {
		return fmt.Errorf("%w: partition %d is at offset %d and was given a batch from %d", errInternal, b.Partition, at.Next, b.From)
	}
	if later != nil {
		// Its epoch is that of a record behind the cut.
		b.Epoch = at.Epoch
		if n := len(b.Records); n > 0 {
			b.Epoch = b.Records[n-1].LeaderEpoch
		}
	}
	if err := f.collect(b, shaped); err != nil {
		f.broken = err
		return err
	}
	if b.Next != at.Next || b.LogStart > at.LogStart {
		at.Next, at.Epoch, at.LogStart = b.Next, b.Epoch, max(at.LogStart, b.LogStart)
		f.changed = true
	}
	f.noteEnd(b, at)
	if err := f.advance(b, later != nil); err != nil {
		return err
	}
	f.check()
	return later
}

// collect adds a fetch's records to the batch. The lock is held.
func (f *follower) collect(b *feed.Batch, shaped []shapedRecord) error {
	if len(b.Records) == 0 {
		return nil
	}
	to, limit := f.writer(), f.e.share.row()
	count := &f.next.Counters
	count.Records += uint64(len(b.Records))
	var row store.Row
	for i, r := range b.Records {
		if r.Key == nil {
			count.NullKeys++
			f.drop(r, DropNullKey, nil)
			continue
		}
		f.watchSpread(r)
		value := r.Value
		if value == nil {
			count.Tombstones++
			to.Delete(r.Key)
			continue
		}
		if shaped != nil {
			s := &shaped[i] //nolint:gosec // there is one for each record
			switch s.verdict {
			case undone:
				return fmt.Errorf("%w: partition %d offset %d: the transform neither returned nor panicked", errInternal, r.Partition, r.Offset)
			case rejected:
				if f.e.cfg.badRecords == Fail {
					return &BadRecordError{Topic: f.e.topic, Partition: r.Partition, Offset: r.Offset, Err: s.why}
				}
				count.Rejected++
				f.drop(r, DropRejected, s.why)
			case filtered:
				count.Filtered++
				f.drop(r, DropFiltered, nil)
			}
			if s.verdict != keep {
				// It takes the place of an older row: a fresh replica
				// never saw that either.
				to.Delete(r.Key)
				continue
			}
			value = s.value
		}
		var headers []byte
		if f.e.cfg.headers {
			f.headers = appendHeaders(f.headers[:0], r.Headers)
			headers = f.headers
		}
		if size := int64(len(r.Key) + len(value) + len(headers)); size > limit {
			return &RowTooLargeError{Topic: f.e.topic, Partition: r.Partition, Offset: r.Offset, Bytes: size, Limit: limit, Budget: f.e.cfg.budget.bytes}
		}
		row = store.Row{Timestamp: r.Timestamp.UnixMilli(), Partition: b.Partition, Offset: r.Offset, Headers: headers, Value: value}
		to.Put(r.Key, &row)
	}
	return nil
}

func (f *follower) drop(r *kgo.Record, reason DropReason, err error) {
	f.e.hooks.drop(f.e.topic, r.Partition, r.Offset, reason, err)
}

// noteEnd keeps the time when a partition was last at its end, and notes when
// tombstones may have been missed. The lock is held.
func (f *follower) noteEnd(b *feed.Batch, at *store.Partition) {
	since := at.AtEnd
	if f.pass.After(since) {
		// A deletion that came before the pass is found by it.
		since = f.pass
	}
	if b.Next > b.From && f.retention >= minProvable && age(since) > f.retention {
		f.wantVerify(TombstonesExpired)
	}
	if b.Next >= b.End {
		at.AtEnd = b.Asked
	}
	f.endsMu.Lock()
	f.ends[b.Partition] = end{offset: b.End, seen: at.AtEnd}
	f.targets.see(b)
	if f.checks != nil {
		f.checks.see(b)
	}
	f.endsMu.Unlock()
}

// age is how long ago t was, by the clock or by the time that this process saw
// pass, whichever is more: a machine that was suspended saw none, and a clock may
// be set back.
func age(t time.Time) time.Duration {
	now := time.Now()
	return max(now.Sub(t), now.Round(0).Sub(t.Round(0)))
}

// wantVerify notes that the rows have to be verified. The lock is held.
func (f *follower) wantVerify(r Reason) {
	if f.next.PendingVerify != "" {
		f.again = !f.pass.IsZero()
		return
	}
	pend(f.next, r)
	f.changed = true
	select {
	case f.verifyWanted <- struct{}{}:
	default:
	}
}

// applyPending applies what is collected, and waits until it is.
func (f *follower) applyPending() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.applyAll()
}

// applySoon is applyPending that does not wait for a bulk load, whose chunks are
// durable when they are applied.
func (f *follower) applySoon() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.bulk != nil && f.changed {
		return f.submit()
	}
	if f.bulk == nil {
		return f.applyAll()
	}
	return nil
}

// applyAll is applyPending with the lock held.
func (f *follower) applyAll() error {
	switch {
	case f.bulk != nil:
		return f.endBulk()
	case f.changed:
		return f.apply()
	}
	return nil
}

// apply writes the batch with the state it leads to, in one step, and tells who
// waits. The lock is held, and there is no bulk load.
func (f *follower) apply() error {
	if f.broken != nil {
		return f.broken
	}
	batch, state := f.batch, f.next
	f.batch, f.next, f.changed = nil, state.Clone(), false
	info := BatchApplied{Generation: f.gen.Number()}
	if batch != nil {
		info.Rows, info.Bytes = batch.Len(), batch.Bytes()
	}
	began := time.Now()
	if err := f.gen.Apply(batch, state); err != nil {
		// Its rows are not there, and its positions are in f.next: nothing
		// may be applied on top of it.
		f.broken = err
		return err
	}
	info.Took = time.Since(began)
	f.applied(state, info)
	return nil
}

// applied tells what has become visible. A bulk load calls it while the lock may
// be held by somebody who waits for it.
func (f *follower) applied(state *store.State, info BatchApplied) {
	f.e.changed.wake()
	if info.Rows > 0 {
		f.e.hooks.batch(info)
	}
	f.endsMu.Lock()
	defer f.endsMu.Unlock()
	f.reach(state)
}

// check sees whether targets are reached by what was applied.
func (f *follower) check() {
	f.endsMu.Lock()
	defer f.endsMu.Unlock()
	f.reach(f.gen.State())
}

// reach is check with the lock of the ends held.
func (f *follower) reach(applied *store.State) {
	f.targets.reach(applied)
	if f.checks != nil {
		f.checks.reach(applied)
	}
}
