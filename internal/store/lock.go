package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// Windows' error for a file that somebody else has open.
	winSharingViolation syscall.Errno = 32
	winLockViolation    syscall.Errno = 33
)

// lockDir locks a directory. An error wraps ErrLocked if somebody else has it,
// and is a *WriteError if the lock file cannot be written.
func lockDir(fsys vfs.FS, dir string) (io.Closer, error) {
	name := fsys.PathJoin(realPath(fsys, dir), lockName)
	for {
		lock, err := fsys.Lock(name)
		switch {
		case err == nil:
		case heldByAnother(err):
			return nil, fmt.Errorf("%w: %s: %w", ErrLocked, dir, err)
		default:
			return nil, &WriteError{Op: "lock", Path: name, Err: err}
		}
		// Remove may have deleted the file between its being opened and its
		// being locked: then the lock keeps nobody out.
		_, gone := fsys.Stat(name)
		if gone == nil {
			return lock, nil
		}
		err = lock.Close()
		if !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(gone, err)
		}
		if err != nil {
			return nil, fmt.Errorf("store: cannot lock %s: %w", dir, err)
		}
	}
}

// realPath returns one and the same path for all names of a directory. Within
// a process locks are told apart by the file's name only.
func realPath(fsys vfs.FS, dir string) string {
	if vfs.Root(fsys) != vfs.Default {
		return dir
	}
	if p, err := filepath.EvalSymlinks(dir); err == nil {
		dir = p
	}
	if p, err := filepath.Abs(dir); err == nil {
		dir = p
	}
	return dir
}

// heldByAnother tells a lock that is taken from one that cannot be had at all,
// because of permissions for example.
func heldByAnother(err error) bool {
	var open *fs.PathError
	if errors.As(err, &open) {
		return false
	}
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return strings.Contains(err.Error(), "lock held")
	}
	if runtime.GOOS == "windows" {
		return errno == winSharingViolation || errno == winLockViolation
	}
	return errno == syscall.EAGAIN || errno == syscall.EACCES
}
