package store

import (
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// behind returns a generation whose level 0 has reached its limit, with an Apply
// that waits; nothing compacts by itself. It is to be called in a bubble.
func behind(t *testing.T) (*Root, *Generation, chan error) {
	o := testOptions(vfs.NewMem())
	o.Tune = func(p *pebble.Options) {
		p.DisableAutomaticCompactions = true
		p.L0CompactionThreshold = 2
		p.L0StopWritesThreshold = 3
	}
	r, err := OpenRoot(o)
	require.NoError(t, err)
	g := create(t, r) // the first file of level 0
	put(t, g, 0, "a", "1")
	require.NoError(t, g.Flush())
	put(t, g, 1, "a", "1")
	require.NoError(t, g.db.Flush()) // the third file, behind the generation's back
	require.True(t, g.Dirty())
	applied := make(chan error, 1)
	go func() { applied <- tryPut(g, 2, "a", "2") }()
	synctest.Wait()
	require.Empty(t, applied, "it waits for a compaction")
	require.NoError(t, g.Flush(), "a flush does not wait for it")
	v, ok := get(t, g, "a")
	require.True(t, ok)
	require.Equal(t, "1", v)
	return r, g, applied
}

func TestApplyWaitsForCompactions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, g, applied := behind(t)
		require.NoError(t, g.db.Compact(t.Context(), stateKey, rowsUpper, false))
		require.NoError(t, <-applied)
		v, _ := get(t, g, "a")
		require.Equal(t, "2", v)
		require.NoError(t, r.Close())
	})
}

func TestCloseEndsAnApplyThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, applied := behind(t)
		require.NoError(t, r.Close())
		require.ErrorIs(t, <-applied, ErrClosed)
	})
}

func TestDiscardEndsAnApplyThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, g, applied := behind(t)
		require.NoError(t, r.Discard(g))
		require.ErrorIs(t, <-applied, ErrClosed)
		require.NoError(t, r.Close())
	})
}

func TestFailureEndsAnApplyThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, g, applied := behind(t)
		g.fail.set(&WriteError{Op: "write", Path: "x", Err: syscall.ENOSPC})
		require.ErrorIs(t, <-applied, syscall.ENOSPC)
		require.ErrorIs(t, r.Close(), syscall.ENOSPC)
	})
}

// TestBacklogAfterAnOpen: what an earlier run left to be compacted, as a bulk load
// does that a kill ended, holds nobody back; what comes on top of it does.
func TestBacklogAfterAnOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, applied := behind(t)
		o := r.opts
		require.NoError(t, r.Close())
		require.ErrorIs(t, <-applied, ErrClosed)
		r, err := OpenRoot(o)
		require.NoError(t, err)
		g := current(t, r)
		for i := range int64(3) {
			put(t, g, 2+i, "a", "2")
			require.NoError(t, g.db.Flush())
		}
		go func() { applied <- tryPut(g, 5, "a", "2") }()
		synctest.Wait()
		require.Empty(t, applied, "three files more are too many")
		require.NoError(t, r.Close())
		require.ErrorIs(t, <-applied, ErrClosed)
	})
}
