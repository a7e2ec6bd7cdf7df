package store

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

type place struct {
	key       string
	partition int32
	offset    int64
}

// withPlaces returns a generation with four rows, the first of which is gone.
func withPlaces(t *testing.T) (*Generation, []place) {
	g := create(t, open(t, vfs.NewMem()))
	want := []place{{"", 0, 4}, {"a", 0, 7}, {"b", 2, 1 << 40}, {"\xff\xff", 1 << 20, 0}}
	b := g.NewBatch()
	for _, p := range want {
		b.Put([]byte(p.key), &Row{Timestamp: 9, Partition: p.partition, Offset: p.offset, Headers: []byte("h"), Value: make([]byte, 5000)})
	}
	b.Put([]byte("deleted"), &Row{Offset: 8})
	b.Delete([]byte("deleted"))
	s := g.State().Clone()
	s.At(0).LogStart = 5
	require.NoError(t, g.Apply(b, s))
	return g, want
}

// TestLookupFindsRowsThatAreGone: a verification has to delete those too.
func TestLookupFindsRowsThatAreGone(t *testing.T) {
	g, want := withPlaces(t)
	for _, flushed := range []bool{false, true} {
		if flushed {
			require.NoError(t, g.Flush())
		}
		for _, p := range want {
			partition, offset, ok, err := g.Lookup([]byte(p.key))
			require.NoError(t, err)
			require.True(t, ok, "%q", p.key)
			require.Equal(t, place{p.key, partition, offset}, p)
		}
		_, _, ok, err := g.Lookup([]byte("deleted"))
		require.NoError(t, err)
		require.False(t, ok)
	}
	_, ok := get(t, g, "")
	require.False(t, ok, "Get does not find it")
}

func TestScanPlacesVisitsEveryRow(t *testing.T) {
	g, want := withPlaces(t)
	s := snapshot(t, g)
	put(t, g, 9, "a", "moved")
	put(t, g, 10, "c", "added")
	var got []place
	require.NoError(t, s.ScanPlaces(func(key []byte, partition int32, offset int64) bool {
		got = append(got, place{string(key), partition, offset})
		return true
	}))
	require.Equal(t, want, got, "in key order, as the snapshot has them")
	require.Len(t, rows(t, g), 4, "Scan leaves out the one that is gone")
	calls := 0
	require.NoError(t, s.ScanPlaces(func([]byte, int32, int64) bool { calls++; return calls < 2 }))
	require.Equal(t, 2, calls)
	s.Close()
	require.ErrorIs(t, s.ScanPlaces(func([]byte, int32, int64) bool { return true }), ErrClosed)
}

// TestScanPlacesCopiesNoValues scans rows of 100 kB each.
func TestScanPlacesCopiesNoValues(t *testing.T) {
	if raceEnabled {
		t.Skip("built for the race detector, Pebble itself copies values that it hands out")
	}
	o := testOptions(vfs.NewMem())
	o.CacheBytes = 64 << 20
	// Nothing else is to allocate meanwhile.
	o.Tune = func(p *pebble.Options) { p.DisableAutomaticCompactions = true }
	g := create(t, openWith(t, o))
	for i := range 50 {
		put(t, g, int64(i), fmt.Sprint("k", i), string(make([]byte, 100<<10)))
	}
	require.NoError(t, g.Flush())
	s := snapshot(t, g)
	scan := func() {
		n := 0
		require.NoError(t, s.ScanPlaces(func([]byte, int32, int64) bool { n++; return true }))
		require.Equal(t, 50, n)
	}
	scan() // fills the block cache
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 10 {
		scan()
	}
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(10*100<<10), "one value of each scan would be more")
}
