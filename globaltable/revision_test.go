package globaltable

import (
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"weak"

	"github.com/stretchr/testify/require"

	"github.com/globaltable/enrich/internal/store"
)

func TestRevisionChangesWithEveryAnswer(t *testing.T) {
	f := alone(t, 1)
	tb := &Table[string, string]{e: f.e, key: stringKey, value: stringKey, plain: true}
	require.Zero(t, tb.Revision(), "a table that cannot answer")
	f.e.serve(f.gen)
	last := tb.Revision()
	require.NotZero(t, last)
	changed := func(what string) {
		t.Helper()
		now := tb.Revision()
		require.NotEqual(t, last, now, what)
		last = now
	}
	f.given(t, batchOf(0, 0, 2, "a=1", "b=2"))
	changed("rows")
	_, _, err := tb.Get("a")
	require.NoError(t, err)
	f.given(t, batchOf(0, 2, 2))
	require.NoError(t, f.gen.Flush())
	require.Equal(t, last, tb.Revision(), "nothing was written")
	b := batchOf(0, 2, 2)
	b.LogStart = 1
	f.given(t, b)
	require.NoError(t, f.applyPending())
	changed("a row that is gone with the log start")

	next, err := f.e.root.Create(store.Identity{Topic: "devices", TopicID: TopicID{2}})
	require.NoError(t, err)
	old := weak.Make(f.e.view.Load())
	kept := last
	f.e.serve(next)
	changed("another generation")
	require.Eventually(t, func() bool { runtime.GC(); return old.Value() == nil }, 10*time.Second, time.Millisecond)
	require.NotEqual(t, kept, tb.Revision(), "it is kept, and the rows that it was of are not")
	require.NoError(t, f.e.close())
	require.Zero(t, tb.Revision())
}

// TestRevisionBesideUpdates: what is kept while the revision stays is never older
// than the position. With -race.
func TestRevisionBesideUpdates(t *testing.T) {
	for name, bulk := range map[string]bool{"batches": false, "bulk": true} {
		t.Run(name, func(t *testing.T) {
			f := alone(t, 1, bulkOf(1, 1<<20))
			f.e.serve(f.gen)
			tb := &Table[string, string]{e: f.e, key: stringKey, value: stringKey, plain: true}
			f.given(t, batchOf(0, 0, 1, "a=0"))
			var stop atomic.Bool
			var kept atomic.Int64
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					var revision Revision
					var at int64
					for ; !stop.Load(); runtime.Gosched() { // the writer gets its turn
						floor := f.gen.State().Get(0).Next - 1
						if now := tb.Revision(); now == revision {
							kept.Add(1)
						} else {
							v, ok, err := tb.Get("a")
							if err != nil || !ok {
								t.Error(ok, err)
								return
							}
							revision = now
							at, _ = strconv.ParseInt(v, 10, 64)
						}
						if at < floor {
							t.Errorf("a=%d was kept after position %d", at, floor)
							return
						}
					}
				})
			}
			for i := int64(1); i < 2000 || kept.Load() == 0; i++ {
				end := i + 1
				if bulk {
					end += 10_000
				}
				f.given(t, batchOf(0, i, end, fmt.Sprint("a=", i)))
				if bulk && i%20 == 0 {
					require.NoError(t, f.applyPending())
				}
			}
			stop.Store(true)
			wg.Wait()
			require.NoError(t, f.applyPending())
			require.Positive(t, kept.Load())
		})
	}
}
