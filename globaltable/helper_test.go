package globaltable

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/internal/kafkatest"
)

// patience bounds every wait for another process.
const patience = 30 * time.Second

// env is a broker with one compacted topic, whose records are also folded into
// what the table has to hold.
type env struct {
	t      *testing.T
	broker *kafkatest.Broker
	topic  string
	want   map[string]string
}

func newEnv(t *testing.T, b *kafkatest.Broker, partitions int32) *env {
	t.Helper()
	return newEnvWith(t, b, partitions, kafkatest.Compacted())
}

func newEnvWith(t *testing.T, b *kafkatest.Broker, partitions int32, configs map[string]string) *env {
	t.Helper()
	return &env{t: t, broker: b, topic: b.CreateTopic(t, "devices", partitions, -1, configs), want: map[string]string{}}
}

// each runs one body on the in-process broker and on real Kafka.
func each(t *testing.T, partitions int32, body func(t *testing.T, e *env)) {
	t.Helper()
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) { body(t, newEnv(t, b, partitions)) })
}

// put produces "key=value" pairs, "key" alone being a tombstone, and folds them.
func (e *env) put(pairs ...string) []*kgo.Record {
	e.t.Helper()
	rs := records(e.topic, pairs...)
	e.broker.Produce(e.t, rs...)
	fold(e.want, rs)
	return rs
}

// txn produces pairs in a transaction, which are folded if it commits.
func (e *env) txn(commit bool, pairs ...string) {
	e.t.Helper()
	rs := records(e.topic, pairs...)
	kafkatest.ProduceTxn(e.t, e.broker, commit, rs...)
	if commit {
		fold(e.want, rs)
	}
}

func records(topic string, pairs ...string) []*kgo.Record {
	var rs []*kgo.Record
	for _, p := range pairs {
		k, v, ok := strings.Cut(p, "=")
		r := &kgo.Record{Topic: topic, Key: []byte(k)}
		if ok {
			r.Value = []byte(v)
		}
		rs = append(rs, r)
	}
	return rs
}

func fold(m map[string]string, rs []*kgo.Record) {
	for _, r := range rs {
		if r.Value == nil {
			delete(m, string(r.Key))
		} else {
			m[string(r.Key)] = string(r.Value)
		}
	}
}

// recreate deletes the topic and creates it anew, empty.
func (e *env) recreate(partitions int32) {
	e.t.Helper()
	e.deleteTopic()
	e.createAgain(partitions)
}

func (e *env) deleteTopic() {
	e.t.Helper()
	_, err := e.broker.Admin(e.t).DeleteTopic(e.ctx(), e.topic)
	require.NoError(e.t, err)
	clear(e.want)
}

func (e *env) createAgain(partitions int32) {
	e.t.Helper()
	compact := "compact"
	// Kafka refuses the name until the old topic is gone on every broker.
	require.Eventually(e.t, func() bool {
		_, err := e.broker.Admin(e.t).CreateTopic(e.ctx(), partitions, -1, map[string]*string{"cleanup.policy": &compact}, e.topic)
		return err == nil
	}, patience, 20*time.Millisecond)
	e.broker.AwaitTopic(e.t, e.topic, partitions)
}

func (e *env) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	e.t.Cleanup(cancel)
	return ctx
}

// opts are the options of most tests.
func (e *env) opts(more ...Opt) []Opt {
	return append([]Opt{Brokers(e.broker.Addrs()...), Kafka(e.broker.Opts()...), Logger(testLog(e.t))}, more...)
}

// replica is a table that runs.
type replica struct {
	*Table[string, string]
	t      *testing.T
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

// open opens a table of strings and runs it. Without a Dir it is in memory.
func (e *env) open(more ...Opt) *replica {
	e.t.Helper()
	tb, err := Open(e.topic, codec.String(), codec.String(), e.opts(place(more)...)...)
	require.NoError(e.t, err)
	return e.run(tb)
}

// place adds InMemory to options that have no Dir.
func place(opts []Opt) []Opt {
	if c := newConfig(opts); c.dir == "" && !c.memory {
		return append([]Opt{InMemory()}, opts...)
	}
	return opts
}

func (e *env) run(tb *Table[string, string]) *replica {
	ctx, cancel := context.WithCancel(context.Background())
	r := &replica{Table: tb, t: e.t, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = tb.Run(ctx)
	}()
	e.t.Cleanup(func() {
		cancel()
		<-r.done
		_ = tb.Close()
	})
	return r
}

// ready opens a table, runs it, and waits until it is ready.
func (e *env) ready(more ...Opt) *replica {
	e.t.Helper()
	r := e.open(more...)
	r.waitReady()
	return r
}

func (r *replica) waitReady() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(r.t, r.WaitReady(ctx), "%s", r.Stats())
}

// runErr waits for Run to end and returns its error.
func (r *replica) runErr() error {
	r.t.Helper()
	select {
	case <-r.done:
		return r.err
	case <-time.After(patience):
		r.t.Fatalf("Run has not returned: %s", r.Stats())
		return nil
	}
}

// close ends the replica cleanly.
func (r *replica) close() {
	r.t.Helper()
	r.cancel()
	require.NoError(r.t, r.runErr())
	require.NoError(r.t, r.Close())
}

// until waits for something that the table does.
func (r *replica) until(what string, cond func() bool) {
	r.t.Helper()
	require.Eventually(r.t, cond, patience, 2*time.Millisecond, "%s: %s", what, lazy(func() string { return r.Stats().String() }))
}

// smallBulk makes a table load in bulk what is some records behind, in chunks of
// some hundred.
func smallBulk() Opt {
	return opt(func(c *config) { c.bulk = bulkConfig{from: 50, chunkBytes: 20_000} })
}

type lazy func() string

func (l lazy) String() string { return l() }

// sees waits until the position behind the last of rs is reached.
func (r *replica) sees(rs []*kgo.Record) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, rec := range rs {
		require.NoError(r.t, r.WaitFor(ctx, After(rec)))
	}
}

// rows returns all rows by a snapshot.
func (r *replica) rows() map[string]string {
	r.t.Helper()
	s, err := r.Snapshot()
	require.NoError(r.t, err)
	defer s.Close()
	m := map[string]string{}
	for e, err := range s.All() {
		require.NoError(r.t, err)
		m[e.Key] = e.Value
	}
	return m
}

// holds checks the table against what was produced, by every way of reading.
func (e *env) holds(r *replica) {
	e.t.Helper()
	require.Equal(e.t, e.want, r.rows())
	var keys []string
	for k, v := range e.want {
		got, ok, err := r.Get(k)
		require.NoError(e.t, err)
		require.True(e.t, ok, k)
		require.Equal(e.t, v, got)
		keys = append(keys, k, k+"-absent")
	}
	many, err := r.GetMany(keys)
	require.NoError(e.t, err)
	got := map[string]string{}
	for i, m := range many {
		require.NoError(e.t, m.Err)
		require.Equal(e.t, keys[i], m.Key)
		if m.Found {
			got[m.Key] = m.Value
		}
	}
	require.Equal(e.t, e.want, got)
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

// numbered returns pairs "prefix<i>=value<i>".
func numbered(prefix string, from, to int) []string {
	var ps []string
	for i := from; i < to; i++ {
		ps = append(ps, fmt.Sprintf("%s%d=%s-value-%d", prefix, i, prefix, i))
	}
	return ps
}

// recorder is a hook that keeps what it is told.
type recorder struct {
	mu       sync.Mutex
	statuses []Status
	batches  []BatchApplied
	readies  []string
	rebuilds []string
	verified []string
	drops    map[DropReason]int
	dropErrs []error
}

func (h *recorder) OnStatus(s Status) { h.do(func() { h.statuses = append(h.statuses, s) }) }
func (h *recorder) OnBatchApplied(b BatchApplied) {
	h.do(func() { h.batches = append(h.batches, b) })
}
func (h *recorder) OnReady(d Decision, r Reason) {
	h.do(func() { h.readies = append(h.readies, strings.TrimSpace(string(d)+" "+string(r))) })
}
func (h *recorder) OnRebuild(s RebuildStage, r Reason, _ error) {
	h.do(func() { h.rebuilds = append(h.rebuilds, string(s)+" "+string(r)) })
}
func (h *recorder) OnVerified(r Reason, deleted int) {
	h.do(func() { h.verified = append(h.verified, fmt.Sprint(r, " ", deleted)) })
}
func (h *recorder) OnDrop(_ string, _ int32, _ int64, r DropReason, err error) {
	h.do(func() {
		if h.drops == nil {
			h.drops = map[DropReason]int{}
		}
		h.drops[r]++
		if err != nil {
			h.dropErrs = append(h.dropErrs, err)
		}
	})
}

func (h *recorder) do(fn func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	fn()
}

// states returns the states that were seen, without repetitions.
func (h *recorder) states() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []string
	for _, s := range h.statuses {
		text := strings.TrimSpace(s.State.String() + " " + string(s.Reason))
		if len(all) == 0 || all[len(all)-1] != text {
			all = append(all, text)
		}
	}
	return all
}

func (h *recorder) dropped() map[DropReason]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.drops)
}

func (h *recorder) list(of func() []string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), of()...)
}
