package globaltable

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// A Budget bounds what tables keep in memory, however large they grow. Every
// table has one, 256 MiB by default: see [MemoryBudget], and [Share] for several
// tables with one budget.
//
// Half of it is for blocks of the store's files and for its memtables (an eighth in
// programs built without cgo, where these lie on the Go heap), an eighth for decoded
// rows, and the rest for what is in flight while records are read from Kafka and
// loaded: a table that is being rebuilt shares it with the one that answers
// meanwhile. What the Go runtime adds comes on top, about 96 MiB in all. So do values
// that the program itself holds on to, and the rows of a table that is kept
// [InMemory].
//
// With cgo and glibc the process grows further unless the environment has
// MALLOC_ARENA_MAX=1: blocks come and go, and by default glibc keeps what it freed in
// several arenas. A third of a rebuild's peak was seen to be that.
//
// What is in flight is divided evenly among the tables that are open when a table
// begins to read its topic, decoded rows among those that are open at the moment.
type Budget struct {
	bytes int64

	mu      sync.Mutex
	cache   *pebble.Cache // while there are members
	members map[*share]struct{}
}

const (
	defaultBudget = 256 << 20
	minBudget     = 16 << 20
	// rowShare is the part of a budget that one row may take: it is in memory
	// several times over while it is read and written.
	rowShare = 8
)

// NewBudget returns a budget of so many bytes, at least 16 MiB; [Open] says so if
// it is less.
func NewBudget(bytes int64) *Budget { return &Budget{bytes: bytes, members: map[*share]struct{}{}} }

// Bytes returns the budget's size.
func (b *Budget) Bytes() int64 { return b.bytes }

// MemoryBudget bounds what the table keeps in memory to so many bytes, at least
// 16 MiB; see [Budget]. The default is 256 MiB. A record larger than an eighth of
// it ends Run with a [*RowTooLargeError].
func MemoryBudget(bytes int64) Opt { return opt(func(c *config) { c.budget = NewBudget(bytes) }) }

// Share makes the table use a budget that other tables use too, in place of one
// of its own.
func Share(b *Budget) Opt { return opt(func(c *config) { c.budget = b }) }

// ValueSize sets how much memory a decoded value takes, in bytes, so that decoded
// rows are kept within the budget. By default it is taken to be as large as it is
// when encoded, and the size of a V. The type has to be that of the table's
// values, else [Open] says so.
func ValueSize[V any](size func(V) int) Opt { return opt(func(c *config) { c.valueSize = size }) }

// sizerOf returns the function of a ValueSize option, nil if there is none.
func sizerOf[V any](given any) (func(V) int, error) {
	if given == nil {
		return nil, nil
	}
	size, ok := given.(func(V) int)
	switch {
	case !ok:
		return nil, fmt.Errorf("globaltable: the table needs a ValueSize of type %T, not %T", size, given)
	case size == nil:
		return nil, errors.New("globaltable: ValueSize needs a function")
	}
	return size, nil
}

func (b *Budget) validate() error {
	switch {
	case b == nil:
		return errors.New("Share needs a budget")
	case b.bytes < minBudget:
		return fmt.Errorf("a budget has to be at least %d bytes, not %d", int64(minBudget), b.bytes)
	}
	return nil
}

// share is what one table gets of a budget.
type share struct {
	b       *Budget
	changed func() // the number of tables has changed
	parts   int64  // how many of these the table's share is divided into
}

// join makes a table one of the budget's. It has to leave.
func (b *Budget) join(changed func()) *share {
	s := &share{b: b, changed: changed, parts: 1}
	b.mu.Lock()
	if b.cache == nil {
		b.cache = pebble.NewCache(b.bytes / blockShare)
	}
	b.members[s] = struct{}{}
	b.mu.Unlock()
	b.tell(s)
	return s
}

func (s *share) leave() {
	b := s.b
	b.mu.Lock()
	delete(b.members, s)
	if len(b.members) == 0 && b.cache != nil {
		b.cache.Unref() // the stores that still use it have references of their own
		b.cache = nil
	}
	b.mu.Unlock()
	b.tell(s)
}

// tell tells the others that their shares have changed.
func (b *Budget) tell(except *share) {
	b.mu.Lock()
	others := slices.Collect(maps.Keys(b.members))
	b.mu.Unlock()
	for _, s := range others {
		if s != except {
			s.changed()
		}
	}
}

// blocks is the cache that all tables of the budget share.
func (s *share) blocks() *pebble.Cache {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	return s.b.cache
}

// of returns the table's part of a part of the budget.
func (s *share) of(part int64) int64 {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	return part / int64(max(1, len(s.b.members))) / s.parts
}

// decoded is for decoded rows.
func (s *share) decoded() int64 { return s.of(s.b.bytes / 8) }

// memtable is the size of one memtable; they are taken out of the block cache.
func (s *share) memtable() int64 { return min(max(s.of(s.b.bytes/blockShare/8), 256<<10), 16<<20) }

// chunk is the size of one chunk of a bulk load, of which there are three.
func (s *share) chunk() int { return int(min(max(s.of(s.b.bytes/32), 512<<10), 8<<20)) }

// fetch is the size of one answer to a fetch, of which there are two, or more that
// are smaller where there are several brokers.
func (s *share) fetch() int32 { return int32(min(max(s.of(s.b.bytes/32), 512<<10), 16<<20)) }

// answers bounds the fetch answers that are in memory at a time.
func (s *share) answers() int32 { return 2 * s.fetch() }

// beside is for what is read beside rows that answer: half of the memory is theirs.
func (s *share) beside() *share { return &share{b: s.b, changed: s.changed, parts: 2 * s.parts} }

// row is how large a record may be.
func (s *share) row() int64 { return s.b.bytes / rowShare }
