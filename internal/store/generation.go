package store

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// A Generation is one build of a table's rows, with the positions they stand
// for. One goroutine applies; any number reads at the same time.
type Generation struct {
	root     *Root
	number   uint64
	dir      string
	db       *pebble.DB
	fail     *failure
	identity Identity

	state atomic.Pointer[State] // as last applied
	// readers counts the reads under way, and has closing added to it when
	// no further one may begin.
	readers  atomic.Int64
	idle     chan struct{} // closed when closing and the last reader left
	idleOnce sync.Once
	once     sync.Once
	closeErr error

	snapMu sync.Mutex
	snaps  map[*Snapshot]struct{}

	mu    sync.Mutex // one Apply or Flush at a time
	dirty bool       // something was applied since the last flush
}

// closing is more than any number of readers.
const closing = 1 << 40

func createGeneration(r *Root, n uint64, id Identity) (*Generation, error) {
	g := &Generation{root: r, number: n, dir: r.genDir(n), fail: newFailure(), identity: id, idle: make(chan struct{}), snaps: map[*Snapshot]struct{}{}}
	o := r.opts.pebbleOptions(g.fail)
	o.ErrorIfExists = true
	db, err := pebble.Open(g.dir, o)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("store: cannot create %s: %w", g.dir, err), g.fail.get())
	}
	g.db = db
	g.state.Store(&State{})
	b := db.NewBatch()
	_ = b.Set(identityKey, appendIdentity(nil, &id), nil)
	_ = b.Set(stateKey, appendState(nil, &State{}), nil)
	err = db.Apply(b, pebble.NoSync)
	if err == nil {
		err = db.Flush()
	}
	if err = errors.Join(err, g.fail.get()); err != nil {
		_ = g.close(false)
		return nil, fmt.Errorf("store: cannot create %s: %w", g.dir, err)
	}
	return g, nil
}

func openGeneration(r *Root, n uint64) (*Generation, error) {
	g := &Generation{root: r, number: n, dir: r.genDir(n), fail: newFailure(), idle: make(chan struct{}), snaps: map[*Snapshot]struct{}{}}
	o := r.opts.pebbleOptions(g.fail)
	o.ErrorIfNotExists = true
	db, err := pebble.Open(g.dir, o)
	if err != nil {
		if f := g.fail.get(); f != nil {
			return nil, fmt.Errorf("store: cannot open %s: %w", g.dir, f)
		}
		// Whatever keeps files that were ours from opening, they are not
		// usable; the one thing that heals it is building them anew.
		return nil, fmt.Errorf("store: cannot open %s: %w", g.dir, corrupt(err))
	}
	g.db = db
	if err := g.load(); err != nil {
		_ = g.close(false)
		return nil, fmt.Errorf("store: cannot open %s: %w", g.dir, err)
	}
	return g, nil
}

// load reads the internal records.
func (g *Generation) load() error {
	read := func(key []byte, parse func([]byte) error) error {
		b, closer, err := g.db.Get(key)
		if err != nil {
			return corrupt(err)
		}
		return errors.Join(parse(b), closer.Close())
	}
	err := read(identityKey, func(b []byte) (err error) {
		g.identity, err = parseIdentity(b)
		return err
	})
	if err != nil {
		return err
	}
	return read(stateKey, func(b []byte) error {
		s, err := parseState(b)
		g.state.Store(s)
		return err
	})
}

// Number returns the generation's number, which grows with each one built.
func (g *Generation) Number() uint64 { return g.number }

// Identity returns whose rows these are.
func (g *Generation) Identity() Identity { return g.identity }

// State returns what was reached by the last Apply. It must not be changed.
func (g *Generation) State() *State { return g.state.Load() }

// Failed returns a channel that is closed when a write has failed, and Err
// tells which. Nothing is durable from then on; the generation is to be closed.
func (g *Generation) Failed() <-chan struct{} { return g.fail.ch }

// Err returns the *WriteError of a failed write, nil if none failed.
func (g *Generation) Err() error { return g.fail.get() }

// Flush makes everything applied so far durable.
func (g *Generation) Flush() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.enter() {
		return ErrClosed
	}
	defer g.leave()
	if !g.dirty {
		return g.fail.get()
	}
	err := g.db.Flush()
	if f := g.fail.get(); f != nil {
		return f
	}
	if err != nil {
		return fmt.Errorf("store: cannot flush: %w", err)
	}
	g.dirty = false
	return nil
}

// Dirty reports whether something was applied since the last flush.
func (g *Generation) Dirty() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.dirty
}

// DiskBytes returns what the generation takes on disk.
func (g *Generation) DiskBytes() uint64 {
	if !g.enter() {
		return 0
	}
	defer g.leave()
	return g.db.Metrics().DiskSpaceUsage()
}

// enter begins a use of the database; false once it is closing.
func (g *Generation) enter() bool {
	if g.readers.Add(1) > closing {
		g.leave()
		return false
	}
	return true
}

// leave ends what enter began.
func (g *Generation) leave() {
	if g.readers.Add(-1) == closing {
		g.idleOnce.Do(func() { close(g.idle) })
	}
}

// close waits for the readers and closes the database, without a flush.
func (g *Generation) close(remove bool) error {
	g.once.Do(func() {
		if g.readers.Add(closing) != closing {
			<-g.idle
		}
		g.snapMu.Lock()
		left := slices.Collect(maps.Keys(g.snaps))
		g.snapMu.Unlock()
		for _, s := range left {
			s.Close()
		}
		if err := g.db.Close(); err != nil && g.fail.get() == nil {
			g.closeErr = fmt.Errorf("store: cannot close %s: %w", g.dir, err)
		}
		if remove {
			if err := g.root.opts.FS.RemoveAll(g.dir); err != nil {
				// The next open removes what is left.
				g.root.opts.Logger.Warn("store: cannot remove files", "dir", g.dir, "err", err)
			}
		}
	})
	return g.closeErr
}
