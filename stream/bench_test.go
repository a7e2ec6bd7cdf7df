package stream

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/internal/kafkatest"
)

// readings are raw records as they come in one fetch.
func readings(n int, key bool) []*kgo.Record {
	rs := make([]*kgo.Record, n)
	for i := range rs {
		rs[i] = &kgo.Record{Topic: "topic", Offset: int64(i), Value: fmt.Appendf(nil, `{"device":"dev-%08d","celsius":21.%d,"at":%d}`, i, i%10, i)}
		if key {
			rs[i].Key = fmt.Appendf(nil, "dev-%08d", i)
		}
	}
	return rs
}

// work takes what one partition was given through its operators.
func work(t testing.TB, p *partition, rs []*kgo.Record) {
	p.deliver(rs, int64(len(rs)))
	for p.queue.n > 0 {
		ins, _ := p.take()
		if err := p.handle(ins); err != nil {
			t.Fatal(err)
		}
	}
	p.frontier()
}

func forEachBytes() Sink {
	s := Map(From("topic", codec.String(), codec.Bytes()), func(r Record[string, []byte]) (Record[string, []byte], error) { return r, nil })
	return ForEach(s, func(context.Context, Record[string, []byte]) error { return nil })
}

// The way of a record through a partition costs no memory of its own but that of
// its key, if it has one.
func TestRecordsCostFewAllocations(t *testing.T) {
	const n = 4 * chunk
	for name, tc := range map[string]struct {
		key  bool
		most float64
	}{
		"with a key":    {true, 1.2},
		"without a key": {false, 0.2},
	} {
		t.Run(name, func(t *testing.T) {
			p := bare(t)
			p.handle = forEachBytes().open(p)
			rs := readings(n, tc.key)
			// The records do not go back to a pool: they are not of one.
			perRun := testing.AllocsPerRun(10, func() { work(t, p, rs) })
			require.LessOrEqual(t, perRun/n, tc.most)
			require.EqualValues(t, n, p.frontier().Offset)
		})
	}
}

// BenchmarkPartition is what a record costs from the queue to the last operator.
func BenchmarkPartition(b *testing.B) {
	cl, err := kgo.NewClient()
	require.NoError(b, err)
	defer cl.Close()
	sink := forEachBytes()
	w := &Worker{cfg: newConfig(nil), base: b.Context(), client: cl, sink: sink}
	p := newPartition(w, "topic", 0)
	defer p.cancel()
	rs := readings(4*chunk, true)
	b.ReportAllocs()
	for b.Loop() {
		work(b, p, rs)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(rs)), "ns/record")
}

// BenchmarkAgainstKgo reads a topic with a stream, and with a plain client that does
// nothing, by turns, on the real broker. It reports the share of the client's rate
// that the stream reaches. A stream's time begins with its first record, since joining
// a group takes longer than connecting does.
func BenchmarkAgainstKgo(b *testing.B) {
	const n, partitions = 600_000, 6
	broker := kafkatest.Real(b)
	topic := broker.CreateTopic(b, "readings", partitions, 1, nil)
	rs := readings(n, true)
	for i, r := range rs {
		r.Topic, r.Partition = topic, int32(i%partitions)
	}
	producer := broker.Client(b, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedRecords(n))
	require.NoError(b, producer.ProduceSync(b.Context(), rs...).FirstErr())

	var plain, stream time.Duration
	for b.Loop() {
		plain += readPlain(b, broker, topic, n)
		stream += readStream(b, broker, topic, n)
	}
	b.ReportMetric(plain.Seconds()/stream.Seconds(), "of-kgo")
	b.ReportMetric(float64(n*b.N)/stream.Seconds(), "records/s")
}

func readPlain(b *testing.B, broker *kafkatest.Broker, topic string, n int) time.Duration {
	b.Helper()
	cl, err := kgo.NewClient(append(broker.Opts(), kgo.ConsumeTopics(topic))...)
	require.NoError(b, err)
	defer cl.Close()
	began := time.Now()
	for n > 0 {
		fs := cl.PollFetches(b.Context())
		require.NoError(b, fs.Err())
		n -= fs.NumRecords()
	}
	return time.Since(began)
}

func readStream(b *testing.B, broker *kafkatest.Broker, topic string, n int) time.Duration {
	b.Helper()
	ctx, stop := context.WithCancel(b.Context())
	defer stop()
	seen := make(chan int, 64) // by chunks, so that counting costs nothing
	sink := ForEach(Process(From(topic, codec.String(), codec.Bytes()), "count", Processor[string, []byte, string, []byte](counting(seen))),
		func(context.Context, Record[string, []byte]) error { return nil })
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, sink, Brokers(broker.Addrs()...), Kafka(broker.Opts()...), Group(kafkatest.Unique("bench")))
	}()
	var began time.Time
	for n > 0 {
		n -= <-seen
		if began.IsZero() {
			began = time.Now()
		}
	}
	took := time.Since(began)
	stop()
	require.NoError(b, <-ended)
	return took
}

// counting hands everything on and says how much it was.
type counting chan<- int

func (c counting) Process(_ context.Context, in []Record[string, []byte], out *Output[string, []byte]) error {
	for i := range in {
		out.Emit(i, in[i])
	}
	c <- len(in)
	return nil
}
