package stream

import (
	"math/bits"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// recordPool gives the client memory for the records that it fetches. It comes
// back when they are done, and goes to the garbage collector when it lies idle.
type recordPool struct {
	sizes [pooledMost + 1]sync.Pool // of *[]kgo.Record, by the power of two
}

// Powers of two: smaller batches are not worth a place, and larger ones, of about
// 190 B a record, are not kept.
const (
	pooledLeast = 6
	pooledMost  = 16
)

// GetRecords implements kgo.PoolRecords.
func (rp *recordPool) GetRecords(n int) []kgo.Record {
	size := max(bits.Len(uint(n-1)), pooledLeast)
	if n <= 0 || size > pooledMost {
		return nil
	}
	if s, ok := rp.sizes[size].Get().(*[]kgo.Record); ok {
		return (*s)[:n]
	}
	return make([]kgo.Record, n, 1<<size)
}

// PutRecords implements kgo.PoolRecords. The records are zero.
func (rp *recordPool) PutRecords(s []kgo.Record) {
	// What the client made by itself has any size.
	if size := bits.Len(uint(cap(s))) - 1; size >= pooledLeast && size <= pooledMost && cap(s) == 1<<size {
		rp.sizes[size].Put(&s)
	}
}
