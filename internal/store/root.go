package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// formatVersion is the version of the directory's layout, of the key
	// space and of all records together.
	formatVersion = 1

	descriptorName = "TABLE"
	lockName       = "LOCK"
	genPrefix      = "gen-"
	dirMode        = 0o750
)

// descriptor is the content of the file TABLE.
type descriptor struct {
	// Format is formatVersion.
	Format int `json:"format"`
	// Topic is the topic whose table this is.
	Topic string `json:"topic"`
	// Current is the number of the generation that answers.
	Current uint64 `json:"current"`
	// Building is the number of the one that is built beside it; 0 if none.
	Building uint64 `json:"building,omitempty"`
	// Last is the highest number ever given to a generation.
	Last uint64 `json:"last"`
}

// A Root is a table's directory, locked.
type Root struct {
	opts Options
	lock io.Closer

	mu     sync.Mutex // guards desc, live and closed
	desc   descriptor
	live   map[uint64]*Generation
	closed bool
}

// OpenRoot locks the directory, making it if it is not there, and reads what
// it holds. It returns ErrLocked, a *NotATableError, a *WrongTableError or a
// *NewerFormatError where that is so; the directory is then untouched.
func OpenRoot(o Options) (*Root, error) {
	o.setDefaults()
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
	lock, err := o.FS.Lock(o.FS.PathJoin(o.Dir, lockName))
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrLocked, o.Dir, err)
	}
	r := &Root{opts: o, lock: lock, live: map[uint64]*Generation{}}
	if err := r.load(); err != nil {
		_ = lock.Close()
		return nil, err
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
	if err := fsys.MkdirAll(dir, dirMode); err != nil {
		return err
	}
	return syncDir(fsys, parent)
}

// checkNames refuses a directory with files in it none of which is a table's.
func checkNames(dir string, names []string) error {
	foreign := ""
	for _, n := range names {
		if n == descriptorName {
			return nil
		}
		if n != lockName && n != descriptorName+".tmp" && n != "lost+found" {
			foreign = n
		}
	}
	if foreign != "" {
		return &NotATableError{Dir: dir, Found: foreign}
	}
	return nil
}

func (r *Root) load() error {
	fsys, dir := r.opts.FS, r.opts.Dir
	d, err := readDescriptor(fsys, dir)
	if errors.Is(err, fs.ErrNotExist) {
		r.desc = descriptor{Format: formatVersion, Topic: r.opts.Topic}
		return r.save()
	}
	if err != nil {
		return err
	}
	if d.Format > formatVersion {
		return &NewerFormatError{Dir: dir, Has: d.Format, Know: formatVersion}
	}
	if d.Topic != r.opts.Topic {
		return &WrongTableError{Dir: dir, Has: d.Topic, Want: r.opts.Topic}
	}
	r.desc = d
	return r.removeOrphans()
}

func readDescriptor(fsys vfs.FS, dir string) (d descriptor, err error) {
	f, err := fsys.Open(fsys.PathJoin(dir, descriptorName))
	if err != nil {
		return d, err
	}
	b, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return d, fmt.Errorf("store: cannot read %s in %s: %w", descriptorName, dir, err)
	}
	if err := json.Unmarshal(b, &d); err != nil || d.Format < 1 {
		return d, fmt.Errorf("%w: %s in %s is not a table's descriptor; remove the directory to build the table anew", ErrCorrupt, descriptorName, dir)
	}
	return d, nil
}

// save replaces the descriptor in one step.
func (r *Root) save() error {
	fsys := r.opts.FS
	b, err := json.Marshal(r.desc)
	if err != nil {
		return err
	}
	tmp := fsys.PathJoin(r.opts.Dir, descriptorName+".tmp")
	err = writeFile(fsys, tmp, append(b, '\n'))
	if err == nil {
		err = fsys.Rename(tmp, fsys.PathJoin(r.opts.Dir, descriptorName))
	}
	if err == nil {
		err = syncDir(fsys, r.opts.Dir)
	}
	if err != nil {
		return &WriteError{Op: "write", Path: fsys.PathJoin(r.opts.Dir, descriptorName), Err: err}
	}
	return nil
}

func writeFile(fsys vfs.FS, name string, b []byte) error {
	f, err := fsys.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDir(fsys vfs.FS, dir string) error {
	d, err := fsys.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (r *Root) genDir(n uint64) string {
	return r.opts.FS.PathJoin(r.opts.Dir, fmt.Sprintf("%s%06d", genPrefix, n))
}

// removeOrphans deletes generations that the descriptor does not name: a crash
// came between writing it and deleting them.
func (r *Root) removeOrphans() error {
	names, err := r.opts.FS.List(r.opts.Dir)
	if err != nil {
		return fmt.Errorf("store: cannot list %s: %w", r.opts.Dir, err)
	}
	for _, name := range names {
		n, err := strconv.ParseUint(strings.TrimPrefix(name, genPrefix), 10, 64)
		if !strings.HasPrefix(name, genPrefix) || err != nil || n == r.desc.Current || n == r.desc.Building {
			continue
		}
		if err := r.opts.FS.RemoveAll(r.opts.FS.PathJoin(r.opts.Dir, name)); err != nil {
			return fmt.Errorf("store: cannot remove the left-over %s: %w", name, err)
		}
	}
	return nil
}

// Current opens the generation that answers; nil if there is none yet. An
// error that wraps ErrCorrupt means that it cannot be used.
func (r *Root) Current() (*Generation, error) {
	return r.existing(func(d *descriptor) uint64 { return d.Current })
}

// Building opens the generation that a rebuild had begun before the directory
// was closed; nil if there is none.
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
// was being built before is discarded.
func (r *Root) Create(id Identity) (*Generation, error) {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil, ErrClosed
	}
	// The files come first: the descriptor never names a generation that is
	// not whole, and what a crash leaves in between is removed at the next open.
	r.desc.Last++
	n := r.desc.Last
	r.mu.Unlock()
	g, err := createGeneration(r, n, id)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	before := r.desc
	old, oldLive := r.desc.Building, r.live[r.desc.Building]
	if r.desc.Current == 0 {
		r.desc.Current, old, oldLive = n, 0, nil
	} else {
		r.desc.Building = n
	}
	if err = r.save(); err != nil {
		r.desc = before
		r.mu.Unlock()
		_ = g.close(true)
		return nil, err
	}
	delete(r.live, old)
	r.live[n] = g
	r.mu.Unlock()
	if oldLive != nil {
		_ = oldLive.close(true)
	} else if old != 0 {
		_ = r.opts.FS.RemoveAll(r.genDir(old))
	}
	return g, nil
}

// Promote makes a generation that was built beside the current one the one
// that answers. The earlier one is not touched: its user calls Discard.
func (r *Root) Promote(g *Generation) error {
	if err := g.Flush(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.desc.Building != g.number {
		return fmt.Errorf("store: generation %d is not the one being built", g.number)
	}
	before := r.desc
	r.desc.Current, r.desc.Building = g.number, 0
	if err := r.save(); err != nil {
		r.desc = before
		return err
	}
	return nil
}

// Discard closes a generation and deletes its files. Its readers finish
// first. Discarding the current one leaves the directory without any.
func (r *Root) Discard(g *Generation) error {
	if err := r.forget(g.number); err != nil {
		return err
	}
	return g.close(true)
}

// DropCurrent deletes the current generation's files without opening them: it
// is damaged.
func (r *Root) DropCurrent() error { return r.drop(r.desc.Current) }

// DropBuilding is DropCurrent for the generation that is being built.
func (r *Root) DropBuilding() error { return r.drop(r.desc.Building) }

func (r *Root) drop(n uint64) error {
	if err := r.forget(n); err != nil {
		return err
	}
	return r.opts.FS.RemoveAll(r.genDir(n))
}

func (r *Root) forget(n uint64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.live, n)
	before := r.desc
	if r.desc.Building == n {
		r.desc.Building = 0
	}
	if r.desc.Current == n {
		r.desc.Current = 0
	}
	if before == r.desc {
		return nil
	}
	return r.save()
}

// Close flushes and closes every open generation and gives the lock back. It
// may be called more than once.
func (r *Root) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	live := r.live
	r.live = nil
	r.mu.Unlock()
	var errs []error
	for _, g := range live {
		errs = append(errs, g.Flush(), g.close(false))
	}
	return errors.Join(append(errs, r.lock.Close())...)
}

// Remove deletes a closed table's files in dir, and dir itself if nothing else
// is in it. It returns ErrLocked if the table is open, and a *NotATableError
// if there is none. A directory that does not exist is no error.
func Remove(fsys vfs.FS, dir string) error {
	if fsys == nil {
		fsys = vfs.Default
	}
	names, err := fsys.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("store: cannot list %s: %w", dir, err)
	}
	if err := checkNames(dir, names); err != nil {
		return err
	}
	lock, err := fsys.Lock(fsys.PathJoin(dir, lockName))
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrLocked, dir, err)
	}
	var errs []error
	foreign := false
	for _, name := range names {
		switch {
		case strings.HasPrefix(name, genPrefix):
			errs = append(errs, fsys.RemoveAll(fsys.PathJoin(dir, name)))
		case name != lockName && name != descriptorName && name != descriptorName+".tmp":
			foreign = true
		}
	}
	// The descriptor goes last: without it the generations were foreign files.
	for _, name := range []string{descriptorName + ".tmp", descriptorName} {
		if err := fsys.Remove(fsys.PathJoin(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	errs = append(errs, lock.Close())
	if err := fsys.Remove(fsys.PathJoin(dir, lockName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, err)
	}
	if !foreign {
		errs = append(errs, fsys.Remove(dir))
	}
	return errors.Join(errs...)
}
