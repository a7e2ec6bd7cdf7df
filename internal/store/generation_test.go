package store

import (
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"
)

func TestRowsAndPositionsSurviveACleanClose(t *testing.T) {
	fs := vfs.NewMem()
	r := open(t, fs)
	g := create(t, r)
	put(t, g, 7, "a", "1")
	put(t, g, 8, "b", "")
	require.NoError(t, r.Close())
	require.NoError(t, r.Close(), "close is idempotent")

	g = current(t, open(t, fs))
	require.Equal(t, map[string]string{"a": "1", "b": ""}, rows(t, g))
	require.Equal(t, int64(9), g.State().Get(0).Next)
	require.Equal(t, "devices", g.Identity().Topic)
	require.Equal(t, uint64(1), g.Number())
	require.Positive(t, g.DiskBytes())
}

func TestClosedGenerationIsAnErrorEverywhere(t *testing.T) {
	r := open(t, vfs.NewMem())
	g := create(t, r)
	put(t, g, 1, "a", "1")
	unused := g.NewBatch()
	require.NoError(t, r.Close())
	_, _, err := g.Get([]byte("a"))
	require.ErrorIs(t, err, ErrClosed)
	_, _, _, err = g.Lookup([]byte("a"))
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorIs(t, g.GetMany([][]byte{{1}}, nil), ErrClosed)
	_, err = g.NewSnapshot()
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorIs(t, g.Apply(nil, &State{}), ErrClosed)
	require.ErrorIs(t, g.Apply(unused, &State{}), ErrClosed)
	require.ErrorIs(t, g.Flush(), ErrClosed)
	require.ErrorIs(t, g.SetIdentity(Identity{}), ErrClosed)
	require.Zero(t, g.DiskBytes())
	require.NoError(t, g.Err(), "closing is no failure")
}

// blockFS returns a file system that, once hang is set, lets no table file be
// written until release is closed, and says on reached when one is to be.
func blockFS(fs vfs.FS) (blocked vfs.FS, reached, release chan struct{}, hang *atomic.Bool) {
	reached, release, hang = make(chan struct{}, 1), make(chan struct{}), new(atomic.Bool)
	return inject(fs, func(op errorfs.Op) error {
		if hang.Load() && op.Kind == errorfs.OpFileWrite && strings.HasSuffix(op.Path, ".sst") {
			select {
			case reached <- struct{}{}:
			default:
			}
			<-release
		}
		return nil
	}), reached, release, hang
}

// TestApplyGoesOnDuringAFlush lets a disk hang in the middle of a flush.
func TestApplyGoesOnDuringAFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		crashable := vfs.NewCrashableMem()
		fs, reached, release, hang := blockFS(crashable)
		r, err := OpenRoot(testOptions(fs))
		require.NoError(t, err)
		defer func() { require.NoError(t, r.Close()) }()
		g := create(t, r)
		put(t, g, 0, "a", "1")
		hang.Store(true)

		first, second := make(chan error, 1), make(chan error, 1)
		go func() { first <- g.Flush() }()
		<-reached
		require.False(t, g.Dirty(), "the flush has taken up what was applied")
		go func() { second <- g.Flush() }()
		synctest.Wait()
		require.Empty(t, first)
		require.Empty(t, second, "a flush with nothing of its own waits for the one before it")

		put(t, g, 1, "b", "2")
		require.True(t, g.Dirty())
		v, ok := get(t, g, "b")
		require.True(t, ok)
		require.Equal(t, "2", v)
		third := make(chan error, 1)
		go func() { third <- g.Flush() }()
		synctest.Wait()
		require.Empty(t, third)

		close(release)
		require.NoError(t, <-first)
		require.NoError(t, <-second)
		require.NoError(t, <-third)
		crashed := current(t, open(t, crashable.CrashClone(vfs.CrashCloneCfg{})))
		require.Equal(t, map[string]string{"a": "1", "b": "2"}, rows(t, crashed))
		require.NoError(t, crashed.root.Close())
	})
}

// TestFailureEndsAFlushOnADiskThatHangs: another write of the same disk may have
// failed long before the one that a flush waits for comes back.
func TestFailureEndsAFlushOnADiskThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, reached, release, hang := blockFS(vfs.NewMem())
		r, err := OpenRoot(testOptions(fs))
		require.NoError(t, err)
		g := create(t, r)
		put(t, g, 0, "a", "1")
		hang.Store(true)
		flushed := make(chan error, 1)
		go func() { flushed <- g.Flush() }()
		<-reached
		g.fail.set(&WriteError{Op: "write", Path: "x", Err: syscall.ENOSPC})
		require.ErrorIs(t, <-flushed, syscall.ENOSPC)
		require.True(t, g.Dirty())
		close(release)
		require.ErrorIs(t, r.Close(), syscall.ENOSPC)
	})
}

func TestFlushIsDurable(t *testing.T) {
	fs := vfs.NewCrashableMem()
	g := create(t, open(t, fs))
	put(t, g, 0, "a", "1")
	require.NoError(t, g.Flush())
	put(t, g, 1, "b", "2")
	require.True(t, g.Dirty())
	crashed := current(t, open(t, fs.CrashClone(vfs.CrashCloneCfg{})))
	require.Equal(t, map[string]string{"a": "1"}, rows(t, crashed))
	require.Equal(t, int64(1), crashed.State().Get(0).Next)
}

func TestFlushWithoutChangesWritesNothing(t *testing.T) {
	var flushes atomic.Int32
	o := testOptions(vfs.NewMem())
	o.Tune = func(p *pebble.Options) {
		p.EventListener = &pebble.EventListener{FlushBegin: func(pebble.FlushInfo) { flushes.Add(1) }}
	}
	g := create(t, openWith(t, o))
	put(t, g, 0, "a", "1")
	require.NoError(t, g.Flush())
	before := flushes.Load()
	require.False(t, g.Dirty())
	require.NoError(t, g.Flush())
	require.Equal(t, before, flushes.Load())
}

func TestFailedFlushLeavesTheGenerationDirty(t *testing.T) {
	var full atomic.Bool
	fs := vfs.NewMem()
	r := open(t, inject(fs, func(op errorfs.Op) error {
		if full.Load() && op.Kind == errorfs.OpFileWrite {
			return syscall.ENOSPC
		}
		return nil
	}))
	g := create(t, r)
	put(t, g, 0, "a", "1")
	full.Store(true)
	var w *WriteError
	require.ErrorAs(t, g.Flush(), &w)
	require.ErrorIs(t, w, syscall.ENOSPC)
	require.True(t, g.Dirty())
	<-g.Failed()
	require.Equal(t, error(w), g.Err())
	require.ErrorAs(t, tryPut(g, 1, "b", "2"), &w)
	require.ErrorAs(t, g.SetIdentity(Identity{}), &w)
	require.Equal(t, "devices", g.Identity().Topic)
	// The row may still be in memory; it is never taken for absent.
	if v, ok, err := g.Get([]byte("a")); err == nil {
		require.True(t, ok)
		require.Equal(t, "1", string(v.Value))
		v.Close()
	} else {
		require.ErrorAs(t, err, &w)
	}
	require.ErrorAs(t, r.Close(), &w, "close says that not everything is durable")
	require.ErrorAs(t, r.Close(), &w)
	require.Empty(t, rows(t, current(t, open(t, fs))))
}

func TestSetIdentityIsDurableAtOnce(t *testing.T) {
	fs := vfs.NewCrashableMem()
	g := create(t, open(t, fs))
	put(t, g, 0, "a", "1")
	id := Identity{Topic: "devices", TopicID: [16]byte{1}, ClusterID: "c"}
	require.NoError(t, g.SetIdentity(id))
	require.Equal(t, id, g.Identity())
	put(t, g, 1, "b", "2")

	crashed := current(t, open(t, fs.CrashClone(vfs.CrashCloneCfg{})))
	require.Equal(t, id, crashed.Identity())
	require.Equal(t, map[string]string{"a": "1"}, rows(t, crashed), "what was applied before is durable with it")
	require.Equal(t, int64(1), crashed.State().Get(0).Next)
}

// TestSetIdentityBesideApply is for the race detector.
func TestSetIdentityBesideApply(t *testing.T) {
	fs := vfs.NewMem()
	r := open(t, fs)
	g := create(t, r)
	done := make(chan error, 1)
	go func() {
		var err error
		for i := range 50 {
			if err = g.SetIdentity(Identity{Topic: "devices", TopicID: [16]byte{byte(i)}}); err != nil {
				break
			}
		}
		done <- err
	}()
	for i := range 500 {
		put(t, g, int64(i), "a", "1")
		_ = g.Identity()
	}
	require.NoError(t, <-done)
	require.NoError(t, r.Close())
	g = current(t, open(t, fs))
	require.Equal(t, int64(500), g.State().Get(0).Next, "an identity never takes a position back")
	require.Equal(t, byte(49), g.Identity().TopicID[0])
}

func TestGenerationWithoutInternalRecordsIsDamaged(t *testing.T) {
	for _, key := range [][]byte{stateKey, identityKey} {
		fs := vfs.NewMem()
		r := open(t, fs)
		g := create(t, r)
		require.NoError(t, g.db.Delete(key, noSync))
		g.dirty = true
		require.NoError(t, r.Close())
		_, err := open(t, fs).Current()
		require.ErrorIs(t, err, ErrCorrupt)
		require.ErrorContains(t, err, "gen-000001")

		fs = vfs.NewMem()
		r = open(t, fs)
		g = create(t, r)
		require.NoError(t, g.db.Set(key, []byte{99}, noSync))
		g.dirty = true
		require.NoError(t, r.Close())
		_, err = open(t, fs).Current()
		require.ErrorIs(t, err, ErrCorrupt)
		require.ErrorContains(t, err, "version 99")
	}
}

// TestFilesThatCannotBeHadAreNotDamaged: a lack of permission or of file
// handles must not make a caller build everything anew.
func TestFilesThatCannotBeHadAreNotDamaged(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EACCES, syscall.EPERM, syscall.EMFILE, syscall.EAGAIN} {
		fs := vfs.NewMem()
		r := open(t, fs)
		put(t, create(t, r), 0, "a", "1")
		require.NoError(t, r.Close())
		var fail atomic.Bool
		fail.Store(true)
		r = open(t, inject(fs, func(op errorfs.Op) error {
			if fail.Load() && op.Kind == errorfs.OpOpen && strings.Contains(op.Path, "MANIFEST") {
				return errno
			}
			return nil
		}))
		_, err := r.Current()
		require.ErrorIs(t, err, errno)
		require.NotErrorIs(t, err, ErrCorrupt)
		fail.Store(false)
		require.Equal(t, map[string]string{"a": "1"}, rows(t, current(t, r)), "it opens once they can be had")
	}
}
