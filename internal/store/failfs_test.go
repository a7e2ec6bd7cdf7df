package store

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"
)

var errNoSpace = errors.New("no space left on device")

// TestFailedWriteEndsApplyAndKeepsTheDurablePrefix fails the nth write of each
// kind in turn. Applying must end with that error instead of hanging, Close
// must return, and the reopened store must hold what its positions say.
func TestFailedWriteEndsApplyAndKeepsTheDurablePrefix(t *testing.T) {
	for _, n := range []int32{1, 2, 3, 5, 8, 13, 40} {
		t.Run(fmt.Sprint("write ", n), func(t *testing.T) {
			var left atomic.Int32
			left.Store(1 << 30)
			mem := vfs.NewMem()
			fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
				if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpRemove && left.Add(-1) < 0 {
					return errNoSpace
				}
				return nil
			}))
			r := open(t, fs)
			g := create(t, r)
			for i := range 10 {
				put(t, g, int64(i), fmt.Sprint("k", i), "before")
			}
			require.NoError(t, g.Flush())
			left.Store(n)
			var err error
			for i := 10; err == nil && i < 100_000; i++ {
				b := g.NewBatch()
				b.Put(fmt.Appendf(nil, "k%d", i), &Row{Offset: int64(i), Value: make([]byte, 1000)})
				s := g.State().Clone()
				s.At(0).Next = int64(i + 1)
				err = g.Apply(b, s)
			}
			require.ErrorIs(t, err, errNoSpace)
			var w *WriteError
			require.ErrorAs(t, err, &w)
			<-g.Failed()
			require.ErrorIs(t, g.Err(), errNoSpace)
			require.ErrorIs(t, g.Flush(), errNoSpace)
			require.ErrorIs(t, r.Close(), errNoSpace)

			g, err = open(t, mem).Current()
			require.NoError(t, err)
			next := g.State().Get(0).Next
			require.GreaterOrEqual(t, next, int64(10))
			require.Len(t, rows(t, g), int(next))
		})
	}
}

func TestGenerationThatCannotBeCreatedIsAnError(t *testing.T) {
	var fail atomic.Bool
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if fail.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			return errNoSpace
		}
		return nil
	}))
	r := open(t, fs)
	fail.Store(true)
	_, err := r.Create(Identity{Topic: "devices"})
	require.ErrorIs(t, err, errNoSpace)
}
