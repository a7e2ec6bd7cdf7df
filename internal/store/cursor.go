package store

import (
	"math/rand/v2"
	"runtime"
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
	slots []cursorSlot
}

// cursorSlot holds a cursor or nil. It fills a cache line of its own.
type cursorSlot struct {
	c atomic.Pointer[cursor]
	_ [56]byte
}

func newCursors(open func() (*pebble.Iterator, error)) *cursors {
	return &cursors{open: open, slots: make([]cursorSlot, 2*runtime.GOMAXPROCS(0))}
}

// get returns a cursor that sees what was applied before the call.
func (p *cursors) get() (*cursor, error) {
	now := p.moves.Load()
	at := rand.Uint32()
	for i := range p.slots {
		slot := &p.slots[(at+uint32(i))%uint32(len(p.slots))].c
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

// put keeps a cursor for the next lookup, if it can be of use.
func (p *cursors) put(c *cursor) {
	at := rand.Uint32()
	for i := range p.slots {
		slot := &p.slots[(at+uint32(i))%uint32(len(p.slots))].c
		if c.it.Error() != nil || c.made != p.moves.Load() || !slot.CompareAndSwap(nil, c) {
			continue
		}
		if c.made != p.moves.Load() {
			p.sweep() // whoever moved may have passed the slot before
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
	for i := range p.slots {
		slot := &p.slots[i].c
		if c := slot.Load(); c == nil || c.made >= now {
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
