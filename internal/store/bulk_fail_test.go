package store

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"
)

// TestFailedWriteInABulkLoad fails the nth write of each kind, once or from then
// on. The load ends with a *WriteError, and what is on disk is a prefix with all
// that was told of.
func TestFailedWriteInABulkLoad(t *testing.T) {
	kinds := map[string]func(op errorfs.Op) bool{
		"create": func(op errorfs.Op) bool { return op.Kind == errorfs.OpCreate },
		"write":  func(op errorfs.Op) bool { return op.Kind == errorfs.OpFileWrite },
		"sync":   func(op errorfs.Op) bool { return op.Kind == errorfs.OpFileSync },
		"sync directory": func(op errorfs.Op) bool {
			return op.Kind == errorfs.OpFileSync && strings.HasSuffix(op.Path, "gen-000001")
		},
		"manifest": func(op errorfs.Op) bool { return isWrite(op) && strings.Contains(op.Path, "MANIFEST") },
		"table": func(op errorfs.Op) bool {
			return strings.Contains(op.Path, bulkPrefix) && (op.Kind == errorfs.OpFileWrite || op.Kind == errorfs.OpFileSync)
		},
	}
	for name, match := range kinds {
		for _, n := range []int32{1, 2, 3, 6} {
			for _, lasting := range []bool{false, true} {
				t.Run(fmt.Sprint(name, " ", n, " ", lasting), func(t *testing.T) {
					rng := rand.New(rand.NewPCG(uint64(n), 111))
					h := randomHistory(rng, 300)
					var on atomic.Bool
					fail := failNth(n, lasting, func(op errorfs.Op) bool { return on.Load() && match(op) })
					mem := vfs.NewMem()
					r := open(t, inject(mem, fail))
					g := create(t, r)
					require.NoError(t, h.load(g, BulkOptions{}, 0, 10, rng))
					on.Store(true)
					var told atomic.Int64
					told.Store(10)
					o := randomBulk(rng)
					o.Applied = func(a BulkApplied) { told.Store(a.State.Get(0).Next) }
					b, err := g.NewBulk(o)
					require.NoError(t, err)
					i := 10
					for ; err == nil && i < len(h); i++ {
						h.collect(b, i)
						err = b.Submit(stateAt(i + 1))
					}
					require.ErrorIs(t, b.Wait(), errNoSpace)
					for range 20 {
						h.collect(b, 0)
						require.ErrorIs(t, b.Submit(stateAt(0)), errNoSpace, "it goes on to end")
					}
					err = b.Close()
					require.ErrorIs(t, err, errNoSpace)
					var w *WriteError
					require.ErrorAs(t, err, &w)
					require.ErrorIs(t, g.Err(), errNoSpace)
					require.ErrorIs(t, g.Apply(nil, g.State()), errNoSpace)
					_, err = g.NewBulk(o)
					require.ErrorIs(t, err, errNoSpace)
					require.ErrorIs(t, r.Close(), errNoSpace)

					g = current(t, open(t, mem))
					require.GreaterOrEqual(t, h.requirePrefix(t, g), int(told.Load()))
					require.NotContains(t, strings.Join(list(t, mem, g.dir), " "), bulkPrefix)
				})
			}
		}
	}
}

// TestFailedWriteInABulkHistory fails single writes of histories that mix bulk
// loads with all else: it ends with a *WriteError or does not notice.
func TestFailedWriteInABulkHistory(t *testing.T) {
	h := randomHistory(rand.New(rand.NewPCG(3, 121)), 30)
	failed := 0
	for n := int32(1); n < 400; n += 7 {
		for _, lasting := range []bool{false, true} {
			msg := fmt.Sprintf("write %d, %v", n, lasting)
			mem := vfs.NewMem()
			var durable atomic.Int64
			err := h.bulkHistory(testOptions(inject(mem, failNth(n, lasting, isWrite))), rand.New(rand.NewPCG(uint64(n), 122)), &durable)
			if err != nil {
				failed++
				require.ErrorIs(t, err, errNoSpace, msg)
				require.NotErrorIs(t, err, ErrCorrupt, msg)
				var w *WriteError
				require.ErrorAs(t, err, &w, msg)
			}
			if _, serr := mem.Stat("/t"); serr != nil {
				continue // not even the directory could be made
			}
			r := open(t, mem)
			g, err := r.Current()
			require.NoError(t, err, msg)
			if g != nil {
				require.GreaterOrEqual(t, h.requirePrefix(t, g, msg), int(durable.Load()), msg)
			}
			require.NoError(t, r.Close())
		}
	}
	require.Greater(t, failed, 20)
}

// TestFailedReadEndsABulkLoadOnly: a table that cannot be read back is not taken
// in, and the generation goes on.
func TestFailedReadEndsABulkLoadOnly(t *testing.T) {
	for _, n := range []int32{1, 2, 5, 11} {
		mem := vfs.NewMem()
		var on atomic.Bool
		r := open(t, inject(mem, failNth(n, false, func(op errorfs.Op) bool {
			return on.Load() && op.Kind == errorfs.OpFileReadAt && strings.Contains(op.Path, bulkPrefix)
		})))
		g := create(t, r)
		rng := rand.New(rand.NewPCG(uint64(n), 131))
		h := randomHistory(rng, 60)
		on.Store(true)
		err := h.load(g, BulkOptions{}, 0, 50, rng)
		require.ErrorIs(t, err, errNoSpace)
		require.NotErrorIs(t, err, ErrCorrupt)
		var w *WriteError
		require.NotErrorAs(t, err, &w, "nothing was written")
		require.NoError(t, g.Err())
		require.NotContains(t, strings.Join(list(t, mem, g.dir), " "), bulkPrefix, "what was not taken in is deleted")
		next := h.requirePrefix(t, g)
		require.Less(t, next, 50)
		on.Store(false)
		require.NoError(t, h.load(g, BulkOptions{}, next, 55, rng))
		for i := 55; i < len(h); i++ {
			require.NoError(t, h.apply(g, i, false))
		}
		require.NoError(t, r.Close())
		require.Equal(t, len(h), h.requirePrefix(t, current(t, open(t, mem))))
	}
}

// TestFullDiskInABulkLoad: there is a full disk, then some room, then the rest is
// loaded.
func TestFullDiskInABulkLoad(t *testing.T) {
	fs := newQuotaFS(1 << 20)
	o := testOptions(fs)
	// They would take the room that is made in the end.
	o.Tune = func(p *pebble.Options) { p.DisableAutomaticCompactions = true }
	r := openWith(t, o)
	g := create(t, r)
	next := 0
	for round := range 3 {
		b, err := g.NewBulk(BulkOptions{ChunkBytes: 50 << 10})
		require.NoError(t, err)
		for i := next; err == nil && i < 1_000_000; i++ {
			value := make([]byte, 500)
			_, _ = rand.NewChaCha8([32]byte{byte(i), byte(i >> 8), byte(i >> 16)}).Read(value) // never fails
			b.Put(fmt.Append(nil, "k", i), &Row{Offset: int64(i), Value: value})
			if b.Full() {
				err = b.Submit(stateAt(i + 1))
			}
		}
		require.ErrorIs(t, b.Close(), syscall.ENOSPC)
		var w *WriteError
		require.ErrorAs(t, err, &w)
		told := int(g.State().Get(0).Next)
		require.ErrorAs(t, r.Close(), &w)
		fs.mu.Lock()
		fs.left += 1 << 20
		fs.mu.Unlock()
		r = openWith(t, o)
		g = current(t, r)
		reached := int(g.State().Get(0).Next)
		require.Greater(t, reached, next, "round %d", round)
		require.LessOrEqual(t, reached, told)
		next = reached
		require.Len(t, rows(t, g), next)
	}
	require.NoError(t, r.Close())
}

// TestOpenThatFailsEndsItsScheduler fails the nth file operation of opening a
// generation: the check of goroutines at the end finds what goes on.
func TestOpenThatFailsEndsItsScheduler(t *testing.T) {
	mem := vfs.NewMem()
	r := open(t, mem)
	put(t, create(t, r), 0, "a", "1")
	require.NoError(t, r.Close())
	failed := 0
	for n := int32(1); n < 60; n++ {
		var on atomic.Bool
		r := open(t, inject(mem, failNth(n, false, func(op errorfs.Op) bool {
			return on.Load() && (op.Kind == errorfs.OpList || op.Kind == errorfs.OpOpen || op.Kind == errorfs.OpStat || op.Kind == errorfs.OpFileStat)
		})))
		on.Store(true)
		if _, err := r.Current(); err != nil {
			failed++
		}
		on.Store(false)
		_ = r.Close()
	}
	require.Positive(t, failed)
	require.Equal(t, map[string]string{"a": "1"}, rows(t, current(t, open(t, mem))))
}
