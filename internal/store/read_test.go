package store

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// TestUserKeyNeverReachesAnInternalRecord uses the stored forms of the internal
// records as user keys, among others at the edges.
func TestUserKeyNeverReachesAnInternalRecord(t *testing.T) {
	g := create(t, open(t, vfs.NewMem()))
	keys := append(slices.Clone(trickyKeys), string(stateKey), string(identityKey), string(rowsLower), string(rowsUpper), "TABLE")
	slices.Sort(keys)
	keys = slices.Compact(keys)
	for i, k := range keys {
		put(t, g, int64(i), k, fmt.Sprint("v", i))
	}
	for i, k := range keys {
		v, ok := get(t, g, k)
		require.True(t, ok, "%q", k)
		require.Equal(t, fmt.Sprint("v", i), v)
	}
	require.Len(t, rows(t, g), len(keys))
	b := g.NewBatch()
	for _, k := range keys {
		b.Delete([]byte(k))
	}
	require.NoError(t, g.Apply(b, g.State().Clone()))
	require.Empty(t, rows(t, g))
	s, err := g.NewSnapshot()
	require.NoError(t, err)
	defer s.Close()
	require.Equal(t, int64(len(keys)), s.State().Get(0).Next, "the state record is as it was")
	require.NoError(t, g.load(), "and the identity too")
}

func TestGetOfAnAbsentKey(t *testing.T) {
	g := create(t, open(t, vfs.NewMem()))
	for _, k := range trickyKeys {
		v, ok, err := g.Get([]byte(k))
		require.NoError(t, err)
		require.False(t, ok)
		require.Equal(t, View{}, v)
		v.Close()
	}
	_, ok, err := g.Get(nil)
	require.NoError(t, err)
	require.False(t, ok, "nil is the empty key")
	put(t, g, 0, "", "empty")
	_, ok = get(t, g, "")
	require.True(t, ok)
}

// TestViewStaysWhatItWas overwrites the row and lets everything be written out
// below a view.
func TestViewStaysWhatItWas(t *testing.T) {
	g := create(t, open(t, vfs.NewMem()))
	put(t, g, 0, "a", "first")
	v, ok, err := g.Get([]byte("a"))
	require.NoError(t, err)
	require.True(t, ok)
	for i := range 20 {
		put(t, g, int64(i), "a", "later")
		require.NoError(t, g.Flush())
	}
	require.NoError(t, g.db.Compact(t.Context(), stateKey, rowsUpper, false))
	require.Equal(t, "first", string(v.Value))
	v.Close()
	v.Close()
	require.Zero(t, g.use.users.Load(), "closing a view twice counts once")
}

func TestRowsBelowTheLogStartAreGone(t *testing.T) {
	g := create(t, open(t, vfs.NewMem()))
	b := g.NewBatch()
	b.Put([]byte("a"), &Row{Partition: 0, Offset: 5})
	b.Put([]byte("b"), &Row{Partition: 0, Offset: 6})
	b.Put([]byte("c"), &Row{Partition: 1, Offset: 5})
	b.Put([]byte("d"), &Row{Partition: 9, Offset: 0})
	s := g.State().Clone()
	s.At(1).LogStart = 3
	require.NoError(t, g.Apply(b, s))
	require.Len(t, rows(t, g), 4)
	before, err := g.NewSnapshot()
	require.NoError(t, err)
	defer before.Close()

	s = g.State().Clone()
	s.At(0).LogStart = 6
	require.NoError(t, g.Apply(nil, s))
	_, ok := get(t, g, "a")
	require.False(t, ok)
	for _, k := range []string{"b", "c", "d"} {
		_, ok = get(t, g, k)
		require.True(t, ok, k)
	}
	require.NotContains(t, rows(t, g), "a")
	require.Len(t, rows(t, g), 3)
	require.NoError(t, g.GetMany([][]byte{[]byte("a"), []byte("b")}, func(i int, _ *Row, ok bool) error {
		require.Equal(t, i == 1, ok)
		return nil
	}))
	v, ok, err := before.Get([]byte("a"))
	require.NoError(t, err)
	require.True(t, ok, "a snapshot has its own log start")
	v.Close()
	after, err := g.NewSnapshot()
	require.NoError(t, err)
	defer after.Close()
	_, ok, err = after.Get([]byte("a"))
	require.NoError(t, err)
	require.False(t, ok)
}

func TestGetManyAgreesWithGet(t *testing.T) {
	g := create(t, open(t, vfs.NewMem()))
	for i := range 300 {
		put(t, g, int64(i), fmt.Sprintf("k%03d", i*2), fmt.Sprint(i))
		if i%100 == 50 {
			require.NoError(t, g.Flush())
		}
	}
	keys := [][]byte{{}, {0}}
	for i := range 600 {
		keys = append(keys, fmt.Appendf(nil, "k%03d", i))
	}
	keys = append(keys, []byte{0xff}, []byte{0xff, 0xff})
	var mu sync.Mutex
	found, seen := map[string]string{}, map[int]bool{}
	require.NoError(t, g.GetMany(keys, func(i int, r *Row, ok bool) error {
		mu.Lock()
		defer mu.Unlock()
		if seen[i] {
			return fmt.Errorf("key %d comes twice", i)
		}
		seen[i] = true
		if ok {
			found[string(keys[i])] = string(r.Value)
		}
		return nil
	}))
	require.Len(t, seen, len(keys))
	require.Len(t, found, 300)
	for _, k := range keys {
		v, want := get(t, g, string(k))
		got, ok := found[string(k)]
		require.Equal(t, want, ok, "%s", k)
		require.Equal(t, v, got, "%s", k)
	}
}

func TestGetManyEndsWithTheErrorOfItsFunction(t *testing.T) {
	g := create(t, open(t, vfs.NewMem()))
	boom := errors.New("boom")
	calls := 0
	err := g.GetMany([][]byte{{1}, {2}, {3}}, func(i int, _ *Row, ok bool) error {
		calls++
		require.False(t, ok)
		if i == 1 {
			return boom
		}
		return nil
	})
	require.Equal(t, boom, err, "as it is")
	require.Equal(t, 2, calls)
	require.NoError(t, g.GetMany(nil, nil))
}

// TestReadersNeverGoBack reads one key while it is counted up.
func TestReadersNeverGoBack(t *testing.T) {
	g := create(t, open(t, vfs.NewMem()))
	put(t, g, 0, "k", "00000")
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			last := ""
			for {
				select {
				case <-stop:
					return
				default:
				}
				floor := g.State().Get(0).Next - 1
				v, ok, err := g.Get([]byte("k"))
				if err != nil || !ok || string(v.Value) < last || string(v.Value) < fmt.Sprintf("%05d", floor) {
					t.Errorf("%v %v: %s after %s, at position %d", err, ok, v.Value, last, floor)
					v.Close()
					return
				}
				last = string(v.Value)
				v.Close()
			}
		})
	}
	for i := range 2000 {
		put(t, g, int64(i), "k", fmt.Sprintf("%05d", i))
		if i%200 == 0 {
			require.NoError(t, g.Flush())
		}
	}
	close(stop)
	readers.Wait()
}
