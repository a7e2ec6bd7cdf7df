package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/internal/kafkatest"
)

// env is a broker with a topic name space of its own.
type env struct {
	t      *testing.T
	broker *kafkatest.Broker
	fake   *kfake.Cluster // nil on a real broker
	prefix string
	client *kgo.Client
	adm    *kadm.Client
}

const patience = 30 * time.Second

func newEnv(t *testing.T, b *kafkatest.Broker) *env {
	t.Helper()
	name := strings.NewReplacer("/", "-", "#", "-", " ", "-", ",", "").Replace(t.Name())
	e := &env{t: t, broker: b, fake: b.Fake(), prefix: kafkatest.Unique(name) + "-"}
	e.client = b.Client(t, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0), kgo.MetadataMinAge(10*time.Millisecond))
	e.adm = kadm.NewClient(e.client)
	return e
}

// each runs one body on the in-process broker and on real Kafka.
func each(t *testing.T, body func(t *testing.T, e *env)) {
	t.Helper()
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) { body(t, newEnv(t, b)) })
}

// onFake runs on the in-process broker only.
func onFake(t *testing.T) *env {
	t.Helper()
	return newEnv(t, kafkatest.Fake(t))
}

func (e *env) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	e.t.Cleanup(cancel)
	return ctx
}

func (e *env) topic(name string, partitions int32) string {
	e.t.Helper()
	name = e.prefix + name
	_, err := e.adm.CreateTopic(e.ctx(), partitions, 1, nil, name)
	require.NoError(e.t, err)
	if e.broker.Real() {
		e.t.Cleanup(func() {
			_, err := e.adm.DeleteTopic(e.ctx(), name)
			require.NoError(e.t, err)
		})
	}
	e.broker.AwaitTopic(e.t, name, partitions)
	return name
}

// put produces a record. A nil key or value is null.
func (e *env) put(topic string, partition int32, key, value any, headers ...Header) {
	e.t.Helper()
	r := &kgo.Record{Topic: topic, Partition: partition, Key: bytesOf(key), Value: bytesOf(value), Headers: headers}
	require.NoError(e.t, e.client.ProduceSync(e.ctx(), r).FirstErr())
}

// putN produces records "k<i>" to a partition, with values "v<i>".
func (e *env) putN(topic string, partition int32, from, to int) {
	e.t.Helper()
	var rs []*kgo.Record
	for i := from; i < to; i++ {
		rs = append(rs, &kgo.Record{Topic: topic, Partition: partition, Key: fmt.Appendf(nil, "k%d", i), Value: fmt.Appendf(nil, "v%d", i)})
	}
	require.NoError(e.t, e.client.ProduceSync(e.ctx(), rs...).FirstErr())
}

// txn writes records to a topic of one partition in a transaction, and returns
// when the transaction has ended in the log too.
func (e *env) txn(topic string, commit bool, values ...string) {
	e.t.Helper()
	var rs []*kgo.Record
	for _, v := range values {
		rs = append(rs, &kgo.Record{Topic: topic, Key: []byte(v), Value: []byte(v)})
	}
	kafkatest.ProduceTxn(e.t, e.broker, commit, rs...)
}

func bytesOf(v any) []byte {
	switch v := v.(type) {
	case string:
		return []byte(v)
	case []byte:
		return v
	}
	return nil
}

// read returns all records of a topic that a read_committed consumer sees up
// to its present end, by partition and offset.
func (e *env) read(topic string) []*kgo.Record {
	e.t.Helper()
	ends, err := e.adm.ListCommittedOffsets(e.ctx(), topic)
	require.NoError(e.t, err)
	require.NoError(e.t, ends.Error())
	left := make(map[int32]int64)
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	cl, err := kgo.NewClient(append(e.broker.Opts(), kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())...)
	require.NoError(e.t, err)
	defer cl.Close()
	var all []*kgo.Record
	for len(left) > 0 {
		fs := cl.PollFetches(e.ctx())
		require.NoError(e.t, fs.Err())
		fs.EachRecord(func(r *kgo.Record) {
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
			if !r.Attrs.IsControl() {
				all = append(all, r)
			}
		})
	}
	slices.SortFunc(all, func(a, b *kgo.Record) int {
		return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	return all
}

func values(rs []*kgo.Record) []string {
	vs := make([]string, len(rs))
	for i, r := range rs {
		vs[i] = string(r.Value)
	}
	return vs
}

// committed returns the group's offset, -1 if there is none.
func (e *env) committed(group, topic string, partition int32) int64 {
	e.t.Helper()
	offsets, err := e.adm.FetchOffsets(e.ctx(), group)
	if errors.Is(err, kerr.GroupIDNotFound) {
		return -1
	}
	require.NoError(e.t, err)
	if o, ok := offsets.Lookup(topic, partition); ok {
		return o.At
	}
	return -1
}

// group is the group name that opts uses.
func (e *env) group() string { return e.prefix + "group" }

// opts are the options of most tests.
func (e *env) opts(more ...Opt) []Opt {
	return append([]Opt{
		Brokers(e.broker.Addrs()...), Group(e.group()), CommitInterval(20 * time.Millisecond), Logger(testLog(e.t)),
		Kafka(e.broker.Opts()...), Kafka(kgo.ProducerLinger(0), kgo.FetchMaxWait(200*time.Millisecond), kgo.MetadataMinAge(50*time.Millisecond),
			kgo.HeartbeatInterval(100*time.Millisecond)),
	}, more...)
}

// runToEnd runs a batch job.
func (e *env) runToEnd(sink Sink, more ...Opt) (Stats, error) {
	e.t.Helper()
	w, err := New(sink, e.opts(append([]Opt{StopAtEnd()}, more...)...)...)
	require.NoError(e.t, err)
	err = w.Run(e.ctx())
	return w.Stats(), err
}

// running is a worker that runs until it is stopped.
type running struct {
	*Worker
	t      *testing.T
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

func (e *env) start(sink Sink, more ...Opt) *running {
	e.t.Helper()
	w, err := New(sink, e.opts(more...)...)
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
func (r *running) until(what string, cond func(Stats) bool) {
	r.t.Helper()
	require.Eventually(r.t, func() bool { return cond(r.Stats()) }, patience, 5*time.Millisecond, "%s: %s", what, r.Stats())
}

func receive[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// testLog writes to the test's log, and to nowhere once the test has ended.
func testLog(t *testing.T) *slog.Logger {
	w := &testWriter{t: t}
	t.Cleanup(func() { w.mu.Lock(); w.over = true; w.mu.Unlock() })
	return slog.New(slog.NewTextHandler(w, nil))
}

type testWriter struct {
	mu   sync.Mutex
	t    *testing.T
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

// strs is the source that most tests use.
func strs(topic string) *Stream[string, string] {
	return From(topic, codec.String(), codec.String())
}

func toStrs(s *Stream[string, string], topic string) Sink {
	return To(s, topic, codec.String(), codec.String())
}

// collector is a sink that keeps what it sees.
type collector struct {
	mu   sync.Mutex
	recs []Record[string, string]
}

func (c *collector) add(_ context.Context, r Record[string, string]) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.recs = append(c.recs, r)
	return nil
}

func (c *collector) values() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var vs []string
	for _, r := range c.recs {
		vs = append(vs, r.Value)
	}
	return vs
}

func numbered(prefix string, from, to int) []string {
	var vs []string
	for i := from; i < to; i++ {
		vs = append(vs, fmt.Sprint(prefix, i))
	}
	return vs
}
