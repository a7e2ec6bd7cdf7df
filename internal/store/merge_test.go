package store

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"
)

// loadOverlapping loads n tables that have a key in common, so that they cannot
// just be moved: they have to be merged.
func loadOverlapping(t *testing.T, g *Generation, n int) *Bulk {
	t.Helper()
	b, err := g.NewBulk(BulkOptions{})
	require.NoError(t, err)
	for i := range n {
		b.Put([]byte("all"), &Row{Value: fmt.Append(nil, i)})
		loadOne(t, b, i)
	}
	return b
}

// TestReadersAndWriterBesideAMerge: lookups, scans and changes go on while files
// are being merged. The merge stands still meanwhile, so that none of them can
// have waited for it.
func TestReadersAndWriterBesideAMerge(t *testing.T) {
	var merging atomic.Bool
	var once sync.Once
	began, goOn := make(chan struct{}), make(chan struct{})
	letGo := sync.OnceFunc(func() { close(goOn) })
	defer letGo() // before the table is closed, which waits for it
	o := testOptions(inject(vfs.NewMem(), func(op errorfs.Op) error {
		if op.Kind == errorfs.OpCreate && strings.HasSuffix(op.Path, ".sst") && merging.Load() {
			once.Do(func() { close(began) })
			<-goOn
		}
		return nil
	}))
	o.Tune = func(p *pebble.Options) {
		p.L0CompactionThreshold = 3
		p.EventListener = &pebble.EventListener{CompactionBegin: func(pebble.CompactionInfo) { merging.Store(true) }}
	}
	r := openWith(t, o)
	t.Cleanup(letGo)
	g := create(t, r)
	const n = 20
	require.NoError(t, loadOverlapping(t, g, n).Close())
	<-began
	require.True(t, g.Merging())

	v, ok := get(t, g, "all")
	require.True(t, ok)
	require.Equal(t, fmt.Sprint(n-1), v)
	var keys [][]byte
	for i := range n {
		keys = append(keys, fmt.Appendf(nil, "k%d", i))
	}
	found := atomic.Int32{}
	require.NoError(t, g.GetMany(keys, func(_ int, _ *Row, ok bool) error {
		if ok {
			found.Add(1)
		}
		return nil
	}))
	require.EqualValues(t, n, found.Load())
	require.Len(t, rows(t, g), n+1)
	put(t, g, n, "all", "changed")
	v, _ = get(t, g, "all")
	require.Equal(t, "changed", v)
	require.True(t, g.Merging(), "it did not end meanwhile")

	letGo()
	require.Len(t, rows(t, g), n+1)
}

// TestOpenDoesNotWaitForAMerge that a load left to be done, as one does that ends
// with its process.
func TestOpenDoesNotWaitForAMerge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem, opened, merges := vfs.NewMem(), make(chan struct{}), atomic.Int32{}
		o := testOptions(inject(mem, func(op errorfs.Op) error {
			if op.Kind == errorfs.OpCreate && strings.HasSuffix(op.Path, ".sst") {
				merges.Add(1)
				<-opened
			}
			return nil
		}))
		o.Tune = func(p *pebble.Options) { p.L0CompactionThreshold = 3 }
		first := o
		first.FS = mem
		r, err := OpenRoot(first)
		require.NoError(t, err)
		g := create(t, r)
		const n = 20
		b := loadOverlapping(t, g, n)
		require.NoError(t, r.Close())
		require.NoError(t, b.Close(), "all of it was taken in")

		again, err := OpenRoot(o)
		require.NoError(t, err)
		done := make(chan *Generation, 1)
		go func() {
			g, err := again.Current()
			if err != nil {
				t.Error(err)
			}
			done <- g
		}()
		synctest.Wait()
		require.Len(t, done, 1)
		g = <-done
		require.Len(t, rows(t, g), n+1)
		// It begins by itself afterwards.
		time.Sleep(10 * grantInterval)
		synctest.Wait()
		require.Positive(t, merges.Load())
		close(opened)
		require.NoError(t, again.Close())
	})
}
