package globaltable

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"github.com/globaltable/enrich/internal/feed"
	"github.com/globaltable/enrich/internal/store"
)

// A verification finds rows whose deletion was missed: their key was deleted,
// and the log cleaner removed the tombstone too, before it was read. It heals in
// place, while the tail is followed:
//
//  1. Note where the tail is. Read the log once, from its start to there, and
//     note which offsets exist.
//  2. Wait until the tail has passed the end of the log as it was after that.
//  3. Delete the rows whose offset lies below where the tail was and that the
//     pass did not find.
//
// A live row's record was found by the pass, or was removed from the log because
// a later record of its key is there, which the tail has applied by then. So the
// rows that are left over in 3 have no record, however long the pass took.
//
// The other way round, a row whose record the pass found and whose key is
// deleted later goes by the tombstone, if the tail reads it in time. A tail that
// was not at the end for longer than tombstones are kept, since the pass began,
// may have missed one: then all is done once more.

// sweepChunk is how many rows one step of the sweep looks at again.
const sweepChunk = 1000

// verifyIfPending verifies the rows if the state says that they have to be, and
// once more if the tail fell too far behind meanwhile.
func (f *follower) verifyIfPending(ctx context.Context) error {
	for {
		reason := f.pendingReason()
		if reason == "" {
			return nil
		}
		if err := f.verify(ctx, reason); err != nil {
			return err
		}
	}
}

// pendingReason is why the rows have to be verified, empty if they need not be.
func (f *follower) pendingReason() Reason {
	f.mu.Lock()
	defer f.mu.Unlock()
	return Reason(f.next.PendingVerify)
}

func (f *follower) verify(ctx context.Context, reason Reason) error {
	f.e.setStatus(Verifying, reason, nil)
	began := time.Now()
	f.mu.Lock()
	f.pass, f.again = began, false
	f.mu.Unlock()
	if err := f.applyPending(); err != nil {
		return err
	}
	tail := f.gen.State()
	exists, err := f.readOffsets(ctx, tail)
	if err != nil {
		return err
	}
	if err := f.passEnd(ctx, tail); err != nil {
		return err
	}
	deleted, err := f.sweep(ctx, tail, exists)
	if err != nil {
		return err
	}
	if err := f.verified(began); err != nil {
		return err
	}
	f.e.tally.verified(deleted)
	f.e.hooks.verified(reason, deleted)
	f.e.log.Info("table verified", "reason", reason, "deleted", deleted, "took", time.Since(began))
	return nil
}

// offsets notes which offsets of each partition exist.
type offsets struct {
	mu   sync.Mutex
	sets map[int32]*roaring64.Bitmap
}

func (o *offsets) add(b *feed.Batch) {
	o.mu.Lock()
	set := o.sets[b.Partition]
	if set == nil {
		set = roaring64.New()
		o.sets[b.Partition] = set
	}
	o.mu.Unlock()
	// One partition is delivered by one goroutine at a time.
	for _, r := range b.Records {
		set.Add(uint64(r.Offset))
	}
}

func (o *offsets) has(partition int32, offset int64) bool {
	set := o.sets[partition]
	return set != nil && set.Contains(uint64(offset))
}

// readOffsets reads the log from its start to where the tail was.
func (f *follower) readOffsets(ctx context.Context, tail *store.State) (*offsets, error) {
	found := &offsets{sets: map[int32]*roaring64.Bitmap{}}
	// It runs beside the tail.
	pass := feed.Plan{Topic: f.topic, Until: map[int32]int64{}, MaxBytes: f.e.share.beside().answers()}
	for p, at := range tail.Partitions {
		if at.Known {
			pass.Starts = append(pass.Starts, feed.Start{Partition: int32(p), Offset: feed.LogStart, Epoch: -1})
			pass.Until[int32(p)] = at.Next
		}
	}
	if len(pass.Starts) == 0 {
		return found, nil
	}
	err := f.client.Read(ctx, pass, func(_ context.Context, b *feed.Batch) error {
		found.add(b)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("verification: %w", err)
	}
	return found, nil
}

// passEnd waits until the tail has passed the end of the log as it is now, also
// in partitions that were added since the session began.
func (f *follower) passEnd(ctx context.Context, tail *store.State) error {
	end := newTargets(f.topic, time.Now())
	for p := range tail.Partitions {
		if tail.Partitions[p].Known {
			end.open[int32(p)] = true
		}
	}
	f.endsMu.Lock()
	f.checks = end
	f.endsMu.Unlock()
	defer func() {
		f.endsMu.Lock()
		f.checks = nil
		f.endsMu.Unlock()
	}()
	select {
	case <-end.reached:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// sweep deletes the rows that have no record any more.
func (f *follower) sweep(ctx context.Context, tail *store.State, exists *offsets) (deleted int, err error) {
	snap, err := f.gen.NewSnapshot()
	if err != nil {
		return 0, err
	}
	defer snap.Close()
	var suspects [][]byte
	gone := func(partition int32, offset int64) bool {
		return offset < tail.Get(partition).Next && !exists.has(partition, offset)
	}
	flush := func() error {
		n, err := f.deleteIf(suspects, gone)
		deleted += n
		suspects = suspects[:0]
		return err
	}
	var inner error
	err = snap.ScanPlaces(func(key []byte, partition int32, offset int64) bool {
		if gone(partition, offset) {
			suspects = append(suspects, append([]byte{}, key...))
		}
		if len(suspects) >= sweepChunk {
			inner = flush()
		}
		return inner == nil && ctx.Err() == nil
	})
	for _, e := range []error{inner, err, ctx.Err()} {
		if e != nil {
			return deleted, e
		}
	}
	return deleted, flush()
}

// deleteIf deletes the rows of those keys that are still gone: the tail may have
// written them anew meanwhile.
func (f *follower) deleteIf(keys [][]byte, gone func(int32, int64) bool) (deleted int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	// What is collected would come after the deletions.
	if err := f.applyAll(); err != nil {
		return 0, err
	}
	for _, key := range keys {
		partition, offset, ok, err := f.gen.Lookup(key)
		if err != nil {
			return 0, err
		}
		if !ok || !gone(partition, offset) {
			continue
		}
		if f.batch == nil {
			f.batch = f.gen.NewBatch()
		}
		f.batch.Delete(key)
		deleted++
	}
	if deleted == 0 {
		return 0, nil
	}
	f.next.Counters.Verified += uint64(deleted)
	return deleted, f.apply()
}

// verified notes that the rows are right. What the pass has seen was there when
// it began: a deletion since is seen by its tombstone, unless the tail came to
// it too late.
func (f *follower) verified(began time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.applyAll(); err != nil {
		return err
	}
	f.next.PendingVerify = ""
	if f.again {
		f.next.PendingVerify = string(TombstonesExpired)
	}
	f.pass, f.again = time.Time{}, false
	for p := range f.next.Partitions {
		if at := &f.next.Partitions[p]; at.Known && at.AtEnd.Before(began) {
			at.AtEnd = began
		}
	}
	return f.apply()
}
