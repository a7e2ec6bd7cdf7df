package join

import (
	"fmt"
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
// 10,000 rows in memory: 1,000 different keys, or 10.
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

	for _, keys := range []int{poll, 10} {
		b.Run(fmt.Sprint("keys=", keys), func(b *testing.B) {
			in := make([]record, poll)
			for i := range in {
				in[i] = record{Key: "k", Value: fmt.Sprintf("device-%05d", i%keys*(rows/keys)), Timestamp: at(i)}
			}
			m := &mapper[string, string, string]{key: byValue}
			j := joinerOf("inner", tb, func(_ record, row entry) (string, error) { return row.Value, nil })
			var mapped discard[keyed[string, string]]
			var joined discard[string]
			b.ReportAllocs()
			for b.Loop() {
				mapped.recs, joined.recs = mapped.recs[:0], joined.recs[:0]
				require.NoError(b, m.process(b.Context(), in, &mapped))
				require.NoError(b, j.process(b.Context(), mapped.recs, &joined))
			}
			require.Len(b, joined.recs, poll)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/poll, "ns/record")
		})
	}
}
