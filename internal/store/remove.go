package store

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Remove deletes a closed table's files in dir, and dir itself if nothing else
// is in it. It returns ErrLocked if the table is open, a *NotATableError if
// other files are there and no table, and a *NewerFormatError if a newer
// release wrote it. A directory that is empty or does not exist is no error,
// and is left alone. After an error Remove may be called again.
func Remove(fsys vfs.FS, dir string) error {
	if fsys == nil {
		fsys = vfs.Default
	}
	names, err := fsys.List(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(names) == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("store: cannot list %s: %w", dir, err)
	}
	if err := checkNames(dir, names); err != nil {
		return err
	}
	lock, err := lockDir(fsys, dir)
	if err != nil {
		return err
	}
	err = removeLocked(fsys, dir)
	lockPath := fsys.PathJoin(dir, lockName)
	// The lock's file goes while the lock is held, so that nobody takes it in
	// between. Windows does not delete an open file: there it goes afterwards.
	held := fsys.Remove(lockPath)
	err = errors.Join(err, lock.Close())
	if held != nil {
		err = errors.Join(err, removeIfThere(fsys, lockPath))
	}
	if err != nil {
		return fmt.Errorf("store: cannot remove the table in %s: %w", dir, err)
	}
	if names, err = fsys.List(dir); err != nil || len(names) > 0 {
		return err
	}
	return fsys.Remove(dir)
}

// removeLocked deletes what the table wrote, besides the lock.
func removeLocked(fsys vfs.FS, dir string) error {
	var newer *NewerFormatError
	// A descriptor that is damaged or absent does not keep the rest from going.
	if _, err := readDescriptor(fsys, dir); errors.As(err, &newer) {
		return err
	}
	names, err := fsys.List(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		if _, ok := genNumber(name); ok {
			errs = append(errs, fsys.RemoveAll(fsys.PathJoin(dir, name)))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	// The descriptor goes last: without it what is left of the generations
	// would be foreign files.
	return errors.Join(
		removeIfThere(fsys, fsys.PathJoin(dir, tmpName)),
		removeIfThere(fsys, fsys.PathJoin(dir, descriptorName)))
}

func removeIfThere(fsys vfs.FS, name string) error {
	if err := fsys.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
