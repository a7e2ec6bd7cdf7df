package store

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

var noSync = pebble.NoSync

// TestApplyIsOneStep reads while batches of ten equal rows are applied, from a
// snapshot that shows rows and positions: they always belong together.
func TestApplyIsOneStep(t *testing.T) {
	g := create(t, open(t, vfs.NewMem()))
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			s, err := g.NewSnapshot()
			if err != nil {
				done <- err
				return
			}
			want := fmt.Sprint(s.State().Get(0).Next)
			n := 0
			err = s.Scan(nil, nil, func(_ []byte, r *Row) bool {
				n++
				if string(r.Value) != want {
					err = fmt.Errorf("row %s at position %s", r.Value, want)
				}
				return true
			})
			s.Close()
			if err == nil && want != "0" && n != 10 {
				err = fmt.Errorf("%d rows at position %s", n, want)
			}
			if err != nil {
				done <- err
				return
			}
		}
	}()
	for i := 1; i <= 300; i++ {
		b := g.NewBatch()
		for k := range 10 {
			b.Put([]byte{byte(k)}, &Row{Value: fmt.Append(nil, i)})
		}
		s := g.State().Clone()
		s.At(0).Next = int64(i)
		require.NoError(t, g.Apply(b, s))
		require.Same(t, s, g.State())
	}
	close(stop)
	require.NoError(t, <-done)
}

func TestApplyWithoutABatchMovesThePosition(t *testing.T) {
	fs := vfs.NewMem()
	r := open(t, fs)
	g := create(t, r)
	put(t, g, 1, "a", "1")
	s := g.State().Clone()
	s.At(3).Next = 17
	require.NoError(t, g.Apply(nil, s))
	require.True(t, g.Dirty())
	require.NoError(t, r.Close())
	g = current(t, open(t, fs))
	require.Equal(t, int64(17), g.State().Get(3).Next)
	require.Equal(t, map[string]string{"a": "1"}, rows(t, g))
}

// TestBatchCopies changes what a batch was given, before it is applied.
func TestBatchCopies(t *testing.T) {
	g := create(t, open(t, vfs.NewMem()))
	put(t, g, 0, "gone", "1")
	key, value, headers, gone := []byte("key"), []byte("value"), []byte("headers"), []byte("gone")
	b := g.NewBatch()
	b.Put(key, &Row{Timestamp: -5, Partition: 7, Offset: 9, Headers: headers, Value: value})
	b.Delete(gone)
	for _, s := range [][]byte{key, value, headers, gone} {
		clear(s)
	}
	require.NoError(t, g.Apply(b, g.State().Clone()))
	v, ok, err := g.Get([]byte("key"))
	require.NoError(t, err)
	require.True(t, ok)
	defer v.Close()
	require.Equal(t, Row{Timestamp: -5, Partition: 7, Offset: 9, Headers: []byte("headers"), Value: []byte("value")}, v.Row)
	_, ok = get(t, g, "gone")
	require.False(t, ok)
}

func TestLastChangeOfAKeyInABatchWins(t *testing.T) {
	g := create(t, open(t, vfs.NewMem()))
	b := g.NewBatch()
	b.Put([]byte("a"), &Row{Value: []byte("1")})
	b.Delete([]byte("a"))
	b.Put([]byte("b"), &Row{Value: []byte("1")})
	b.Put([]byte("b"), &Row{Value: []byte("2")})
	require.Equal(t, 4, b.Len())
	require.NoError(t, g.Apply(b, g.State().Clone()))
	require.Equal(t, map[string]string{"b": "2"}, rows(t, g))
}

// TestBatchIsClosedOnce: Pebble keeps batches for reuse, so a second close would
// free one that somebody else has by then.
func TestBatchIsClosedOnce(t *testing.T) {
	g := create(t, open(t, vfs.NewMem()))
	first := g.NewBatch()
	first.Put([]byte("a"), &Row{Value: []byte("1")})
	require.NoError(t, g.Apply(first, g.State().Clone()))
	second := g.NewBatch()
	second.Put([]byte("b"), &Row{Value: []byte("2")})
	first.Close()
	first.Close()
	third := g.NewBatch()
	third.Put([]byte("c"), &Row{Value: []byte("3")})
	require.NoError(t, g.Apply(second, g.State().Clone()))
	require.NoError(t, g.Apply(third, g.State().Clone()))
	require.Equal(t, map[string]string{"a": "1", "b": "2", "c": "3"}, rows(t, g))
}

func TestBatchWithASizeDoesNotGrow(t *testing.T) {
	const size = 1 << 20
	g := create(t, open(t, vfs.NewMem()))
	b := g.NewBatchSize(size)
	defer b.Close()
	value := make([]byte, 1000)
	b.Put([]byte("key"), &Row{Value: value})
	start := &b.b.Repr()[0]
	for i := 0; b.Bytes() < size-2000; i++ {
		b.Put(fmt.Append(nil, i), &Row{Value: value})
	}
	require.Greater(t, b.Len(), 900)
	require.Same(t, start, &b.b.Repr()[0], "it still has its first memory")
	small := g.NewBatchSize(-1)
	small.Put([]byte("key"), &Row{})
	require.Equal(t, 1, small.Len())
	small.Close()
}
