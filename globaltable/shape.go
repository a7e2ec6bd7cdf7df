package globaltable

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/globaltable/enrich/internal/feed"
)

// shapedRecord is what a transform made of a record.
type shapedRecord struct {
	value   []byte
	verdict verdict
	why     error
}

// shapeStep is how many records one goroutine transforms at a time.
const shapeStep = 64

// shapeAll runs the transform over a batch, on all cores if it is large. At a
// record that has to be tried again it cuts the batch off there, and returns a
// *feed.LaterError.
func (f *follower) shapeAll(b *feed.Batch) ([]shapedRecord, error) {
	shaped := make([]shapedRecord, len(b.Records))
	var next atomic.Int64
	var mu sync.Mutex
	cut, cause := len(b.Records), error(nil) // the first record to be tried again, guarded by mu
	waits := func(i int, again error) {
		mu.Lock()
		defer mu.Unlock()
		if i < cut {
			cut, cause = i, again
		}
		next.Store(int64(len(b.Records))) // what lies behind is not needed
	}
	work := func() {
		// Steps are taken in order: all before a cut are done by somebody.
		for {
			from := int(next.Add(shapeStep)) - shapeStep
			if from >= len(b.Records) {
				return
			}
			for i, r := range b.Records[from:min(from+shapeStep, len(b.Records))] {
				if r.Key == nil || r.Value == nil {
					continue
				}
				value, v, why, again := f.e.shape(r)
				if again != nil {
					waits(from+i, again)
					return
				}
				shaped[from+i] = shapedRecord{value, v, why}
			}
		}
	}
	var helpers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(b.Records)/shapeStep) - 1 {
		helpers.Go(work)
	}
	work()
	helpers.Wait()
	if cause == nil {
		return shaped, nil
	}
	r := b.Records[cut]
	b.Records, b.Next = b.Records[:cut], r.Offset
	return shaped[:cut], &feed.LaterError{Next: r.Offset, Err: fmt.Errorf("partition %d offset %d waits: %w", r.Partition, r.Offset, cause)}
}
