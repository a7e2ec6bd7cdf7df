package conformance

import (
	"cmp"
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/globaltable"
	"github.com/globaltable/enrich/internal/kafkatest"
	"github.com/globaltable/enrich/join"
	"github.com/globaltable/enrich/stream"
)

type (
	reading = stream.Record[string, string]
	texts   = stream.Stream[string, string]
)

// kinds are the two joins, under one signature.
var kinds = map[string]func(*texts, *table, func(reading) (string, bool), func(reading, entry) (string, error), ...join.Opt) *texts{
	"inner": join.Inner[string, string, string, string, string],
	"left":  join.Left[string, string, string, string, string],
}

// eachKind runs a body for both joins.
func eachKind(body func(t *testing.T, kind string)) func(*testing.T) {
	return func(t *testing.T) {
		for _, kind := range []string{"inner", "left"} {
			t.Run(kind, func(t *testing.T) { body(t, kind) })
		}
	}
}

// A joinWorld is a table's topic, one to read and one to write.
type joinWorld struct {
	t             *testing.T
	rows, in, out *world
	group         string
}

func newJoin(t *testing.T, rows, in int32) *joinWorld {
	t.Helper()
	return joinOn(t, kafkatest.Fake(t), rows, in)
}

func joinOn(t *testing.T, b *kafkatest.Broker, rows, in int32) *joinWorld {
	t.Helper()
	// Records of tests are old, and are to stay all the same.
	keep := map[string]string{"retention.ms": "-1"}
	return &joinWorld{
		t: t, group: kafkatest.Unique("join"),
		rows: newWorld(t, b, rows, kafkatest.Compacted()),
		in:   newWorld(t, b, in, keep), out: newWorld(t, b, 1, keep),
	}
}

// second is the time of the i-th second of a test, long ago.
func second(i int) time.Time { return time.Unix(1_000_000_000+int64(i), 0) }

func bytesOf(v any) []byte {
	if v == nil {
		return nil
	}
	return []byte(v.(string))
}

// read writes a reading; a nil is a null.
func (j *joinWorld) read(key, value any, at time.Time) {
	j.t.Helper()
	j.in.broker.ProduceTo(j.t, 0, &kgo.Record{Topic: j.in.topic, Key: bytesOf(key), Value: bytesOf(value), Timestamp: at})
}

// reads writes readings of the key "k", one second apart.
func (j *joinWorld) reads(values ...string) {
	j.t.Helper()
	for i, v := range values {
		j.read("k", v, second(i))
	}
}

func (j *joinWorld) source() *texts { return stream.From(j.in.topic, codec.String(), codec.String()) }

// byValue names the row by the reading's value; an empty one names none.
func byValue(r reading) (string, bool) { return r.Value, r.Value != "" }

func show(r reading, e entry) (string, error) {
	if !e.Found {
		return r.Value + "+null", nil
	}
	return r.Value + "+" + e.Value, nil
}

func (j *joinWorld) opts(more ...stream.Opt) []stream.Opt {
	return append([]stream.Opt{
		stream.Brokers(j.in.broker.Addrs()...), stream.Group(j.group), stream.CommitInterval(20 * time.Millisecond),
		stream.Kafka(j.in.broker.Opts()...), stream.Kafka(kgo.ProducerLinger(0), kgo.FetchMaxWait(100*time.Millisecond), kgo.HeartbeatInterval(100*time.Millisecond)),
	}, more...)
}

func (j *joinWorld) sink(s *texts) stream.Sink {
	return stream.To(s, j.out.topic, codec.String(), codec.String())
}

// runToEnd reads what is there, and ends.
func (j *joinWorld) runToEnd(s *texts, more ...stream.Opt) (stream.Stats, error) {
	j.t.Helper()
	w, err := stream.New(j.sink(s), j.opts(append(more, stream.StopAtEnd())...)...)
	require.NoError(j.t, err)
	err = w.Run(ctxOf(j.t))
	return w.Stats(), err
}

func (j *joinWorld) mustRun(s *texts, more ...stream.Opt) stream.Stats {
	j.t.Helper()
	stats, err := j.runToEnd(s, more...)
	require.NoError(j.t, err)
	return stats
}

// A worker runs until it is stopped.
type worker struct {
	*stream.Worker
	t      *testing.T
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

func start(t *testing.T, sink stream.Sink, opts ...stream.Opt) *worker {
	t.Helper()
	w, err := stream.New(sink, opts...)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	r := &worker{Worker: w, t: t, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = w.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-r.done })
	return r
}

func (w *worker) wait() error {
	w.t.Helper()
	select {
	case <-w.done:
		return w.err
	case <-time.After(patience()):
		w.t.Fatalf("Run does not end: %s", w.Stats())
		return nil
	}
}

func (w *worker) stop() {
	w.t.Helper()
	w.cancel()
	require.NoError(w.t, w.wait())
}

// outputs waits until so many outputs are acknowledged.
func (w *worker) outputs(n int64) {
	w.t.Helper()
	require.Eventually(w.t, func() bool { return w.Stats().Outputs >= n }, patience(), 2*time.Millisecond, "%s", lazy(func() string { return w.Stats().String() }))
}

// written returns what the output topic has.
func (j *joinWorld) written() []*kgo.Record {
	j.t.Helper()
	return readAll(j.t, j.out.broker, j.out.topic)
}

// readAll returns all records of a topic of one partition.
func readAll(t *testing.T, b *kafkatest.Broker, topic string) []*kgo.Record {
	t.Helper()
	ends, err := b.Admin(t).ListEndOffsets(ctxOf(t), topic)
	require.NoError(t, err)
	end, _ := ends.Lookup(topic, 0)
	cl, err := kgo.NewClient(append(b.Opts(), kgo.ConsumeTopics(topic))...)
	require.NoError(t, err)
	defer cl.Close()
	var all []*kgo.Record
	for int64(len(all)) < end.Offset {
		fs := cl.PollFetches(ctxOf(t))
		require.NoError(t, fs.Err())
		all = append(all, fs.Records()...)
	}
	slices.SortFunc(all, func(a, b *kgo.Record) int { return cmp.Compare(a.Offset, b.Offset) })
	return all
}

func (j *joinWorld) values() []string { return valuesOf(j.written()) }

func valuesOf(rs []*kgo.Record) (vs []string) {
	for _, r := range rs {
		vs = append(vs, string(r.Value))
	}
	return vs
}

// table is a table of the rows that is ready.
func (j *joinWorld) table() *replica { return j.rows.ready(globaltable.InMemory()) }
