package globaltable

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/globaltable/enrich/internal/kafkatest"
)

// fullDisk is a file system on which no space is left while full is set, for
// the generations whose folder has a name.
type fullDisk struct {
	full atomic.Bool
	only atomic.Value // string
}

func (d *fullDisk) MaybeError(op errorfs.Op) error {
	if only, _ := d.only.Load().(string); !d.full.Load() || !strings.Contains(op.Path, only) {
		return nil
	}
	switch op.Kind {
	case errorfs.OpCreate, errorfs.OpFileWrite, errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo, errorfs.OpFilePreallocate:
		return syscall.ENOSPC
	}
	return nil
}

func (d *fullDisk) String() string { return "full disk" }

// on makes a table use the disk.
func (d *fullDisk) on(fs vfs.FS) Opt {
	return opt(func(c *config) { c.fs, c.dir, c.memory = errorfs.Wrap(fs, d), "/table", false })
}

func TestFullDiskEndsRunAndLosesNothing(t *testing.T) {
	each(t, 2, func(t *testing.T, e *env) {
		disk, fs := &fullDisk{}, vfs.NewMem()
		e.put(numbered("k", 0, 200)...)
		r := e.ready(disk.on(fs))
		require.NoError(t, r.e.follower.Load().gen.Flush())
		disk.full.Store(true)
		e.put(numbered("k", 100, 150)...)
		e.put("k7")
		// The next flush meets the full disk.
		require.Eventually(t, func() bool {
			_ = r.e.follower.Load().gen.Flush()
			select {
			case <-r.done:
				return true
			default:
				return false
			}
		}, patience, lockPoll)
		err := r.runErr()
		write := &WriteError{}
		require.ErrorAs(t, err, &write)
		require.ErrorIs(t, err, syscall.ENOSPC)
		require.Equal(t, Failed, r.Status().State)
		_, _, err = r.Get("k1")
		failed := &RunError{}
		require.ErrorAs(t, err, &failed)
		_ = r.Close() // it returns

		disk.full.Store(false)
		r = e.ready(disk.on(fs))
		e.holds(r)
		require.Equal(t, Resumed, r.Stats().Decision)
	})
}

func TestRebuildMeetsAFullDisk(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	disk, fs := &fullDisk{}, vfs.NewMem()
	disk.only.Store("gen-000002")
	e.put("old=1")
	h := &recorder{}
	r := e.ready(disk.on(fs), Hooks(h))
	disk.full.Store(true)
	e.recreate(1)
	e.put("new=1")
	r.until("it says that the rebuild fails", func() bool {
		return r.Status().State != Ready && errors.Is(r.Status().Err, syscall.ENOSPC)
	})
	require.Equal(t, map[string]string{"old": "1"}, r.rows(), "the old generation goes on answering")
	disk.full.Store(false)
	r.until("the new rows are there", func() bool { _, ok, err := r.Get("new"); return ok && err == nil })
	e.holds(r)
}

// A rebuild that failed is no failure of a run that is ended after it.
func TestStopAfterARebuildFailed(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	disk := &fullDisk{}
	e.put("old=1")
	h := &recorder{}
	met, goOn := make(chan struct{}), make(chan struct{})
	meet, release := sync.OnceFunc(func() { close(met) }), sync.OnceFunc(func() { close(goOn) })
	fs := vfs.NewMem()
	r := e.ready(disk.on(fs), Hooks(h), Transform("v1", func(en Entry[string, string]) (string, bool, error) {
		if en.Key == "new" {
			meet()
			<-goOn
		}
		return en.Value, true, nil
	}))
	t.Cleanup(release)
	e.recreate(1)
	e.put("new=1")
	<-met // the new generation is there, and empty
	disk.full.Store(true)
	release()
	r.until("the rebuild is dropped", func() bool { return r.Stats().RebuildsDropped > 0 })
	r.until("its space is free", func() bool {
		names, err := fs.List("/table")
		return err == nil && !slices.Contains(names, "gen-000002")
	})
	r.cancel()
	require.NoError(t, r.runErr())
	require.Equal(t, Stopped, r.Status().State)
	require.Equal(t, map[string]string{"old": "1"}, r.rows(), "it goes on answering")
	disk.full.Store(false)
}

// A table that could not be read, and was to be read again, ends without an error:
// waiting would have cured it.
func TestStopAfterAReadFailed(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	var broken atomic.Bool
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpOpen && strings.Contains(op.Path, "bulk-") && broken.Load() {
			return syscall.EIO
		}
		return nil
	}))
	e.put("a=1")
	r := e.ready(smallBulk(), opt(func(c *config) { c.fs, c.dir, c.memory = fs, "/table", false }))
	broken.Store(true)
	e.put(numbered("k", 0, 2000)...)
	r.until("it says that a chunk cannot be taken in", func() bool { return errors.Is(r.Status().Err, syscall.EIO) })
	r.cancel()
	require.NoError(t, r.runErr())
	require.Equal(t, Stopped, r.Status().State)
	_, ok, err := r.Get("a")
	require.True(t, ok && err == nil, "it goes on answering")
}
