package stream

import (
	"math/bits"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// recordPool gives the client memory for the records that it fetches. It comes
// back when they are done, and goes to the garbage collector when it lies idle.
type recordPool struct {
	sizes [(pooledMost - pooledLeast) * steps]sync.Pool // of *[]kgo.Record
}

// A record takes about 190 B. Fewer than 2^pooledLeast of them are not worth a
// place, and 2^pooledMost and more are not kept. Sizes are rounded up to one of
// steps between two powers of two.
const (
	pooledLeast = 6
	pooledMost  = 16
	steps       = 8
)

// place returns the pool for slices of n records, and their capacity.
func place(n int) (i, capacity int, ok bool) {
	power := bits.Len(uint(n)) - 1
	if power < pooledLeast || power >= pooledMost {
		return 0, 0, false
	}
	step := 1 << power / steps
	up := (n + step - 1) / step // in steps; from steps to 2*steps
	return (power-pooledLeast)*steps + up - steps, up * step, up < 2*steps || power+1 < pooledMost
}

// GetRecords implements kgo.PoolRecords.
func (rp *recordPool) GetRecords(n int) []kgo.Record {
	i, capacity, ok := place(n)
	if !ok {
		return nil
	}
	if s, ok := rp.sizes[i].Get().(*[]kgo.Record); ok {
		return (*s)[:n]
	}
	return make([]kgo.Record, n, capacity)
}

// PutRecords implements kgo.PoolRecords. The records are zero.
func (rp *recordPool) PutRecords(s []kgo.Record) {
	// What the client made by itself may have any size.
	if i, capacity, ok := place(cap(s)); ok && capacity == cap(s) {
		rp.sizes[i].Put(&s)
	}
}
