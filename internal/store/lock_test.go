package store

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"
)

// TestDirectoryIsLockedUnderAllItsNames opens one directory twice in a process,
// under one name and under others.
func TestDirectoryIsLockedUnderAllItsNames(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "table")
	r, err := OpenRoot(Options{Dir: dir, Topic: "devices"})
	require.NoError(t, err)
	t.Chdir(parent)
	names := []string{dir, "table", "./table", "table/", filepath.Join(parent, "x", "..", "table")}
	if link := filepath.Join(parent, "link"); os.Symlink(dir, link) == nil {
		names = append(names, link, "link")
	} else {
		t.Log("this system makes no symbolic links for us: not tried")
	}
	for _, name := range names {
		_, err = OpenRoot(Options{Dir: name, Topic: "devices"})
		require.ErrorIs(t, err, ErrLocked, name)
		require.ErrorIs(t, Remove(nil, name), ErrLocked, name)
	}
	require.NoError(t, r.Close())
	for _, name := range names {
		r, err := OpenRoot(Options{Dir: name, Topic: "devices"})
		require.NoError(t, err, "the lock is free again: %s", name)
		require.NoError(t, r.Close())
	}
}

// TestRelativeDirectoryStays changes the working directory under an open table.
func TestRelativeDirectoryStays(t *testing.T) {
	parent := t.TempDir()
	t.Chdir(parent)
	r, err := OpenRoot(Options{Dir: "table", Topic: "devices"})
	require.NoError(t, err)
	t.Chdir(t.TempDir())
	put(t, create(t, r), 0, "a", "1")
	require.NoError(t, r.Close())
	require.FileExists(t, filepath.Join(parent, "table", descriptorName))
	require.NoDirExists(t, "table")
}

func TestLockThatCannotBeHadIsNotLocked(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, lockName), 0o750))
	_, err := OpenRoot(Options{Dir: dir, Topic: "devices"})
	require.Error(t, err)
	require.NotErrorIs(t, err, ErrLocked)
	var w *WriteError
	require.ErrorAs(t, err, &w)
	require.Equal(t, "lock", w.Op)
}

func TestHeldByAnother(t *testing.T) {
	unix := runtime.GOOS != "windows"
	for _, c := range []struct {
		err  error
		held bool
	}{
		{syscall.EAGAIN, unix},
		{syscall.EACCES, unix},
		{fmt.Errorf("lock: %w", syscall.EAGAIN), unix},
		{winSharingViolation, !unix},
		{winLockViolation, !unix},
		{syscall.ENOSPC, false},
		{syscall.ENOLCK, false},
		{&fs.PathError{Op: "open", Path: "LOCK", Err: syscall.EACCES}, false},
		{errNoSpace, false},
	} {
		require.Equal(t, c.held, heldByAnother(c.err), "%v", c.err)
	}
}

// TestLockOfADeletedFileIsTakenAnew deletes the lock's file after it was opened,
// as Remove may do in another process.
func TestLockOfADeletedFileIsTakenAnew(t *testing.T) {
	mem := vfs.NewMem()
	require.NoError(t, mem.MkdirAll("/t", dirMode))
	var locks atomic.Int32
	fsys := &deletedLockFS{FS: mem, locks: &locks}
	r := open(t, fsys)
	require.Equal(t, int32(2), locks.Load())
	_, err := OpenRoot(testOptions(mem))
	require.ErrorIs(t, err, ErrLocked)
	require.NoError(t, r.Close())
}

type deletedLockFS struct {
	vfs.FS
	locks *atomic.Int32
}

func (d *deletedLockFS) Lock(name string) (io.Closer, error) {
	c, err := d.FS.Lock(name)
	if err == nil && d.locks.Add(1) == 1 {
		err = d.Remove(name)
	}
	return c, err
}

func TestOpenRootLeavesNoLockBehind(t *testing.T) {
	mem := vfs.NewMem()
	r := open(t, mem)
	require.NoError(t, r.Close())
	o := testOptions(mem)
	o.Topic = "rooms"
	_, err := OpenRoot(o)
	var wrong *WrongTableError
	require.ErrorAs(t, err, &wrong)
	o = testOptions(inject(mem, func(op errorfs.Op) error {
		if op.Kind == errorfs.OpOpen {
			return syscall.EIO
		}
		return nil
	}))
	_, err = OpenRoot(o)
	require.ErrorIs(t, err, syscall.EIO)
	require.NoError(t, open(t, mem).Close())
}

// A lock file that cannot be looked at is an error, and not tried for ever.
func TestLockFileThatCannotBeLookedAt(t *testing.T) {
	fs := vfs.NewMem()
	require.NoError(t, open(t, fs).Close())
	tries := 0
	broken := inject(fs, func(op errorfs.Op) error {
		if op.Kind == errorfs.OpStat && strings.HasSuffix(op.Path, lockName) {
			if tries++; tries <= 100 {
				return syscall.EIO
			}
		}
		return nil
	})
	_, err := OpenRoot(testOptions(broken))
	require.ErrorIs(t, err, syscall.EIO)
	require.ErrorContains(t, err, "lock")
	require.Equal(t, 1, tries)
	require.NoError(t, open(t, fs).Close(), "it is not left locked")
}
