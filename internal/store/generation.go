package store

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
)

// A Generation is one build of a table's rows, with the positions they stand
// for. One goroutine applies; any number reads at the same time.
type Generation struct {
	root   *Root
	number uint64
	dir    string
	db     *pebble.DB
	fail   *failure

	identity atomic.Pointer[Identity]
	state    atomic.Pointer[State] // as last applied
	revision atomic.Uint64         // see Revision

	use      gate          // every use of the database is inside
	idle     chan struct{} // closed when the last use has ended
	once     sync.Once
	closeErr error

	snapMu sync.Mutex
	snaps  map[*Snapshot]struct{}

	cursors *cursors
	opened  atomic.Bool // db can be used
	merged  atomic.Bool // files have changed since cursors were arranged
	// changing is called with each key whose row has changed, before the
	// state says so; see OnChange.
	changing atomic.Pointer[func(key []byte)]

	backlog   *backlog
	scheduler *scheduler      // decides when compactions run
	options   *pebble.Options // those of db
	stop      chan struct{}   // closed when whoever waits for room has to give up

	loading atomic.Bool   // there is a bulk load
	tables  atomic.Uint64 // names given to the tables of bulk loads

	mu       sync.Mutex      // guards the order of writes, dirty and flushing
	dirty    bool            // something was applied since the last flush began
	flushing <-chan struct{} // closed when the last flush that began has ended
}

func newGeneration(r *Root, n uint64) *Generation {
	g := &Generation{
		root:      r,
		number:    n,
		dir:       r.genDir(n),
		fail:      newFailure(),
		idle:      make(chan struct{}),
		snaps:     map[*Snapshot]struct{}{},
		backlog:   newBacklog(),
		scheduler: newScheduler(),
		stop:      make(chan struct{}),
	}
	g.use.idle = func() { close(g.idle) }
	g.cursors = newCursors(func() (*pebble.Iterator, error) {
		return g.db.NewIter(&pebble.IterOptions{LowerBound: rowsLower, UpperBound: rowsUpper, UseL6Filters: true})
	})
	g.scheduler.tick = func() {
		if g.use.enter() {
			g.cursors.sweep()
			g.arrange()
			g.use.leave()
		}
	}
	return g
}

func createGeneration(r *Root, n uint64, id Identity) (*Generation, error) {
	g := newGeneration(r, n)
	o, err := r.opts.pebbleOptions(g.fail, g.backlog, g.scheduler, g.filesChanged)
	if err != nil {
		return nil, err
	}
	o.ErrorIfExists = true
	g.options = o
	err = g.openDB()
	if err == nil {
		g.state.Store(&State{})
		err = g.writeIdentity(id)
		if err == nil {
			err = g.db.Flush()
		}
	}
	if f := g.fail.get(); f != nil {
		err = f
	}
	if err != nil {
		if g.db != nil {
			_ = g.close(false)
		}
		return nil, fmt.Errorf("store: cannot create %s: %w", g.dir, err)
	}
	return g, nil
}

// writeIdentity writes both internal records: every batch has the state record,
// see the key space.
func (g *Generation) writeIdentity(id Identity) error {
	b := g.db.NewBatch()
	defer func() { _ = b.Close() }()
	// A batch without an index does not fail to take a record.
	_ = b.Set(identityKey, encodeIdentity(&id), nil)
	_ = b.Set(stateKey, appendState(nil, g.state.Load()), nil)
	if err := g.db.Apply(b, pebble.NoSync); err != nil {
		return err
	}
	g.identity.Store(&id)
	return nil
}

func openGeneration(r *Root, n uint64) (*Generation, error) {
	g := newGeneration(r, n)
	o, err := r.opts.pebbleOptions(g.fail, g.backlog, g.scheduler, g.filesChanged)
	if err != nil {
		return nil, err
	}
	o.ErrorIfNotExists = true
	g.options = o
	if err := removeLeftOvers(o.FS, g.dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.opts.Logger.Warn("store: cannot remove tables of a bulk load", "dir", g.dir, "err", err)
	}
	if err = g.openDB(); err != nil {
		err = openError(err)
	} else {
		// An earlier run may have left it as far behind as a bulk load can.
		g.backlog.pardon(min(sublevels(g.db), bulkWaitFrom))
		g.merged.Store(true)
		if err = g.requireNumbers(); err == nil {
			err = g.load()
		}
	}
	if f := g.fail.get(); f != nil {
		err = f
	}
	if err != nil {
		if g.db != nil {
			_ = g.close(false)
		}
		return nil, fmt.Errorf("store: cannot open %s: %w", g.dir, err)
	}
	return g, nil
}

func (g *Generation) openDB() (err error) {
	// Pebble begins to compact before it looks for files that are of no use any
	// more, and waits there until that has ended: a second for every 100 MB.
	g.scheduler.hold()
	defer g.scheduler.release()
	g.db, err = pebble.Open(g.dir, g.options)
	if err != nil {
		// Pebble may have registered with it, and does not tell it.
		g.scheduler.Unregister()
		return err
	}
	g.opened.Store(true)
	return nil
}

// openError tells files that are damaged from files that cannot be had at the
// moment. Whatever else keeps files that were ours from opening, building them
// anew is what heals it.
func openError(err error) error {
	var errno syscall.Errno
	if errors.Is(err, fs.ErrPermission) || errors.As(err, &errno) && (errno.Temporary() || heldByAnother(errno)) {
		return err
	}
	return corrupt(err)
}

// requireNumbers returns ErrCorrupt if writes would get sequence numbers that rows
// have already. Pebble reads a manifest up to what is damaged in it, as after a
// crash, and its first record has no number yet: rows of higher numbers are hidden
// then, and turn up later, over newer ones.
func (g *Generation) requireNumbers() error {
	b := g.db.NewBatch()
	defer func() { _ = b.Close() }()
	// It takes no number, and tells which would be the next.
	_ = b.LogData(nil, nil)
	if err := g.db.Apply(b, pebble.NoSync); err != nil {
		return err
	}
	levels, err := g.db.SSTables()
	if err != nil {
		return g.readError(err)
	}
	for _, tables := range levels {
		for i := range tables {
			if t := &tables[i]; t.LargestSeqNum >= b.SeqNum() {
				return corrupt(fmt.Errorf("the manifest ends early: table %s has writes up to %d, and the next one would be %d", t.FileNum, t.LargestSeqNum, b.SeqNum()))
			}
		}
	}
	return nil
}

// load reads the internal records.
func (g *Generation) load() error {
	read := func(key []byte, parse func([]byte) error) error {
		b, closer, err := g.db.Get(key)
		if errors.Is(err, pebble.ErrNotFound) {
			return corrupt(errors.New("an internal record is missing"))
		}
		if err != nil {
			return g.readError(err)
		}
		return errors.Join(parse(b), closer.Close())
	}
	err := read(identityKey, func(b []byte) error {
		id, err := parseIdentity(b)
		g.identity.Store(&id)
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
func (g *Generation) Identity() Identity { return *g.identity.Load() }

// SetIdentity replaces the identity, durably, together with everything applied
// so far: something that was unknown has become known. After an error either
// the old or the new one is what a later open finds. Errors are those of Flush.
func (g *Generation) SetIdentity(id Identity) error {
	if !g.use.enter() {
		return ErrClosed
	}
	defer g.use.leave()
	g.mu.Lock()
	err := g.fail.get()
	if err == nil {
		if err = g.writeIdentity(id); err == nil {
			g.dirty = true
		} else {
			err = fmt.Errorf("store: cannot write the identity: %w", err)
		}
	}
	g.mu.Unlock()
	if err != nil {
		return err
	}
	return g.Flush()
}

// State returns what was reached by the last Apply. It must not be changed.
func (g *Generation) State() *State { return g.state.Load() }

// filesChanged notes that files were replaced. It may be called with any lock held.
func (g *Generation) filesChanged() {
	g.cursors.moved()
	g.merged.Store(true)
}

// arrange has cursors stay within the files of the lowest level, if those have
// changed.
func (g *Generation) arrange() {
	// Pebble asks the scheduler before its Open has returned.
	if !g.opened.Load() || !g.merged.Swap(false) {
		return
	}
	tables, err := g.db.SSTables()
	if err != nil {
		return // cursors then serve ranges of other files, and are as right
	}
	var first [][]byte
	for _, t := range tables[len(tables)-1] {
		first = append(first, t.Smallest.UserKey)
	}
	g.cursors.arrange(first)
}

// OnChange has fn called with the key of each row that changes, one call at a
// time, from the moment that it returns; nil ends that. When fn is called a Get
// that begins later sees the change, and State does not tell of it yet. So who
// forgets in fn what it remembers of the key never answers with less than State
// says. fn must not keep key or call the generation.
func (g *Generation) OnChange(fn func(key []byte)) {
	if fn == nil {
		g.changing.Store(nil)
		return
	}
	g.changing.Store(&fn)
}

// Failed returns a channel that is closed when a write has failed or a damaged
// file was found, and Err tells which. Nothing becomes durable from then on; the
// generation is to be closed, or discarded where its files are damaged.
func (g *Generation) Failed() <-chan struct{} { return g.fail.ch }

// Err returns what made the generation fail: a *WriteError, or an error that
// wraps ErrCorrupt; nil if it has not failed.
func (g *Generation) Err() error { return g.fail.get() }

// Flush makes everything applied before it durable. Apply goes on meanwhile.
// It returns Err once the generation has failed, and ErrClosed.
func (g *Generation) Flush() error {
	if !g.use.enter() {
		return ErrClosed
	}
	defer g.use.leave()
	g.mu.Lock()
	done, err := g.beginFlush()
	g.mu.Unlock()
	if err != nil {
		return err
	}
	if err := g.awaitFlush(done); err != nil {
		g.mu.Lock()
		g.dirty = true
		g.mu.Unlock()
		return err
	}
	return nil
}

// beginFlush returns a channel that is closed when all that was applied is
// durable; nil if it is so already. What another caller's flush is writing at
// the moment counts too: flushes end in the order in which they began. The lock
// is held.
func (g *Generation) beginFlush() (<-chan struct{}, error) {
	if err := g.fail.get(); err != nil {
		return nil, err
	}
	if g.dirty {
		done, err := g.db.AsyncFlush()
		if err != nil {
			return nil, fmt.Errorf("store: cannot flush: %w", err)
		}
		g.flushing, g.dirty = done, false
	}
	return g.flushing, nil
}

// awaitFlush waits for a flush that was begun, or for the generation to fail.
func (g *Generation) awaitFlush(done <-chan struct{}) error {
	if done == nil {
		return nil
	}
	select {
	case <-done:
	case <-g.fail.ch:
	}
	return g.fail.get()
}

// Dirty reports whether something was applied that no flush has taken up yet,
// or that a failed one did not write.
func (g *Generation) Dirty() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.dirty
}

// DiskBytes returns what the generation takes on disk; 0 once it is closed.
func (g *Generation) DiskBytes() uint64 {
	if !g.use.enter() {
		return 0
	}
	defer g.use.leave()
	return g.db.Metrics().DiskSpaceUsage()
}

// Revision is a number that grows with every change. What was read after it was
// taken is what a read gives until it grows, as far as the state goes that is
// published by then.
func (g *Generation) Revision() uint64 { return g.revision.Load() }

// publish makes a state the one that is applied, when its rows can be read and
// OnChange was told of them. The revision grows before, since the rows did, and
// after, since the state says which rows lie below the log start.
func (g *Generation) publish(s *State) {
	g.revision.Add(1)
	g.state.Store(s)
	g.revision.Add(1)
}

// Merging reports whether files are being merged, or have to be: lookups ask more
// of them meanwhile. It is false once the generation is closed.
func (g *Generation) Merging() bool {
	if !g.use.enter() {
		return false
	}
	defer g.use.leave()
	m := g.db.Metrics()
	return m.Compact.NumInProgress > 0 || int(m.Levels[0].Sublevels) >= g.options.L0CompactionThreshold
}

// close waits for the uses under way and closes the database, without a flush. A
// bulk load does not go on after the step it is at.
func (g *Generation) close(remove bool) error {
	g.once.Do(func() {
		close(g.stop)
		g.use.shut()
		<-g.idle
		g.snapMu.Lock()
		left := slices.Collect(maps.Keys(g.snaps))
		g.snapMu.Unlock()
		for _, s := range left {
			s.shut()
		}
		g.cursors.shut()
		if err := g.db.Close(); err != nil && g.fail.get() == nil {
			g.closeErr = fmt.Errorf("store: cannot close %s: %w", g.dir, err)
		}
		if remove {
			g.root.removeFiles(g.number)
		}
	})
	return g.closeErr
}
