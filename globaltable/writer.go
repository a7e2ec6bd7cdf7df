package globaltable

import (
	"cmp"
	"time"

	"github.com/globaltable/enrich/internal/feed"
	"github.com/globaltable/enrich/internal/store"
)

const (
	// bulkFrom is how many records a partition has to be behind for the rows
	// to be loaded in bulk, and bulkTo how many all of them together may be
	// behind when that ends.
	bulkFrom, bulkTo = 20_000, 1_000
	// bulkPatience is how long records of partitions that are at their end
	// may wait in a chunk for those of the others.
	bulkPatience = time.Second
)

// bulkConfig is what tests change of bulk loads.
type bulkConfig struct {
	from       int64 // as bulkFrom
	chunkBytes int   // 0 for what the budget gives
}

// rowWriter is where records are collected: a batch or a bulk load.
type rowWriter interface {
	Put(key []byte, r *store.Row)
	Delete(key []byte)
}

// choose begins a bulk load where the end is far. It may replace f.next. The lock
// is held.
func (f *follower) choose(b *feed.Batch) error {
	if f.bulk == nil && b.End-b.From >= f.e.cfg.bulk.from {
		return f.beginBulk()
	}
	return nil
}

// writer returns where to collect records. The lock is held.
func (f *follower) writer() rowWriter {
	if f.bulk != nil {
		return f.bulk
	}
	if f.batch == nil {
		f.batch = f.gen.NewBatch()
	}
	return f.batch
}

// advance applies what is collected, where it is time to. The lock is held.
func (f *follower) advance(b *feed.Batch, now bool) error {
	switch {
	case !f.changed:
		return nil
	case f.bulk == nil:
		if now || b.Next >= b.End || f.batch != nil && f.batch.Bytes() >= batchBytes {
			return f.apply()
		}
		return nil
	case f.behind() <= bulkTo:
		return f.endBulk()
	case now, f.bulk.Full(), time.Since(f.submitted) >= bulkPatience:
		return f.submit()
	}
	return nil
}

// behind returns how many records the partitions that have answered are behind.
// The lock is held.
func (f *follower) behind() (n int64) {
	f.endsMu.Lock()
	defer f.endsMu.Unlock()
	for p, end := range f.ends {
		n += max(0, end.offset-f.next.Get(p).Next)
	}
	return n
}

// beginBulk turns from batches to a bulk load. The lock is held.
func (f *follower) beginBulk() error {
	if f.changed {
		if err := f.apply(); err != nil {
			return err
		}
	}
	bulk, err := f.gen.NewBulk(store.BulkOptions{ChunkBytes: cmp.Or(f.e.cfg.bulk.chunkBytes, f.share().chunk()), Applied: func(a store.BulkApplied) {
		f.applied(a.State, BatchApplied{Generation: f.gen.Number(), Rows: a.Rows, Bytes: a.Bytes, Took: a.Took})
	}})
	if err != nil {
		f.broken = err
		return err
	}
	f.bulk, f.submitted = bulk, time.Now()
	f.e.tally.bulk()
	return nil
}

// submit hands a chunk over, with the state it leads to. The lock is held.
func (f *follower) submit() error {
	if f.broken != nil {
		return f.broken // there may be a part of what could not be applied
	}
	state := f.next
	f.next, f.changed, f.submitted = state.Clone(), false, time.Now()
	if err := f.bulk.Submit(state); err != nil {
		f.broken = err
		return err
	}
	return nil
}

// endBulk turns from a bulk load to batches, when all of it is in the store. The
// lock is held.
func (f *follower) endBulk() error {
	if f.changed {
		if err := f.submit(); err != nil {
			return err
		}
	}
	bulk := f.bulk
	f.bulk = nil
	if err := bulk.Close(); err != nil {
		f.broken = err
		return err
	}
	return nil
}

// stopWriting ends a bulk load that a session leaves behind. What was collected
// is still applied, if it can be.
func (f *follower) stopWriting() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.bulk == nil {
		return f.broken
	}
	if f.broken == nil {
		return f.endBulk()
	}
	bulk := f.bulk
	f.bulk = nil
	_ = bulk.Close()
	return f.broken
}

// share is what the follower may use of the budget.
func (f *follower) share() *share {
	if gen := f.e.served(); gen != nil && gen != f.gen {
		return f.e.share.beside()
	}
	return f.e.share
}
