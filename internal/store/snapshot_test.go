package store

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

func snapshot(t testing.TB, g *Generation) *Snapshot {
	t.Helper()
	s, err := g.NewSnapshot()
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

func TestSnapshotDoesNotMove(t *testing.T) {
	g := create(t, open(t, vfs.NewMem()))
	put(t, g, 0, "a", "1")
	put(t, g, 1, "b", "1")
	s := snapshot(t, g)
	put(t, g, 2, "a", "2")
	put(t, g, 3, "c", "2")
	b := g.NewBatch()
	b.Delete([]byte("b"))
	require.NoError(t, g.Apply(b, g.State().Clone()))
	require.NoError(t, g.Flush())
	require.NoError(t, g.db.Compact(t.Context(), stateKey, rowsUpper, false))
	for k, want := range map[string]string{"a": "1", "b": "1"} {
		v, ok, err := s.Get([]byte(k))
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, want, string(v.Value))
		v.Close()
	}
	_, ok, err := s.Get([]byte("c"))
	require.NoError(t, err)
	require.False(t, ok)
	require.Equal(t, int64(2), s.State().Get(0).Next)
	require.Equal(t, map[string]string{"a": "2", "c": "2"}, rows(t, g))
}

// TestSnapshotHasThePositionsOfItsRows takes one in the middle of an Apply: the
// rows are there, and the generation's own state is still the one before.
func TestSnapshotHasThePositionsOfItsRows(t *testing.T) {
	g := create(t, open(t, vfs.NewMem()))
	put(t, g, 0, "a", "1")
	before := g.State()
	put(t, g, 1, "a", "2")
	g.state.Store(before)
	s := snapshot(t, g)
	require.Equal(t, int64(2), s.State().Get(0).Next)
	require.Equal(t, map[string]string{"a": "2"}, rows(t, g))
}

// TestScanBounds compares every range between two keys, and every prefix, with
// a sorted list.
func TestScanBounds(t *testing.T) {
	g := create(t, open(t, vfs.NewMem()))
	keys := slices.Clone(trickyKeys)
	slices.Sort(keys)
	stored := map[string]bool{}
	for i, k := range keys {
		if i%3 != 2 { // some bounds are no rows
			put(t, g, int64(i), k, k)
			stored[k] = true
		}
	}
	s := snapshot(t, g)
	want := func(in func(k string) bool) []string {
		got := []string{}
		for _, k := range keys {
			if stored[k] && in(k) {
				got = append(got, k)
			}
		}
		return got
	}
	scan := func(do func(fn func(key []byte, row *Row) bool) error) []string {
		got := []string{}
		require.NoError(t, do(func(k []byte, r *Row) bool {
			require.Equal(t, string(k), string(r.Value))
			got = append(got, string(k))
			return true
		}))
		return got
	}
	ranged := func(from, to []byte) []string {
		return scan(func(fn func([]byte, *Row) bool) error { return s.Scan(from, to, fn) })
	}
	require.Equal(t, want(func(string) bool { return true }), ranged(nil, nil))
	for _, from := range keys {
		require.Equal(t, want(func(k string) bool { return k >= from }), ranged([]byte(from), nil), "from %q", from)
		require.Equal(t, want(func(k string) bool { return k < from }), ranged(nil, []byte(from)), "to %q", from)
		require.Equal(t, want(func(k string) bool { return strings.HasPrefix(k, from) }),
			scan(func(fn func([]byte, *Row) bool) error { return s.ScanPrefix([]byte(from), fn) }), "prefix %q", from)
		for _, to := range keys {
			require.Equal(t, want(func(k string) bool { return k >= from && k < to }), ranged([]byte(from), []byte(to)), "from %q to %q", from, to)
		}
	}
	require.Equal(t, want(func(string) bool { return true }), scan(func(fn func([]byte, *Row) bool) error { return s.ScanPrefix(nil, fn) }))
}

func TestScanEndsWhenToldTo(t *testing.T) {
	g := create(t, open(t, vfs.NewMem()))
	for i := range 10 {
		put(t, g, int64(i), fmt.Sprint(i), "")
	}
	s := snapshot(t, g)
	var got []string
	fn := func(k []byte, _ *Row) bool {
		got = append(got, string(k))
		return len(got) < 3
	}
	require.NoError(t, s.Scan([]byte("4"), nil, fn))
	require.Equal(t, []string{"4", "5", "6"}, got)
}

func TestClosedSnapshotIsAnError(t *testing.T) {
	r := open(t, vfs.NewMem())
	g := create(t, r)
	put(t, g, 1, "a", "1")
	closed := snapshot(t, g)
	closed.Close()
	closed.Close()
	forgotten := snapshot(t, g)
	require.Len(t, g.snaps, 1)
	view, ok, err := forgotten.Get([]byte("a"))
	require.NoError(t, err)
	require.True(t, ok)
	view.Close()
	require.NoError(t, r.Close(), "a forgotten snapshot does not keep it open")
	require.Empty(t, g.snaps)
	for _, s := range []*Snapshot{closed, forgotten} {
		_, _, err := s.Get([]byte("a"))
		require.ErrorIs(t, err, ErrClosed)
		require.ErrorIs(t, s.Scan(nil, nil, nil), ErrClosed)
		require.ErrorIs(t, s.ScanPrefix([]byte("a"), nil), ErrClosed)
		require.Equal(t, int64(2), s.State().Get(0).Next, "what it stood for is still known")
		s.Close()
	}
}

// TestSnapshotClosedInItsOwnScan: the scan goes on to its end, later reads fail.
func TestSnapshotClosedInItsOwnScan(t *testing.T) {
	r := open(t, vfs.NewMem())
	g := create(t, r)
	for i := range 10 {
		put(t, g, int64(i), fmt.Sprint(i), "")
	}
	s := snapshot(t, g)
	n := 0
	require.NoError(t, s.Scan(nil, nil, func([]byte, *Row) bool {
		s.Close()
		_, _, err := s.Get([]byte("1"))
		require.ErrorIs(t, err, ErrClosed)
		n++
		return true
	}))
	require.Equal(t, 10, n)
	require.Empty(t, g.snaps)
	require.NoError(t, r.Close())
}

func TestViewOutlivesItsSnapshot(t *testing.T) {
	g := create(t, open(t, vfs.NewMem()))
	put(t, g, 0, "a", "first")
	s := snapshot(t, g)
	v, ok, err := s.Get([]byte("a"))
	require.NoError(t, err)
	require.True(t, ok)
	s.Close()
	put(t, g, 1, "a", "later")
	require.NoError(t, g.Flush())
	require.NoError(t, g.db.Compact(t.Context(), stateKey, rowsUpper, false))
	require.Equal(t, "first", string(v.Value))
	v.Close()
	require.Zero(t, g.use.users.Load())
}

// TestSnapshotsAreClosedBesideEverything closes snapshots while they are read and
// while their generation is closed. A read gives the row or ErrClosed.
func TestSnapshotsAreClosedBesideEverything(t *testing.T) {
	for range 30 {
		r := open(t, vfs.NewMem())
		g := create(t, r)
		put(t, g, 0, "a", "1")
		var all sync.WaitGroup
		for range 3 {
			s := snapshot(t, g)
			all.Go(func() {
				for {
					v, ok, err := s.Get([]byte("a"))
					if err != nil {
						if !errors.Is(err, ErrClosed) {
							t.Error(err)
						}
						return
					}
					if !ok || !bytes.Equal(v.Value, []byte("1")) {
						t.Errorf("%v %s", ok, v.Value)
					}
					v.Close()
				}
			})
			all.Go(s.Close)
		}
		all.Go(func() {
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		})
		all.Wait()
	}
}
