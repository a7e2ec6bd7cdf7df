package store

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// benchRows are rows like those of a device master, in no order: a key of 12
// bytes and a value of about 160 that can be compressed by half.
type benchRows struct {
	rng   *rand.ChaCha8
	rows  uint64
	key   []byte
	value []byte
}

func newBenchRows(rows uint64) *benchRows {
	return &benchRows{rng: rand.NewChaCha8([32]byte{1}), rows: rows, value: make([]byte, 160)}
}

func (r *benchRows) next() (key, value []byte) {
	n := r.rng.Uint64()
	r.key = fmt.Appendf(r.key[:0], "dev-%08d", n%r.rows)
	for i := 0; i < len(r.value)/2; i += 8 {
		binary.LittleEndian.PutUint64(r.value[i:], r.rng.Uint64())
	}
	return r.key, r.value
}

// BenchmarkBulk loads rows into a file system in memory.
func BenchmarkBulk(b *testing.B) {
	const rows = 1 << 20
	keys := make([]byte, 0, 12*rows)
	src := newBenchRows(rows)
	values := make([]byte, 0, 160*64)
	for range rows {
		k, _ := src.next()
		keys = append(keys, k...)
	}
	for range 64 {
		_, v := src.next()
		values = append(values, v...)
	}
	o := testOptions(vfs.NewMem())
	o.MemTableBytes, o.CacheBytes = 16<<20, 64<<20
	r := openWith(b, o)
	g := create(b, r)
	bulk, err := g.NewBulk(BulkOptions{})
	require.NoError(b, err)
	s := &State{}
	b.ReportAllocs()
	b.ResetTimer()
	row := Row{Timestamp: 1_700_000_000_000}
	for i := range b.N {
		row.Offset = int64(i)
		row.Value = values[i%64*160:][:160]
		bulk.Put(keys[i%rows*12:][:12], &row)
		if bulk.Full() {
			s = s.Clone()
			s.At(0).Next = int64(i + 1)
			if err := bulk.Submit(s); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := bulk.Close(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

// BenchmarkChunkSort sorts a chunk of the default size; one op is one row.
func BenchmarkChunkSort(b *testing.B) {
	for name, rows := range map[string]uint64{"distinct": 1e8, "duplicates": 1000} {
		b.Run(name, func(b *testing.B) {
			src := newBenchRows(rows)
			var filled, c chunk
			var scratch []ref
			for filled.bytes() < 8<<20 {
				k, v := src.next()
				filled.put(k, &Row{Value: v})
			}
			b.ResetTimer()
			for n := 0; n < b.N; n += len(filled.refs) {
				b.StopTimer()
				c.arena, c.common = filled.arena, filled.common
				c.refs = append(c.refs[:0], filled.refs...)
				b.StartTimer()
				scratch = c.sort(scratch)
			}
		})
	}
}
