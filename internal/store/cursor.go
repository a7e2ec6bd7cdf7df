package store

import (
	"bytes"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// A cursor finds single rows: an iterator that is kept, since setting one up
// costs as much as the lookup itself. It sees the rows as they were when it was
// made.
type cursor struct {
	pool *cursors
	it   *pebble.Iterator
	made uint64 // the pool's moves by then
	key  []byte // the last stored key looked up
}

// seek reads the row of a user key.
func (c *cursor) seek(key []byte) (row Row, ok bool, err error) {
	c.key = appendRowKey(c.key[:0], key)
	return seekRow(c.it, c.key)
}

// Close gives the cursor back.
func (c *cursor) Close() error {
	c.pool.put(c)
	return nil
}

// cursors are those of one generation that nobody uses at the moment. Taking one
// and giving it back takes no lock.
//
// A cursor keeps memtables and files alive that the store has replaced since. So
// none is kept, or used for a new lookup, after the store has moved.
type cursors struct {
	open  func() (*pebble.Iterator, error)
	moves atomic.Uint64 // how often the store has moved
	shelf atomic.Pointer[shelf]
}

// A shelf has a place for some cursors of each range of keys. A cursor that stays
// within one file finds a key in half the time: it does not leave the file and
// enter another.
type shelf struct {
	from  [][]byte // the first stored keys of all ranges but the first, sorted
	each  int      // slots of a range
	slots []cursorSlot
}

// cursorSlot holds a cursor or nil. It fills a cache line of its own.
type cursorSlot struct {
	c atomic.Pointer[cursor]
	_ [56]byte
}

func newCursors(open func() (*pebble.Iterator, error)) *cursors {
	p := &cursors{open: open}
	p.shelf.Store(newShelf(nil))
	return p
}

func newShelf(from [][]byte) *shelf {
	each := max(2, min(2*runtime.GOMAXPROCS(0), maxCursors/(len(from)+1)))
	return &shelf{from: from, each: each, slots: make([]cursorSlot, each*(len(from)+1))}
}

// of returns the slots for a stored key. With a search of package slices the key
// would have to be on the heap.
func (s *shelf) of(stored []byte) []cursorSlot {
	at, end := 0, len(s.from)
	for at < end {
		if middle := (at + end) / 2; bytes.Compare(s.from[middle], stored) <= 0 {
			at = middle + 1
		} else {
			end = middle
		}
	}
	return s.slots[at*s.each:][:s.each]
}

// These bound the ranges of a shelf, and its cursors, each of which takes some
// kilobytes.
const maxRanges, maxCursors = 64, 256

// arrange adapts the ranges to the files of the lowest level, of which these are
// the first keys, sorted.
func (p *cursors) arrange(files [][]byte) {
	step := len(files)/maxRanges + 1
	var from [][]byte
	for i := step; i < len(files); i += step {
		from = append(from, files[i])
	}
	old := p.shelf.Load()
	if slices.EqualFunc(old.from, from, bytes.Equal) {
		return
	}
	p.shelf.Store(newShelf(from))
	old.clear(nil)
}

// get returns a cursor for a user key that sees what was applied before the call.
func (p *cursors) get(key []byte) (*cursor, error) {
	now := p.moves.Load()
	var buf [64]byte
	slots := p.shelf.Load().of(appendRowKey(buf[:0], key))
	at := rand.Uint32()
	for i := range slots {
		slot := &slots[(at+uint32(i))%uint32(len(slots))].c
		if slot.Load() == nil {
			continue
		}
		c := slot.Swap(nil)
		switch {
		case c == nil:
		case c.made == now:
			return c, nil
		default:
			_ = c.it.Close() // an error of a read was returned by it
		}
	}
	it, err := p.open()
	if err != nil {
		return nil, err
	}
	return &cursor{pool: p, it: it, made: now}, nil
}

// put keeps a cursor for the next lookup near its last key, if it can be of use.
func (p *cursors) put(c *cursor) {
	s := p.shelf.Load()
	slots := s.of(c.key)
	at := rand.Uint32()
	for i := range slots {
		slot := &slots[(at+uint32(i))%uint32(len(slots))].c
		if c.it.Error() != nil || c.made != p.moves.Load() || !slot.CompareAndSwap(nil, c) {
			continue
		}
		// Whoever moved, or arranged the ranges anew, may have passed the slot
		// before.
		if c.made != p.moves.Load() {
			p.sweep()
		}
		if p.shelf.Load() != s {
			s.clear(nil)
		}
		return
	}
	_ = c.it.Close()
}

// moved tells that rows or files have changed. Cursors made before are not used
// for lookups that begin after it returned. It takes no lock and closes nothing,
// see sweep.
func (p *cursors) moved() { p.moves.Add(1) }

// sweep closes the cursors that are of no use any more.
func (p *cursors) sweep() {
	now := p.moves.Load()
	p.shelf.Load().clear(func(c *cursor) bool { return c.made >= now })
}

// clear closes the cursors, but for those to be kept.
func (s *shelf) clear(keep func(*cursor) bool) {
	for i := range s.slots {
		slot := &s.slots[i].c
		if c := slot.Load(); c == nil || keep != nil && keep(c) {
			continue
		}
		// Should another one stand there by now, it is set up anew.
		if c := slot.Swap(nil); c != nil {
			_ = c.it.Close()
		}
	}
}

// shut closes all of them. Nobody may use one any more.
func (p *cursors) shut() {
	p.moved()
	p.sweep()
}
