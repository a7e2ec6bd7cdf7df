package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const dirMode = 0o750

// A Root is a table's directory, locked.
type Root struct {
	opts Options
	lock io.Closer

	mu     sync.Mutex // guards desc, live and closed
	desc   descriptor
	live   map[uint64]*Generation
	closed bool

	changes  sync.WaitGroup // changes of the directory under way
	done     chan struct{}  // closed when Close has ended
	closeErr error
}

// OpenRoot locks the directory, making it if it is not there, and reads what
// it holds. It returns ErrLocked, a *NotATableError, a *WrongTableError or a
// *NewerFormatError where that is so; the directory is then untouched, but for
// a lock file. It returns an error that wraps ErrCorrupt if the descriptor is
// damaged, and a *WriteError if a new directory cannot be written.
func OpenRoot(o Options) (*Root, error) {
	o.setDefaults()
	if o.Dir == "" || o.Topic == "" {
		return nil, errors.New("store: a table needs a directory and a topic")
	}
	if vfs.Root(o.FS) == vfs.Default {
		// The process may change its working directory.
		dir, err := filepath.Abs(o.Dir)
		if err != nil {
			return nil, fmt.Errorf("store: cannot make directory %s: %w", o.Dir, err)
		}
		o.Dir = dir
	}
	if err := makeDir(o.FS, o.Dir); err != nil {
		return nil, fmt.Errorf("store: cannot make directory %s: %w", o.Dir, err)
	}
	names, err := o.FS.List(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("store: cannot list %s: %w", o.Dir, err)
	}
	if err := checkNames(o.Dir, names); err != nil {
		return nil, err
	}
	lock, err := lockDir(o.FS, o.Dir)
	if err != nil {
		return nil, err
	}
	r := &Root{opts: o, lock: lock, live: map[uint64]*Generation{}, done: make(chan struct{})}
	if err := r.load(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return r, nil
}

// makeDir makes the directory and its parents, durably.
func makeDir(fsys vfs.FS, dir string) error {
	switch info, err := fsys.Stat(dir); {
	case err == nil && !info.IsDir():
		return errors.New("it is a file")
	case err == nil || !errors.Is(err, fs.ErrNotExist):
		return err
	}
	parent := fsys.PathDir(dir)
	if parent != dir {
		if err := makeDir(fsys, parent); err != nil {
			return err
		}
	}
	err := fsys.MkdirAll(dir, dirMode)
	if err == nil {
		err = syncDir(fsys, parent)
	}
	if err != nil {
		return &WriteError{Op: "make", Path: dir, Err: err}
	}
	return nil
}

// checkNames refuses a directory with files in it none of which is a table's.
func checkNames(dir string, names []string) error {
	foreign := ""
	for _, n := range names {
		if n == descriptorName {
			return nil
		}
		if n != lockName && n != tmpName && n != "lost+found" {
			foreign = n
		}
	}
	if foreign != "" {
		return &NotATableError{Dir: dir, Found: foreign}
	}
	return nil
}

func (r *Root) load() error {
	d, err := readDescriptor(r.opts.FS, r.opts.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		r.desc = descriptor{Format: formatVersion, Topic: r.opts.Topic}
		return r.save()
	}
	if err != nil {
		return err
	}
	if d.Topic != r.opts.Topic {
		return &WrongTableError{Dir: r.opts.Dir, Has: d.Topic, Want: r.opts.Topic}
	}
	r.desc = d
	return r.removeOrphans()
}

func (r *Root) save() error { return writeDescriptor(r.opts.FS, r.opts.Dir, &r.desc) }

// FreeBytes returns how much can be written where the directory is. In memory it
// is an error.
func (r *Root) FreeBytes() (uint64, error) {
	usage, err := r.opts.FS.GetDiskUsage(r.opts.Dir)
	return usage.AvailBytes, err
}

func (r *Root) genDir(n uint64) string { return r.opts.FS.PathJoin(r.opts.Dir, genName(n)) }

// removeOrphans deletes generations that the descriptor does not name: a crash
// came between writing it and deleting them.
func (r *Root) removeOrphans() error {
	names, err := r.opts.FS.List(r.opts.Dir)
	if err != nil {
		return fmt.Errorf("store: cannot list %s: %w", r.opts.Dir, err)
	}
	for _, name := range names {
		if n, ok := genNumber(name); ok && !r.desc.names(n) {
			// Should it stay, its number is not given away again.
			r.desc.Last = max(r.desc.Last, n)
			r.removeFiles(n)
		}
	}
	return nil
}

// removeFiles deletes a generation's files. Should some be left, they only take
// space: the next open tries again.
func (r *Root) removeFiles(n uint64) {
	if err := r.opts.FS.RemoveAll(r.genDir(n)); err != nil {
		r.opts.Logger.Warn("store: cannot remove files", "dir", r.genDir(n), "err", err)
	}
}

// begin starts a change of the directory, which ends with r.changes.Done: Close
// keeps the lock until then.
func (r *Root) begin() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return ErrClosed
	}
	r.changes.Add(1)
	return nil
}

// Current opens the generation that answers; nil if there is none yet. An
// error that wraps ErrCorrupt means that its files are damaged; any other may
// go away by itself.
func (r *Root) Current() (*Generation, error) {
	return r.existing(func(d *descriptor) uint64 { return d.Current })
}

// Building opens the generation that a rebuild had begun before the directory
// was closed; nil if there is none. Errors are those of Current.
func (r *Root) Building() (*Generation, error) {
	return r.existing(func(d *descriptor) uint64 { return d.Building })
}

func (r *Root) existing(which func(*descriptor) uint64) (*Generation, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := which(&r.desc)
	if r.closed {
		return nil, ErrClosed
	}
	if n == 0 {
		return nil, nil
	}
	if g := r.live[n]; g != nil {
		return g, nil
	}
	g, err := openGeneration(r, n)
	if err != nil {
		return nil, err
	}
	r.live[n] = g
	return g, nil
}

// Create makes a new, empty generation. The directory's first one answers at
// once, later ones are built beside the current one, until Promote. One that
// was being built before is discarded. It returns a *WriteError if the file
// system refuses a write; nothing has changed then.
func (r *Root) Create(id Identity) (*Generation, error) {
	if err := r.begin(); err != nil {
		return nil, err
	}
	defer r.changes.Done()
	r.mu.Lock()
	// No number is used twice, also if this fails: files may be left.
	r.desc.Last++
	n := r.desc.Last
	r.mu.Unlock()
	// The files come first: the descriptor never names a generation that is
	// not whole, and what a crash leaves in between is removed at the next open.
	g, err := createGeneration(r, n, id)
	if err != nil {
		r.removeFiles(n)
		return nil, err
	}
	old, oldLive, err := r.install(g)
	if err != nil {
		_ = g.close(!r.mayBeNamed(n))
		return nil, err
	}
	if oldLive != nil {
		_ = oldLive.close(true)
	} else if old != 0 {
		r.removeFiles(old)
	}
	return g, nil
}

// install makes the descriptor name a new generation, and returns the one that
// was being built before.
func (r *Root) install(g *Generation) (old uint64, oldLive *Generation, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.desc
	old = r.desc.Building
	if r.desc.Current == 0 {
		r.desc.Current, r.desc.Building = g.number, 0
	} else {
		r.desc.Building = g.number
	}
	if err := r.save(); err != nil {
		r.desc = before
		return 0, nil, err
	}
	oldLive = r.live[old]
	delete(r.live, old)
	r.live[g.number] = g
	return old, oldLive, nil
}

// mayBeNamed reports whether the descriptor on disk names a generation, or may
// do: one that could not be written as a whole may have been replaced.
func (r *Root) mayBeNamed(n uint64) bool {
	d, err := readDescriptor(r.opts.FS, r.opts.Dir)
	return err != nil || d.names(n)
}

// Promote makes a generation that was built beside the current one the one
// that answers, after flushing it. The earlier one is not touched: its user
// calls Discard. After an error the earlier one still answers.
func (r *Root) Promote(g *Generation) error {
	if err := r.begin(); err != nil {
		return err
	}
	defer r.changes.Done()
	if err := g.Flush(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.desc.Building != g.number {
		return fmt.Errorf("store: generation %d is not the one being built", g.number)
	}
	return r.change(func(d *descriptor) { d.Current, d.Building, d.Whole = g.number, 0, g.number })
}

// change changes the descriptor, on disk too, or not at all. The lock is held.
func (r *Root) change(how func(*descriptor)) error {
	before := r.desc
	how(&r.desc)
	if err := r.save(); err != nil {
		r.desc = before
		return err
	}
	return nil
}

// MarkWhole notes that the current generation is complete, after flushing it. It
// returns a *WriteError if the file system refuses that.
func (r *Root) MarkWhole(g *Generation) error {
	if r.Whole(g) {
		return nil
	}
	if err := r.begin(); err != nil {
		return err
	}
	defer r.changes.Done()
	if err := g.Flush(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.change(func(d *descriptor) { d.Whole = g.number })
}

// Whole reports whether a generation was complete once.
func (r *Root) Whole(g *Generation) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.desc.Whole == g.number
}

// Discard closes a generation and deletes its files. Its readers finish
// first. Discarding the current one leaves the directory without any. A
// *WriteError means that the files are gone and that the descriptor may name
// them still: opened the next time, the generation is damaged.
func (r *Root) Discard(g *Generation) error {
	if err := r.begin(); err != nil {
		return err
	}
	defer r.changes.Done()
	return r.drop(g.number, g)
}

// DropCurrent deletes the current generation's files without opening them: it
// is damaged. It does nothing if there is none. Errors are those of Discard.
func (r *Root) DropCurrent() error {
	return r.dropNamed(func(d *descriptor) uint64 { return d.Current })
}

// DropBuilding is DropCurrent for the generation that is being built.
func (r *Root) DropBuilding() error {
	return r.dropNamed(func(d *descriptor) uint64 { return d.Building })
}

func (r *Root) dropNamed(which func(*descriptor) uint64) error {
	if err := r.begin(); err != nil {
		return err
	}
	defer r.changes.Done()
	r.mu.Lock()
	n := which(&r.desc)
	g := r.live[n]
	r.mu.Unlock()
	if n == 0 {
		return nil
	}
	return r.drop(n, g)
}

// drop forgets generation n and deletes its files; g is nil if it is not open.
func (r *Root) drop(n uint64, g *Generation) error {
	r.mu.Lock()
	delete(r.live, n)
	before := r.desc
	if r.desc.Building == n {
		r.desc.Building = 0
	}
	if r.desc.Current == n {
		r.desc.Current = 0
	}
	var saveErr error
	if before != r.desc {
		saveErr = r.save()
	}
	r.mu.Unlock()
	var closeErr error
	if g != nil {
		closeErr = g.close(true)
	} else {
		r.removeFiles(n)
	}
	if saveErr != nil {
		// The disk may have been full, and is not any more.
		r.mu.Lock()
		saveErr = r.save()
		r.mu.Unlock()
	}
	return errors.Join(saveErr, closeErr)
}

// Close flushes and closes every open generation and gives the lock back. It
// waits for changes of the directory, reads and open Views; an Apply that waits
// for room returns ErrClosed. It may be called more than once. A *WriteError
// means that what was applied last is not durable.
func (r *Root) Close() error {
	r.mu.Lock()
	first := !r.closed
	r.closed = true
	r.mu.Unlock()
	if !first {
		<-r.done
		return r.closeErr
	}
	defer close(r.done)
	r.changes.Wait()
	r.mu.Lock()
	live := r.live
	r.live = nil
	r.mu.Unlock()
	var errs []error
	for _, g := range live {
		errs = append(errs, g.Flush(), g.close(false))
	}
	r.closeErr = errors.Join(append(errs, r.lock.Close())...)
	return r.closeErr
}
