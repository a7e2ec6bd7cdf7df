package store

import (
	"errors"
	"io"
	iofs "io/fs"
	"os"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// failure remembers what made a generation fail first: a write that the file
// system refused, or a damaged file.
type failure struct {
	once sync.Once
	err  error
	ch   chan struct{}
}

func newFailure() *failure { return &failure{ch: make(chan struct{})} }

func (f *failure) set(err error) {
	f.once.Do(func() {
		f.err = err
		close(f.ch)
	})
}

// get returns the first error, nil if there was none.
func (f *failure) get() error {
	select {
	case <-f.ch:
		return f.err
	default:
		return nil
	}
}

// failFS stops writing at the first write that fails, for good, and reports
// every write from then on as done.
//
// Pebble by itself retries a failed flush without pause and holds its writers
// and Close back meanwhile, and it ends the process when the manifest cannot
// be written. Behind this file system it never sees an error: what is on disk
// stays as it was before the failed write, which is a prefix of the applied
// batches, since the manifest names a new file only after that file was
// written. The generation learns of the failure through the failure and is
// closed.
type failFS struct {
	vfs.FS
	fail *failure
}

// check swallows err and makes it the failure.
func (fs *failFS) check(op, path string, err error) {
	if err != nil {
		fs.fail.set(&WriteError{Op: op, Path: path, Err: err})
	}
}

// Unwrap returns the file system behind it.
func (fs *failFS) Unwrap() vfs.FS { return fs.FS }

func (fs *failFS) failed() bool { return fs.fail.get() != nil }

func (fs *failFS) create(op, name string, f vfs.File, err error) (vfs.File, error) {
	fs.check(op, name, err)
	if fs.failed() {
		if f != nil {
			_ = f.Close()
		}
		// Somewhere the bytes must go until the store is closed.
		f, err := vfs.NewMem().Create("swallowed", vfs.WriteCategoryUnspecified)
		return f, err
	}
	return &failFile{File: f, fs: fs, name: name}, nil
}

func (fs *failFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if fs.failed() {
		return fs.create("create", name, nil, nil)
	}
	f, err := fs.FS.Create(name, c)
	return fs.create("create", name, f, err)
}

func (fs *failFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if fs.failed() {
		return fs.create("reuse", newname, nil, nil)
	}
	f, err := fs.FS.ReuseForWrite(oldname, newname, c)
	return fs.create("reuse", newname, f, err)
}

func (fs *failFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	if fs.failed() {
		return fs.create("open for writing", name, nil, nil)
	}
	f, err := fs.FS.OpenReadWrite(name, c, opts...)
	return fs.create("open for writing", name, f, err)
}

func (fs *failFS) OpenDir(name string) (vfs.File, error) {
	f, err := fs.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &failFile{File: f, fs: fs, name: name}, nil
}

// MkdirAll returns its error as well: there is nothing to go on in.
func (fs *failFS) MkdirAll(dir string, perm os.FileMode) error {
	err := fs.FS.MkdirAll(dir, perm)
	fs.check("make", dir, err)
	return err
}

// Lock returns its error as well. A lock that somebody else has is no failed
// write, a lock file that cannot be written is one.
func (fs *failFS) Lock(name string) (io.Closer, error) {
	c, err := fs.FS.Lock(name)
	if err != nil && !heldByAnother(err) {
		fs.check("lock", name, err)
	}
	return c, err
}

// Link returns its error: some file systems have no links, and Pebble copies
// the file then. It does not where the error is a missing permission, which is
// what Linux answers on such a file system.
func (fs *failFS) Link(oldname, newname string) error {
	if fs.failed() {
		return nil
	}
	err := fs.FS.Link(oldname, newname)
	if errors.Is(err, iofs.ErrPermission) {
		return errors.New(err.Error())
	}
	return err
}

func (fs *failFS) Rename(oldname, newname string) error {
	if !fs.failed() {
		fs.check("rename", newname, fs.FS.Rename(oldname, newname))
	}
	return nil
}

func (fs *failFS) Remove(name string) error {
	if fs.failed() {
		return nil
	}
	return fs.FS.Remove(name)
}

func (fs *failFS) RemoveAll(name string) error {
	if fs.failed() {
		return nil
	}
	return fs.FS.RemoveAll(name)
}

type failFile struct {
	vfs.File
	fs   *failFS
	name string
}

func (f *failFile) Write(p []byte) (int, error) {
	if !f.fs.failed() {
		_, err := f.File.Write(p)
		f.fs.check("write", f.name, err)
	}
	return len(p), nil
}

func (f *failFile) WriteAt(p []byte, off int64) (int, error) {
	if !f.fs.failed() {
		_, err := f.File.WriteAt(p, off)
		f.fs.check("write", f.name, err)
	}
	return len(p), nil
}

// Preallocate is a hint that some file systems do not take; if the space is not
// there, a write says so.
func (f *failFile) Preallocate(off, n int64) error {
	if f.fs.failed() {
		return nil
	}
	return f.File.Preallocate(off, n)
}

func (f *failFile) Sync() error {
	if !f.fs.failed() {
		f.fs.check("sync", f.name, f.File.Sync())
	}
	return nil
}

func (f *failFile) SyncData() error {
	if !f.fs.failed() {
		f.fs.check("sync", f.name, f.File.SyncData())
	}
	return nil
}

func (f *failFile) SyncTo(length int64) (bool, error) {
	if f.fs.failed() {
		return true, nil
	}
	full, err := f.File.SyncTo(length)
	f.fs.check("sync", f.name, err)
	return full, nil
}

func (f *failFile) Close() error {
	err := f.File.Close()
	if !f.fs.failed() {
		f.fs.check("close", f.name, err)
	}
	return nil
}
