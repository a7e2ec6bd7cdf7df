package globaltable

import (
	"hash/maphash"
	"strings"
	"sync/atomic"

	"github.com/maypok86/otter/v2"

	"github.com/globaltable/enrich/codec"
)

// rowCache keeps decoded rows of one generation, and which keys have none, by
// their encoded key.
//
// It never holds a row for longer than the positions allow. A writer first makes
// the change visible to reads, then calls forget, and only then publishes the
// position. Who reads a row to keep it takes a ticket before, and add refuses
// the row if forget was called for its key since.
type rowCache[V any] struct {
	rows *otter.Cache[string, *cachedRow[V]]
	none *cachedRow[V] // for keys without a row
	seed maphash.Seed
	// changes count the calls of forget, by the hash of the key.
	changes [1 << 10]atomic.Uint64

	// Once it is full, a row is kept when it is read for the second time within
	// a while: most keys of a uniform load are not, and keeping them costs as
	// much as a tenth of reading them.
	full   atomic.Bool
	added  atomic.Uint32
	recent [1 << 12]atomic.Uint32 // a part of the hash of keys that were read
}

// cachedRow is a decoded row, or with found false that there is none.
type cachedRow[V any] struct {
	value     V
	found     bool
	weight    uint32
	partition int32
	offset    int64
	timestamp int64           // milliseconds
	headers   *[]codec.Header // nil if they are not kept
}

// cachedRowBytes is about what an entry takes besides its key and its value.
const cachedRowBytes = 160

// forgetter is a rowCache without its type.
type forgetter interface {
	forget(key []byte)
	resize(bytes int64)
}

func newRowCache[V any](bytes int64) *rowCache[V] {
	return &rowCache[V]{
		seed: maphash.MakeSeed(),
		none: &cachedRow[V]{},
		rows: otter.Must(&otter.Options[string, *cachedRow[V]]{
			MaximumWeight: uint64(bytes),
			Weigher:       func(_ string, row *cachedRow[V]) uint32 { return row.weight },
			// Its upkeep is done by those who read and write, so that no
			// goroutine outlives the table.
			Executor: func(fn func()) { fn() },
		}),
	}
}

// get returns what is kept of a key.
func (c *rowCache[V]) get(key string) (*cachedRow[V], bool) { return c.rows.GetIfPresent(key) }

// ticket says when a row was read that is to be kept.
type ticket struct {
	count  *atomic.Uint64
	seen   uint64
	wanted bool
}

// before returns a ticket for a key that is read from now on.
func (c *rowCache[V]) before(key string) ticket {
	hash := maphash.String(c.seed, key)
	count := &c.changes[hash%uint64(len(c.changes))]
	t := ticket{count: count, seen: count.Load(), wanted: true}
	if c.full.Load() {
		slot, mark := &c.recent[(hash>>16)%uint64(len(c.recent))], uint32(hash>>32)
		if t.wanted = slot.Load() == mark; !t.wanted {
			slot.Store(mark)
		}
	}
	return t
}

// add keeps a row, or that there is none, if nothing has changed since the
// ticket was taken.
func (c *rowCache[V]) add(key string, row *cachedRow[V], t ticket) {
	if !t.wanted {
		return
	}
	c.rows.Compute(strings.Clone(key), func(old *cachedRow[V], _ bool) (*cachedRow[V], otter.ComputeOp) {
		// forget counts before it takes the lock that is held here.
		if t.count.Load() != t.seen {
			return old, otter.CancelOp
		}
		return row, otter.WriteOp
	})
	if c.added.Add(1)%fullEvery == 0 {
		c.full.Store(c.rows.WeightedSize() >= c.rows.GetMaximum()/10*9)
	}
}

// fullEvery is after how many rows it is looked whether the cache is full.
const fullEvery = 256

// forget removes a key. A read of it that began before is not kept.
func (c *rowCache[V]) forget(key []byte) {
	k := asString(key) // used during the calls only
	c.changes[maphash.String(c.seed, k)%uint64(len(c.changes))].Add(1)
	c.rows.Invalidate(k)
}

func (c *rowCache[V]) resize(bytes int64) { c.rows.SetMaximum(uint64(bytes)) }
