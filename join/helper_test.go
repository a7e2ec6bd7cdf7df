package join

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/globaltable"
	"github.com/globaltable/enrich/internal/kafkatest"
	"github.com/globaltable/enrich/stream"
)

const (
	patience  = 30 * time.Second
	pollEvery = 20 * time.Millisecond // where nothing tells when to look
)

// The types of most tests: everything is text.
type (
	record = stream.Record[string, string]
	entry  = globaltable.Entry[string, string]
	result = globaltable.Result[string, string]
	table  = globaltable.Table[string, string]
	texts  = stream.Stream[string, string]
)

// env is a broker with a table's topic, a topic to read and one to write.
type env struct {
	t      *testing.T
	broker *kafkatest.Broker
	client *kgo.Client
	adm    *kadm.Client
	rows   string // the table's topic
	in     string
	out    string
	group  string
}

// newEnv makes the topics, with as many partitions for the table and the input
// as said.
func newEnv(t *testing.T, b *kafkatest.Broker, rows, in int32) *env {
	t.Helper()
	e := &env{t: t, broker: b, group: kafkatest.Unique("join")}
	e.client = b.Client(t, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0))
	e.adm = kadm.NewClient(e.client)
	e.rows = b.CreateTopic(t, "rows", rows, 1, kafkatest.Compacted())
	// Records of tests are old, and are to stay all the same.
	keep := map[string]string{"retention.ms": "-1"}
	e.in = b.CreateTopic(t, "in", in, 1, keep)
	e.out = b.CreateTopic(t, "out", 1, 1, keep)
	return e
}

// each runs one body on the in-process broker and on real Kafka. The table's
// topic has two partitions, the input one.
func each(t *testing.T, body func(t *testing.T, e *env)) {
	t.Helper()
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) { body(t, newEnv(t, b, 2, 1)) })
}

// onFake is each on the in-process broker only.
func onFake(t *testing.T) *env {
	t.Helper()
	return newEnv(t, kafkatest.Fake(t), 2, 1)
}

func (e *env) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	e.t.Cleanup(cancel)
	return ctx
}

// bytesOf makes a null of nil.
func bytesOf(v any) []byte {
	if v == nil {
		return nil
	}
	return []byte(v.(string))
}

// at is the time of record i of a test: a whole second, long ago.
func at(i int) time.Time { return time.Unix(1_000_000_000+int64(i), 0) }

// row writes a row of the table, or deletes it if value is nil, and returns the
// record as it is in the topic.
func (e *env) row(partition int32, key string, value any) *kgo.Record {
	e.t.Helper()
	r := &kgo.Record{Topic: e.rows, Partition: partition, Key: []byte(key), Value: bytesOf(value)}
	e.produce(r)
	return r
}

// put writes an input.
func (e *env) put(key, value any, ts time.Time, headers ...kgo.RecordHeader) {
	e.t.Helper()
	e.produce(&kgo.Record{Topic: e.in, Key: bytesOf(key), Value: bytesOf(value), Timestamp: ts, Headers: headers})
}

func (e *env) produce(rs ...*kgo.Record) {
	e.t.Helper()
	require.NoError(e.t, e.client.ProduceSync(e.ctx(), rs...).FirstErr())
}

// puts writes inputs with the key "k" and one second between them.
func (e *env) puts(values ...string) {
	e.t.Helper()
	for i, v := range values {
		e.put("k", v, at(i))
	}
}

// table opens and runs the table, until the test ends.
func (e *env) table(opts ...globaltable.Opt) *table {
	e.t.Helper()
	return runTable(e, codec.String(), codec.String(), opts...)
}

func runTable[V any](e *env, key codec.Codec[string], value codec.Codec[V], opts ...globaltable.Opt) *globaltable.Table[string, V] {
	e.t.Helper()
	t, _ := stoppable(e, key, value, opts...)
	return t
}

// stoppable is runTable for a table whose Run is ended before the test is.
func stoppable[V any](e *env, key codec.Codec[string], value codec.Codec[V], opts ...globaltable.Opt) (t *globaltable.Table[string, V], stop func()) {
	e.t.Helper()
	t, err := globaltable.Open(e.rows, key, value, append([]globaltable.Opt{
		globaltable.Brokers(e.broker.Addrs()...), globaltable.Kafka(e.broker.Opts()...), globaltable.InMemory(), globaltable.Logger(testLog(e.t)),
	}, opts...)...)
	require.NoError(e.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		// What went wrong is what the stream has to return.
		_ = t.Run(ctx)
	}()
	stop = func() { cancel(); <-done }
	e.t.Cleanup(func() { stop(); require.NoError(e.t, t.Close()) })
	return t, stop
}

// gate is a network that is cut off until it is opened.
type gate struct{ opened chan struct{} }

func newGate() *gate { return &gate{make(chan struct{})} }

func (g *gate) open() { close(g.opened) }

// opt puts a table behind the gate.
func (g *gate) opt() globaltable.Opt {
	return globaltable.Kafka(kgo.Dialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
		select {
		case <-g.opened:
			return new(net.Dialer).DialContext(ctx, network, addr)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}))
}

// source is the stream of the inputs.
func (e *env) source() *texts { return stream.From(e.in, codec.String(), codec.String()) }

// sink writes to the output topic.
func (e *env) sink(s *texts) stream.Sink {
	return stream.To(s, e.out, codec.String(), codec.String())
}

// byValue is the key function of most tests: the value is the row's key, and an
// empty one is none.
func byValue(r record) (string, bool) { return r.Value, r.Value != "" }

// show is the join function of most tests.
func show(r record, row entry) (string, error) {
	if !row.Found {
		return r.Value + "+null", nil
	}
	return r.Value + "+" + row.Value, nil
}

func (e *env) opts(more ...stream.Opt) []stream.Opt {
	return append([]stream.Opt{
		stream.Brokers(e.broker.Addrs()...), stream.Group(e.group), stream.CommitInterval(20 * time.Millisecond), stream.Logger(testLog(e.t)),
		stream.Kafka(e.broker.Opts()...), stream.Kafka(kgo.ProducerLinger(0), kgo.FetchMaxWait(200*time.Millisecond), kgo.HeartbeatInterval(100*time.Millisecond)),
	}, more...)
}

// runToEnd runs a batch job.
func (e *env) runToEnd(s *texts, more ...stream.Opt) (stream.Stats, error) {
	e.t.Helper()
	w, err := stream.New(e.sink(s), e.opts(append(more, stream.StopAtEnd())...)...)
	require.NoError(e.t, err)
	err = w.Run(e.ctx())
	return w.Stats(), err
}

// mustRun is runToEnd of what has to go well.
func (e *env) mustRun(s *texts, more ...stream.Opt) stream.Stats {
	e.t.Helper()
	stats, err := e.runToEnd(s, more...)
	require.NoError(e.t, err)
	return stats
}

// running is a worker that runs until it is stopped.
type running struct {
	*stream.Worker
	t      *testing.T
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

func (e *env) start(s *texts, more ...stream.Opt) *running {
	e.t.Helper()
	w, err := stream.New(e.sink(s), e.opts(more...)...)
	require.NoError(e.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Worker: w, t: e.t, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = w.Run(ctx)
	}()
	e.t.Cleanup(func() { cancel(); <-r.done })
	return r
}

// wait returns Run's error.
func (r *running) wait() error {
	r.t.Helper()
	select {
	case <-r.done:
		return r.err
	case <-time.After(patience):
		r.t.Fatalf("Run has not returned: %s", r.Stats())
		return nil
	}
}

func (r *running) stop() error {
	r.t.Helper()
	r.cancel()
	return r.wait()
}

// until waits for something that the worker or a broker does.
func (r *running) until(what string, cond func(stream.Stats) bool) {
	r.t.Helper()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	late := time.After(patience)
	for !cond(r.Stats()) {
		select {
		case <-tick.C:
		case <-r.done:
			require.True(r.t, cond(r.Stats()), "Run has returned %v before %s: %s", r.err, what, r.Stats())
		case <-late:
			r.t.Fatalf("still waiting until %s: %s", what, r.Stats())
		}
	}
}

// outputs waits until so many outputs are acknowledged.
func (r *running) outputs(n int64) {
	r.t.Helper()
	r.until(fmt.Sprint(n, " outputs"), func(s stream.Stats) bool { return s.Outputs >= n })
}

// read returns all records of the output topic.
func (e *env) read() []*kgo.Record {
	e.t.Helper()
	ends, err := e.adm.ListEndOffsets(e.ctx(), e.out)
	require.NoError(e.t, err)
	end, _ := ends.Lookup(e.out, 0)
	cl, err := kgo.NewClient(append(e.broker.Opts(), kgo.ConsumeTopics(e.out))...)
	require.NoError(e.t, err)
	defer cl.Close()
	var all []*kgo.Record
	for int64(len(all)) < end.Offset {
		fs := cl.PollFetches(e.ctx())
		require.NoError(e.t, fs.Err())
		all = append(all, fs.Records()...)
	}
	slices.SortFunc(all, func(a, b *kgo.Record) int { return cmp.Compare(a.Offset, b.Offset) })
	return all
}

// values returns the values of the output topic.
func (e *env) values() []string {
	e.t.Helper()
	return valuesOf(e.read())
}

func valuesOf(rs []*kgo.Record) (vs []string) {
	for _, r := range rs {
		vs = append(vs, string(r.Value))
	}
	return vs
}

// committed returns the group's offset of the first input partition, -1 if there
// is none.
func (e *env) committed() int64 {
	e.t.Helper()
	offsets, err := e.adm.FetchOffsets(e.ctx(), e.group)
	if errors.Is(err, kerr.GroupIDNotFound) {
		return -1
	}
	require.NoError(e.t, err)
	if o, ok := offsets.Lookup(e.in, 0); ok {
		return o.At
	}
	return -1
}

// testLog writes to the test's log, and to nowhere once the test has ended.
func testLog(t testing.TB) *slog.Logger {
	w := &testWriter{t: t}
	t.Cleanup(func() { w.mu.Lock(); w.over = true; w.mu.Unlock() })
	return slog.New(slog.NewTextHandler(w, nil))
}

type testWriter struct {
	mu   sync.Mutex
	t    testing.TB
	over bool
}

func (w *testWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.over {
		w.t.Log(strings.TrimSpace(string(b)))
	}
	return len(b), nil
}
