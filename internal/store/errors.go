package store

import (
	"errors"
	"fmt"
)

var (
	// ErrLocked is returned by OpenRoot when another process, or another
	// table of this process, has the directory open.
	ErrLocked = errors.New("store: directory is in use by another table")

	// ErrCorrupt is wrapped by errors that mean that a generation's files
	// are damaged: the generation has to be built anew.
	ErrCorrupt = errors.New("store: files are damaged")

	// ErrClosed is returned when a closed generation, root or snapshot is
	// used.
	ErrClosed = errors.New("store: closed")
)

// A NotATableError is returned for a directory that holds files but no table.
type NotATableError struct {
	Dir   string
	Found string // one of the files found there
}

func (e *NotATableError) Error() string {
	return fmt.Sprintf("store: directory %s holds other files (%s) and no table; give the table an empty directory of its own", e.Dir, e.Found)
}

// A WrongTableError is returned for a directory that holds another topic's table.
type WrongTableError struct {
	Dir, Has, Want string
}

func (e *WrongTableError) Error() string {
	return fmt.Sprintf("store: directory %s holds the table of topic %q, not of %q; give each table a directory of its own, or remove that table first", e.Dir, e.Has, e.Want)
}

// A NewerFormatError is returned for a directory written by a newer release.
// Nothing in it was touched.
type NewerFormatError struct {
	Dir       string
	Has, Know int
}

func (e *NewerFormatError) Error() string {
	return fmt.Sprintf("store: directory %s has format %d, and this release knows formats up to %d; use the newer release, or give this one another directory", e.Dir, e.Has, e.Know)
}

// A WriteError says that the file system refused a write, a full disk for
// example. Nothing written after it is durable. Whatever wraps it, errors.As
// finds it.
type WriteError struct {
	Op, Path string
	Err      error
}

func (e *WriteError) Error() string {
	return fmt.Sprintf("store: %s %s: %v", e.Op, e.Path, e.Err)
}

// Unwrap returns the file system's error.
func (e *WriteError) Unwrap() error { return e.Err }
