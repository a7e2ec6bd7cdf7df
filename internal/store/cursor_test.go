package store

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// kept counts the cursors that wait for their next use.
func kept(g *Generation) (n int) {
	s := g.cursors.shelf.Load()
	for i := range s.slots {
		if s.slots[i].c.Load() != nil {
			n++
		}
	}
	return n
}

func TestCursorsAreUsedAgainUntilTheStoreMoves(t *testing.T) {
	g := create(t, open(t, vfs.NewMem()))
	put(t, g, 0, "a", "1")
	opened := 0
	open := g.cursors.open
	g.cursors.open = func() (*pebble.Iterator, error) { opened++; return open() }
	for range 5 {
		v, ok := get(t, g, "a")
		require.True(t, ok)
		require.Equal(t, "1", v)
	}
	require.Equal(t, 1, opened, "one cursor serves them all")
	require.Equal(t, 1, kept(g))

	put(t, g, 1, "a", "2")
	require.Zero(t, kept(g), "what sees the old rows is not kept")
	v, _ := get(t, g, "a")
	require.Equal(t, "2", v)
	require.Equal(t, 2, opened)

	// One that is in use while the store moves goes on, and is not used again.
	view, ok, err := g.Get([]byte("a"))
	require.NoError(t, err)
	require.True(t, ok)
	put(t, g, 2, "a", "3")
	require.Equal(t, "2", string(view.Value))
	view.Close()
	require.Zero(t, kept(g))
	v, _ = get(t, g, "a")
	require.Equal(t, "3", v)

	// Files that are replaced by a flush do not stay open.
	require.Equal(t, 1, kept(g))
	require.NoError(t, g.Flush())
	require.Eventually(t, func() bool { return kept(g) == 0 }, time.Minute, time.Millisecond)
}

// Each range of keys has cursors of its own, which stay when others are used; when
// the ranges change they go.
func TestCursorsOfRanges(t *testing.T) {
	g := create(t, open(t, vfs.NewMem()))
	for i, k := range []string{"a", "m", "x"} {
		put(t, g, int64(i), k, k)
	}
	opened := 0
	open := g.cursors.open
	g.cursors.open = func() (*pebble.Iterator, error) { opened++; return open() }
	g.cursors.arrange([][]byte{stateKey, []byte("\x01h"), []byte("\x01m")})
	for range 3 {
		for _, k := range []string{"a", "m", "x", "h", "", "zz"} {
			v, ok := get(t, g, k)
			require.Equal(t, k == "a" || k == "m" || k == "x", ok)
			if ok {
				require.Equal(t, k, v)
			}
		}
	}
	require.Equal(t, 3, opened, "one each for those below h, from h, and from m")
	require.Equal(t, 3, kept(g))
	before := g.cursors.shelf.Load()
	used, err := g.cursors.get([]byte("a"))
	require.NoError(t, err)
	_, _, err = used.seek([]byte("a"))
	require.NoError(t, err)
	g.cursors.arrange([][]byte{stateKey, []byte("\x01h"), []byte("\x01m")})
	require.Same(t, before, g.cursors.shelf.Load(), "they are the same")
	g.cursors.arrange(nil)
	require.Zero(t, kept(g))
	require.NoError(t, used.Close())
	require.Equal(t, 1, kept(g), "it goes to its place of now")

	var many [][]byte
	for i := range 1000 {
		many = append(many, fmt.Appendf(nil, "\x01%04d", i))
	}
	g.cursors.arrange(many)
	require.Less(t, len(g.cursors.shelf.Load().from), maxRanges)
	require.LessOrEqual(t, len(g.cursors.shelf.Load().slots), maxCursors)
}

// What was merged is arranged by itself.
func TestCursorsFollowTheFiles(t *testing.T) {
	o := testOptions(vfs.NewMem())
	o.Tune = func(p *pebble.Options) {
		for i := range p.TargetFileSizes {
			p.TargetFileSizes[i] = 32 << 10
		}
	}
	g := create(t, openWith(t, o))
	b := g.NewBatch()
	src := newBenchRows(1 << 40)
	for i := range 3000 {
		_, v := src.next()
		b.Put(fmt.Appendf(nil, "k%05d", i), &Row{Offset: int64(i), Value: v})
	}
	require.NoError(t, g.Apply(b, &State{}))
	require.NoError(t, g.Flush())
	require.NoError(t, g.db.Compact(t.Context(), stateKey, rowsUpper, false))
	require.Eventually(t, func() bool { return len(g.cursors.shelf.Load().from) > 3 }, time.Minute, time.Millisecond)
	for i := range 3000 {
		v, ok, err := g.Get(fmt.Appendf(nil, "k%05d", i))
		require.NoError(t, err)
		require.True(t, ok)
		require.EqualValues(t, i, v.Offset)
		v.Close()
	}
	require.Greater(t, kept(g), 3)
}

// The scheduler may call while Pebble is still opening.
func TestNothingIsArrangedBeforeTheStoreIsOpen(t *testing.T) {
	g := newGeneration(open(t, vfs.NewMem()), 1)
	g.filesChanged()
	g.scheduler.tick()
	require.True(t, g.merged.Load(), "it is done later")
}

func TestCursorThatFailedIsNotUsedAgain(t *testing.T) {
	g := create(t, open(t, vfs.NewMem()))
	put(t, g, 0, "a", "1")
	c, err := g.cursors.get([]byte("a"))
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.Equal(t, 1, kept(g))

	bad := errors.New("no iterator")
	open := g.cursors.open
	g.cursors.open = func() (*pebble.Iterator, error) { return nil, bad }
	put(t, g, 1, "a", "2")
	_, _, err = g.Get([]byte("a"))
	require.ErrorIs(t, err, bad)
	require.ErrorIs(t, g.GetMany([][]byte{[]byte("a")}, func(int, *Row, bool) error { return nil }), bad)
	g.cursors.open = open
	v, _ := get(t, g, "a")
	require.Equal(t, "2", v, "the failure is not kept")
}

// Readers beside a writer: each sees at least the state that it read before, with
// many cursors coming and going, flushes included. With -race.
func TestCursorsBesideUpdates(t *testing.T) {
	g := create(t, open(t, vfs.NewMem()))
	put(t, g, 0, "a", "0")
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for !stop.Load() {
				seen := g.State().Get(0).Next - 1
				v, ok, err := g.Get([]byte("a"))
				if err != nil || !ok || v.Offset < seen {
					t.Errorf("%v %v: offset %d after position %d", ok, err, v.Offset, seen)
				}
				v.Close()
				seen = g.State().Get(0).Next - 1
				err = g.GetMany([][]byte{[]byte("a")}, func(_ int, r *Row, ok bool) error {
					if !ok || r.Offset < seen {
						return fmt.Errorf("%v: offset %d after position %d", ok, r.Offset, seen)
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range 2000 {
		put(t, g, int64(i+1), "a", fmt.Sprint(i+1))
		if i%100 == 0 {
			require.NoError(t, g.Flush())
		}
	}
	stop.Store(true)
	wg.Wait()
}

// Who remembers rows is told of a change when reads see it, and before State does.
func TestOnChange(t *testing.T) {
	for _, how := range []string{"apply", "large batch", "bulk"} {
		t.Run(how, func(t *testing.T) {
			g := create(t, open(t, vfs.NewMem()))
			put(t, g, 0, "a", "old")
			put(t, g, 1, "gone", "old")
			var told []string
			g.OnChange(func(key []byte) {
				told = append(told, string(key))
				require.EqualValues(t, 2, g.State().Get(0).Next, "the position is published later")
				c, err := g.cursors.get([]byte("a"))
				require.NoError(t, err)
				r, ok, err := c.seek([]byte("a"))
				require.NoError(t, err)
				require.True(t, ok)
				require.Equal(t, "new", string(r.Value[:3]), "a read that begins now sees it")
				require.NoError(t, c.Close())
			})
			_, _ = get(t, g, "a") // leaves a cursor
			s := g.State().Clone()
			s.At(0).Next = 4
			value := []byte("new")
			if how == "large batch" {
				value = append(value, make([]byte, 1<<20)...)
			}
			row := &Row{Offset: 2, Value: value}
			if how == "bulk" {
				b, err := g.NewBulk(BulkOptions{})
				require.NoError(t, err)
				b.Put([]byte("a"), row)
				b.Delete([]byte("gone"))
				require.NoError(t, b.Submit(s))
				require.NoError(t, b.Close())
			} else {
				b := g.NewBatch()
				b.Put([]byte("a"), row)
				b.Delete([]byte("gone"))
				require.NoError(t, g.Apply(b, s))
			}
			require.ElementsMatch(t, []string{"a", "gone"}, told, "internal records are not told of")
			require.EqualValues(t, 4, g.State().Get(0).Next)

			g.OnChange(nil)
			put(t, g, 4, "a", "newer")
			require.Len(t, told, 2)
		})
	}
}

// Many keys are spread over goroutines: each is looked up once, and the first
// error ends it.
func TestGetManyOnAllCores(t *testing.T) {
	g := create(t, open(t, vfs.NewMem()))
	var keys [][]byte
	b := g.NewBatch()
	for i := range 1000 {
		k := fmt.Appendf(nil, "k%04d", i)
		keys = append(keys, k)
		if i%3 > 0 {
			b.Put(k, &Row{Offset: int64(i), Value: k})
		}
	}
	require.NoError(t, g.Apply(b, &State{}))
	calls := make([]atomic.Int32, len(keys))
	require.NoError(t, g.GetMany(keys, func(i int, r *Row, ok bool) error {
		calls[i].Add(1)
		if want := i%3 > 0; ok != want || ok && (r.Offset != int64(i) || string(r.Value) != string(keys[i])) {
			return fmt.Errorf("key %d: %v %+v", i, ok, r)
		}
		return nil
	}))
	for i := range calls {
		require.EqualValues(t, 1, calls[i].Load(), "key %d", i)
	}
	bad := errors.New("bad")
	var n atomic.Int32
	require.ErrorIs(t, g.GetMany(keys, func(int, *Row, bool) error { n.Add(1); return bad }), bad)
	require.Less(t, int(n.Load()), len(keys)/2)
}
