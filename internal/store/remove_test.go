package store

import (
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"
)

// closedTable returns a table with two generations and left-overs of each kind.
func closedTable(t *testing.T) *vfs.MemFS {
	fs := vfs.NewMem()
	r := open(t, fs)
	put(t, create(t, r), 1, "a", "1")
	put(t, create(t, r), 1, "a", "2")
	require.NoError(t, r.Close())
	require.NoError(t, writeFile(fs, "/t/TABLE.tmp", []byte("half")))
	require.NoError(t, fs.MkdirAll("/t/gen-000099", dirMode))
	require.NoError(t, writeFile(fs, "/t/gen-000099/x.sst", []byte("x")))
	return fs
}

func TestRemoveDeletesTheTable(t *testing.T) {
	fs := closedTable(t)
	require.NoError(t, Remove(fs, "/t"))
	_, err := fs.Stat("/t")
	require.Error(t, err, "the directory is gone too")
	require.NoError(t, Remove(fs, "/t"), "there is nothing to do any more")
	require.NoError(t, open(t, fs).Close(), "and a table can be made there again")
}

func TestRemoveLeavesForeignFiles(t *testing.T) {
	fs := closedTable(t)
	foreign := []string{"notes.txt", "gen-notes", "gen-1", "table"}
	for _, name := range foreign {
		require.NoError(t, writeFile(fs, "/t/"+name, []byte("mine")))
	}
	require.NoError(t, fs.MkdirAll("/t/gen-backup/gen-000001", dirMode))
	require.NoError(t, Remove(fs, "/t"))
	require.ElementsMatch(t, append(foreign, "gen-backup"), list(t, fs, "/t"))
	require.Equal(t, []string{"gen-000001"}, list(t, fs, "/t/gen-backup"))
	for _, name := range foreign {
		require.Equal(t, "mine", string(readFile(t, fs, "/t/"+name)))
	}
}

func TestRemoveRefuses(t *testing.T) {
	fs := vfs.NewMem()
	require.NoError(t, fs.MkdirAll("/other", dirMode))
	require.NoError(t, Remove(fs, "/other"), "an empty directory holds no table")
	require.Empty(t, list(t, fs, "/other"), "and is left alone")
	require.NoError(t, writeFile(fs, "/other/precious.txt", []byte("x")))
	var notTable *NotATableError
	require.ErrorAs(t, Remove(fs, "/other"), &notTable)
	require.Equal(t, NotATableError{"/other", "precious.txt"}, *notTable)
	require.Equal(t, []string{"precious.txt"}, list(t, fs, "/other"))

	r := open(t, fs)
	create(t, r)
	require.ErrorIs(t, Remove(fs, "/t"), ErrLocked)
	require.NoError(t, r.Close())

	require.NoError(t, writeFile(fs, "/t/TABLE", []byte(`{"format":2}`)))
	var newer *NewerFormatError
	require.ErrorAs(t, Remove(fs, "/t"), &newer)
	require.Contains(t, list(t, fs, "/t"), "gen-000001")

	require.NoError(t, writeFile(fs, "/t/TABLE", []byte(`{`)))
	require.NoError(t, Remove(fs, "/t"), "a damaged table can be removed")
}

// TestRemoveMayBeCalledAgain fails each operation of Remove in turn: what is left
// is still taken for a table, and a second call finishes the work.
func TestRemoveMayBeCalledAgain(t *testing.T) {
	failed := 0
	for n := int32(1); n < 30; n++ {
		fs := closedTable(t)
		err := Remove(inject(fs, failNth(n, false, func(op errorfs.Op) bool {
			return op.Kind == errorfs.OpRemove || op.Kind == errorfs.OpRemoveAll
		})), "/t")
		if err != nil {
			failed++
			require.ErrorIs(t, err, errNoSpace)
		}
		require.NoError(t, Remove(fs, "/t"), "after operation %d: %v", n, err)
		if _, serr := fs.Stat("/t"); serr == nil {
			require.Empty(t, list(t, fs, "/t"))
		}
	}
	require.GreaterOrEqual(t, failed, 4)
}

func TestGenerationThatStaysKeepsTheTable(t *testing.T) {
	fs := closedTable(t)
	err := Remove(inject(fs, func(op errorfs.Op) error {
		if op.Kind == errorfs.OpRemoveAll && strings.HasSuffix(op.Path, "gen-000001") {
			return syscall.EBUSY
		}
		return nil
	}), "/t")
	require.ErrorIs(t, err, syscall.EBUSY)
	require.ErrorContains(t, err, "/t")
	require.ElementsMatch(t, []string{"TABLE", "TABLE.tmp", "gen-000001"}, list(t, fs, "/t"))
}

// TestRemoveWhereOpenFilesStay does it as Windows does: a file that is open, as
// the lock's is, cannot be deleted.
func TestRemoveWhereOpenFilesStay(t *testing.T) {
	fs := closedTable(t)
	var refused atomic.Bool
	require.NoError(t, Remove(inject(fs, func(op errorfs.Op) error {
		if op.Kind == errorfs.OpRemove && strings.HasSuffix(op.Path, lockName) && !refused.Swap(true) {
			return winSharingViolation
		}
		return nil
	}), "/t"))
	require.True(t, refused.Load())
	_, err := fs.Stat("/t")
	require.Error(t, err)
}
