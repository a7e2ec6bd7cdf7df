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
	// bulkBytes is how much is collected for one batch while the end of the
	// log is far: batches this large pass the memtable by.
	bulkBytes = 8 << 20
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
	at := f.next.At(b.Partition)
	if !at.Known {
		// What is deleted from now on is seen by its tombstone.
		*at = store.Partition{Known: true, Next: b.From, Epoch: -1, LogStart: b.LogStart, AtEnd: b.Asked}
		f.changed = true
	}
	if b.From != at.Next {
		return fmt.Errorf("%w: partition %d is at offset %d and was given a batch from %d", errInternal, b.Partition, at.Next, b.From)
	}
	f.collect(b, shaped)
	if b.Next != at.Next || b.LogStart > at.LogStart {
		at.Next, at.Epoch, at.LogStart = b.Next, b.Epoch, max(at.LogStart, b.LogStart)
		f.changed = true
	}
	f.noteEnd(b, at)
	if f.changed && (b.Next >= b.End || later != nil || f.batch != nil && f.batch.Bytes() >= bulkBytes) {
		if err := f.apply(); err != nil {
			return err
		}
	}
	f.check(b)
	return later
}

// collect adds a fetch's records to the batch. The lock is held.
func (f *follower) collect(b *feed.Batch, shaped []shapedRecord) {
	if len(b.Records) == 0 {
		return
	}
	if f.batch == nil {
		f.batch = f.gen.NewBatch()
	}
	count := &f.next.Counters
	count.Records += uint64(len(b.Records))
	var row store.Row
	for i, r := range b.Records {
		if r.Key == nil {
			count.NullKeys++
			f.drop(r, DropNullKey, nil)
			continue
		}
		value := r.Value
		if value == nil {
			count.Tombstones++
			f.batch.Delete(r.Key)
			continue
		}
		if shaped != nil {
			s := &shaped[i]
			switch s.verdict {
			case rejected:
				count.Rejected++
				f.drop(r, DropRejected, s.why)
			case filtered:
				count.Filtered++
				f.drop(r, DropFiltered, nil)
			}
			if s.verdict != keep {
				// It takes the place of an older row: a fresh replica
				// never saw that either.
				f.batch.Delete(r.Key)
				continue
			}
			value = s.value
		}
		row = store.Row{Timestamp: r.Timestamp.UnixMilli(), Partition: b.Partition, Offset: r.Offset, Value: value}
		f.batch.Put(r.Key, &row)
	}
}

func (f *follower) drop(r *kgo.Record, reason DropReason, err error) {
	f.e.hooks.drop(f.e.topic, r.Partition, r.Offset, reason, err)
}

// noteEnd keeps the time when a partition was last at its end, and notes when
// tombstones may have been missed. The lock is held.
func (f *follower) noteEnd(b *feed.Batch, at *store.Partition) {
	if b.Next > b.From && f.retention >= minProvable && time.Since(at.AtEnd) > f.retention {
		f.wantVerify(TombstonesExpired)
	}
	if b.Next >= b.End {
		at.AtEnd = b.Asked
	}
	f.ends[b.Partition] = end{offset: b.End, seen: at.AtEnd}
}

// wantVerify notes that the rows have to be verified. The lock is held.
func (f *follower) wantVerify(r Reason) {
	if f.next.PendingVerify != "" {
		return
	}
	pend(f.next, r)
	f.changed = true
	select {
	case f.verifyWanted <- struct{}{}:
	default:
	}
}

// applyPending applies what is collected.
func (f *follower) applyPending() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.changed {
		return nil
	}
	return f.apply()
}

// apply writes the batch with the state it leads to, in one step, and tells who
// waits. The lock is held.
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
	f.e.changed.wake()
	if info.Rows > 0 {
		f.e.hooks.batch(info)
	}
	return nil
}

// check sees whether targets are reached. The lock is held.
func (f *follower) check(b *feed.Batch) {
	applied := f.gen.State()
	if f.targets.see(b, applied) {
		select {
		case <-f.caught:
		default:
			close(f.caught)
		}
	}
	if f.checks != nil && f.checks.see(b, applied) {
		f.checks.close()
	}
}

// shapedRecord is what a transform made of a record.
type shapedRecord struct {
	value   []byte
	verdict verdict
	why     error
}

// shapeAll runs the transform over a batch. At a record that has to be tried
// again it cuts the batch off there, and returns a *feed.LaterError.
func (f *follower) shapeAll(b *feed.Batch) ([]shapedRecord, error) {
	shaped := make([]shapedRecord, len(b.Records))
	for i, r := range b.Records {
		if r.Key == nil || r.Value == nil {
			continue
		}
		value, v, why, again := f.e.shape(r)
		if again != nil {
			b.Records, b.Next = b.Records[:i], r.Offset
			return shaped[:i], &feed.LaterError{Next: r.Offset, Err: fmt.Errorf("partition %d offset %d waits: %w", r.Partition, r.Offset, again)}
		}
		shaped[i] = shapedRecord{value, v, why}
	}
	return shaped, nil
}
