package join

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/globaltable"
	"github.com/globaltable/enrich/internal/kafkatest"
	"github.com/globaltable/enrich/stream"
)

// discard is an output that keeps nothing but the emits that the next stage
// needs.
type discard[V any] struct{ recs []stream.Record[string, V] }

func (d *discard[V]) Emit(_ int, r stream.Record[string, V]) { d.recs = append(d.recs, r) }
func (d *discard[V]) Drop(int, string)                       {}
func (d *discard[V]) Fail(_ int, err error)                  { panic(err) }

// BenchmarkProcess is a join's work for one poll of 1,000 records, with a table of
// 10,000 rows in memory: 1,000 different keys, or 10, the same in each poll, or keys
// of which few are far more often than others.
func BenchmarkProcess(b *testing.B) {
	const rows, poll = 10_000, 1000
	broker := kafkatest.Fake(b)
	topic := broker.CreateTopic(b, "rows", 3, 1, kafkatest.Compacted())
	records := make([]*kgo.Record, rows)
	for i := range records {
		records[i] = &kgo.Record{Topic: topic, Key: fmt.Appendf(nil, "device-%05d", i), Value: fmt.Appendf(nil, "room %d", i)}
	}
	broker.Produce(b, records...)
	tb, err := globaltable.Open(topic, codec.String(), codec.String(), globaltable.Brokers(broker.Addrs()...), globaltable.InMemory())
	require.NoError(b, err)
	ended := make(chan error, 1)
	go func() { ended <- tb.Run(b.Context()) }()
	defer func() {
		require.NoError(b, tb.Close())
		require.ErrorIs(b, <-ended, globaltable.ErrClosed)
	}()
	require.NoError(b, tb.WaitReady(b.Context()))

	z := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.1, 1, rows-1)
	for name, key := range map[string]func(i int) int{
		"keys=1000": func(i int) int { return i % poll * (rows / poll) },
		"keys=10":   func(i int) int { return i % 10 * (rows / 10) },
		"zipf":      func(int) int { return int(z.Uint64()) },
	} {
		b.Run(name, func(b *testing.B) {
			const polls = 100
			in := make([]record, polls*poll)
			for i := range in {
				in[i] = record{Key: "k", Value: fmt.Sprintf("device-%05d", key(i)), Timestamp: at(i)}
			}
			m := &mapper[string, string, string]{key: byValue}
			j := joinerOf("inner", tb, func(_ record, row entry) (string, error) { return row.Value, nil })
			var mapped discard[keyed[string, string]]
			var joined discard[string]
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				mapped.recs, joined.recs = mapped.recs[:0], joined.recs[:0]
				require.NoError(b, m.process(b.Context(), in[i%polls*poll:][:poll], &mapped))
				require.NoError(b, j.process(b.Context(), mapped.recs, &joined))
			}
			require.Len(b, joined.recs, poll)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/poll, "ns/record")
		})
	}
}
