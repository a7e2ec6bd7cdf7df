package globaltable

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/internal/feed"
	"github.com/globaltable/enrich/internal/store"
)

func benchKey(n int) string { return fmt.Sprintf("dev-%08d", n) }

// filledTable is a table of rows of about 175 B that were loaded in bulk and
// merged, without a broker.
func filledTable(b *testing.B, rows int, opts ...Opt) *Table[string, string] {
	b.Helper()
	cfg := newConfig(append([]Opt{Dir(b.TempDir() + "/t")}, opts...))
	e := newEngine("devices", cfg, nil, stringCache)
	require.NoError(b, e.open())
	gen, err := e.root.Create(store.Identity{Topic: "devices", TopicID: TopicID{1}})
	require.NoError(b, err)
	f := newFollower(e, nil, topicOf(1), plan{decision: Bootstrapped, gen: gen, state: gen.State().Clone()}, time.Hour)
	e.follower.Store(f)
	rng := rand.New(rand.NewPCG(1, 2))
	perm := rng.Perm(rows)
	for from := 0; from < rows; {
		n := min(10_000, rows-from)
		rs := make([]*kgo.Record, n)
		for i := range rs {
			k := perm[from+i]
			rs[i] = &kgo.Record{Offset: int64(from + i), Key: []byte(benchKey(k)), Value: fmt.Appendf(nil,
				`{"device":"dev-%08d","room":"%d-%03d","site":"hotel-%d","owner":"floor%d@hotel-%d.example.com","limit_c":%d.%d,"clear_c":%d.5,"serial":"%016x"}`,
				k, k%40, k%997, k%211, k%40, k%211, 20+k%15, k%10, 18+k%15, rng.Uint64())}
		}
		require.NoError(b, f.deliver(b.Context(), &feed.Batch{Records: rs, From: int64(from), Next: int64(from + n), Epoch: 1, End: int64(rows), Asked: time.Now()}))
		from += n
	}
	require.NoError(b, f.stopWriting())
	merged := time.Now()
	require.Eventually(b, func() bool { return !gen.Merging() }, time.Minute, 20*time.Millisecond)
	b.Logf("loaded, then merged in %v", time.Since(merged))
	e.serve(gen)
	t := &Table[string, string]{e: e, key: stringKey, value: stringKey, plain: true}
	b.Cleanup(func() { require.NoError(b, e.close()) })
	return t
}

func benchRows(b *testing.B) int {
	if s := os.Getenv("ENRICH_ROWS"); s != "" {
		n, err := strconv.Atoi(s)
		require.NoError(b, err)
		return n
	}
	return 200_000
}

// BenchmarkGet looks keys up in a table of ENRICH_ROWS rows, by default 200,000.
func BenchmarkGet(b *testing.B) {
	rows := benchRows(b)
	keys := make([]string, 1<<20)
	absent := make([]string, 1<<20)
	rng := rand.New(rand.NewPCG(3, 4))
	for i := range keys {
		keys[i] = benchKey(rng.IntN(rows))
		absent[i] = keys[i] + "x"
	}
	get := func(b *testing.B, t *Table[string, string], goroutines int, key func(i uint64) string, want bool) {
		var wg sync.WaitGroup
		var at atomic.Uint64
		b.ReportAllocs()
		b.ResetTimer()
		for range goroutines {
			i := at.Add(1) << 16
			wg.Go(func() {
				for range b.N / goroutines {
					i++
					if _, ok, err := t.Get(key(i)); err != nil || ok != want {
						b.Error(ok, err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
	for _, budget := range []int64{64, 256, 4096} {
		b.Run(fmt.Sprintf("budget=%dMB", budget), func(b *testing.B) {
			t := filledTable(b, rows, MemoryBudget(budget<<20))
			for _, k := range keys[:min(len(keys), rows)] { // fills the caches
				_, _, _ = t.Get(k)
			}
			for _, n := range []int{1, 2} {
				b.Run(fmt.Sprintf("hot/goroutines=%d", n), func(b *testing.B) {
					get(b, t, n, func(uint64) string { return keys[0] }, true)
				})
				b.Run(fmt.Sprintf("uniform/goroutines=%d", n), func(b *testing.B) {
					get(b, t, n, func(i uint64) string { return keys[i%uint64(len(keys))] }, true)
				})
				b.Run(fmt.Sprintf("absent/goroutines=%d", n), func(b *testing.B) {
					get(b, t, n, func(i uint64) string { return absent[i%uint64(len(keys))] }, false)
				})
			}
			b.Run("store get", func(b *testing.B) {
				gen := t.e.served()
				for i := range b.N {
					v, ok, err := gen.Get([]byte(keys[i%len(keys)]))
					if err != nil || !ok {
						b.Fatal(ok, err)
					}
					v.Close()
				}
			})
			b.Run("batch of 1000, each key", func(b *testing.B) {
				var results []Result[string, string]
				b.ReportAllocs()
				for i := 0; i < b.N; i += 1000 {
					from := i % (len(keys) - 1000)
					var err error
					if results, err = t.AppendMany(results[:0], keys[from:from+1000]); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}
