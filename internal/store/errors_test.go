package store

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestErrorsSayWhatToDo expects each error to name the place and the way out.
func TestErrorsSayWhatToDo(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{&NotATableError{"/x", "a.txt"}, "store: directory /x holds other files (a.txt) and no table; give the table an empty directory of its own"},
		{&WrongTableError{"/x", "rooms", "devices"}, `store: directory /x holds the table of topic "rooms", not of "devices"; give each table a directory of its own, or remove that table first`},
		{&NewerFormatError{"/x", 9, 1}, "store: directory /x has format 9, and this release knows formats up to 1; use the newer release, or give this one another directory"},
		{&WriteError{"write", "/x/1.sst", syscall.ENOSPC}, "store: write /x/1.sst: " + syscall.ENOSPC.Error()},
	} {
		require.EqualError(t, c.err, c.want)
	}
}

func TestWriteErrorIsFoundThroughWrapping(t *testing.T) {
	err := fmt.Errorf("table: %w", errors.Join(applyError(&WriteError{"write", "/x", syscall.ENOSPC}), errors.New("more")))
	var w *WriteError
	require.ErrorAs(t, err, &w)
	require.Equal(t, "/x", w.Path)
	require.ErrorIs(t, err, syscall.ENOSPC)
}

func TestCorruptKeepsItsCause(t *testing.T) {
	err := corrupt(errShortRow)
	require.ErrorIs(t, err, ErrCorrupt)
	require.ErrorIs(t, err, errShortRow)
}
