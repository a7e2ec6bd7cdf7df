package store

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"
)

// BenchmarkGetBesidePebble looks up random keys in a merged table of ENRICH_ROWS
// rows, by default 200,000, by Get and by Pebble's own, with the same cache of
// CACHE_MB, by default 32.
func BenchmarkGetBesidePebble(b *testing.B) {
	number := func(name string, otherwise int) int {
		if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
			return n
		}
		return otherwise
	}
	n := number("ENRICH_ROWS", 200_000)
	r := openWith(b, Options{Dir: b.TempDir(), Topic: "devices", CacheBytes: int64(number("CACHE_MB", 32)) << 20})
	g := create(b, r)
	bulk, err := g.NewBulk(BulkOptions{})
	require.NoError(b, err)
	src := newBenchRows(uint64(n))
	s := &State{}
	for i, at := range rand.New(rand.NewPCG(1, 2)).Perm(n) {
		_, value := src.next()
		bulk.Put(fmt.Appendf(nil, "dev-%08d", at), &Row{Offset: int64(i), Value: value})
		if bulk.Full() || i == n-1 {
			s = s.Clone()
			s.At(0).Next = int64(i + 1)
			require.NoError(b, bulk.Submit(s))
		}
	}
	require.NoError(b, bulk.Close())
	require.Eventually(b, func() bool { return !g.Merging() }, time.Minute, 20*time.Millisecond)
	keys := make([][]byte, 1<<20)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "dev-%08d", rand.IntN(n))
	}
	for range 2 { // by turns
		b.Run("enrich", func(b *testing.B) {
			for i := range b.N {
				v, ok, err := g.Get(keys[i%len(keys)])
				if err != nil || !ok {
					b.Fatal(ok, err)
				}
				v.Close()
			}
		})
		b.Run("pebble", func(b *testing.B) {
			var stored []byte
			for i := range b.N {
				stored = appendRowKey(stored[:0], keys[i%len(keys)])
				_, closer, err := g.db.Get(stored)
				if err != nil {
					b.Fatal(err)
				}
				_ = closer.Close()
			}
		})
		b.Run("pebble, new iterator", func(b *testing.B) {
			var stored []byte
			for i := range b.N {
				stored = appendRowKey(stored[:0], keys[i%len(keys)])
				it, err := g.db.NewIter(&pebble.IterOptions{LowerBound: rowsLower, UpperBound: rowsUpper})
				if err != nil || !it.SeekGE(stored) {
					b.Fatal(err)
				}
				_ = it.Close()
			}
		})
	}
}
