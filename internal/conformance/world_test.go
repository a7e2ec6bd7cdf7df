package conformance

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/globaltable"
	"github.com/globaltable/enrich/internal/kafkatest"
)

// patienceEnv bounds every wait. TestMutations makes it short: a row that waits
// for what a mutation keeps from coming is red all the same.
const patienceEnv = "ENRICH_CONFORMANCE_PATIENCE"

func patience() time.Duration {
	if d, err := time.ParseDuration(os.Getenv(patienceEnv)); err == nil {
		return d
	}
	return 30 * time.Second
}

// The table of most rows has texts for keys and values.
type (
	table = globaltable.Table[string, string]
	entry = globaltable.Entry[string, string]
)

// A world is a topic and what its records fold to.
type world struct {
	t      *testing.T
	broker *kafkatest.Broker
	topic  string
	want   map[string]string
}

// fake is a world on the broker inside the process.
func fake(t *testing.T, partitions int32) *world {
	t.Helper()
	return newWorld(t, kafkatest.Fake(t), partitions, kafkatest.Compacted())
}

// deletable is fake for records that can be deleted by hand: a topic that is
// compacted only does not let them be.
func deletable(t *testing.T) *world {
	t.Helper()
	return newWorld(t, kafkatest.Fake(t), 1, map[string]string{"cleanup.policy": "compact,delete"})
}

// both runs a body on the broker inside the process and on a real Kafka.
func both(t *testing.T, partitions int32, body func(t *testing.T, w *world)) {
	t.Helper()
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) { body(t, newWorld(t, b, partitions, kafkatest.Compacted())) })
}

func newWorld(t *testing.T, b *kafkatest.Broker, partitions int32, configs map[string]string) *world {
	t.Helper()
	return &world{t: t, broker: b, topic: b.CreateTopic(t, "devices", partitions, -1, configs), want: map[string]string{}}
}

// beside is another topic of the same broker, of one partition.
func (w *world) beside() *world {
	w.t.Helper()
	return newWorld(w.t, w.broker, 1, kafkatest.Compacted())
}

func ctxOf(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience())
	t.Cleanup(cancel)
	return ctx
}

// records makes records of pairs: "key=value", and "key" is a tombstone.
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

// fold is what a table holds after the records.
func fold(m map[string]string, rs []*kgo.Record) map[string]string {
	for _, r := range rs {
		if r.Value == nil {
			delete(m, string(r.Key))
		} else {
			m[string(r.Key)] = string(r.Value)
		}
	}
	return m
}

// put produces pairs and folds them.
func (w *world) put(pairs ...string) []*kgo.Record {
	w.t.Helper()
	rs := records(w.topic, pairs...)
	w.broker.Produce(w.t, rs...)
	fold(w.want, rs)
	return rs
}

// putTo is put for one partition.
func (w *world) putTo(partition int32, pairs ...string) []*kgo.Record {
	w.t.Helper()
	rs := records(w.topic, pairs...)
	w.broker.ProduceTo(w.t, partition, rs...)
	fold(w.want, rs)
	return rs
}

// txn produces pairs in a transaction, and folds them if it commits.
func (w *world) txn(commit bool, pairs ...string) {
	w.t.Helper()
	rs := records(w.topic, pairs...)
	kafkatest.ProduceTxn(w.t, w.broker, commit, rs...)
	if commit {
		fold(w.want, rs)
	}
}

// numbered makes pairs of a prefix and a number.
func numbered(prefix string, n int) []string {
	var ps []string
	for i := range n {
		ps = append(ps, fmt.Sprintf("%s%d=%s-value-%d", prefix, i, prefix, i))
	}
	return ps
}

func (w *world) deleteTopic() {
	w.t.Helper()
	_, err := w.broker.Admin(w.t).DeleteTopic(ctxOf(w.t), w.topic)
	require.NoError(w.t, err)
	clear(w.want)
}

func (w *world) createAgain() {
	w.t.Helper()
	compact := "compact"
	// Kafka refuses the name until the old topic is gone on every broker.
	require.Eventually(w.t, func() bool {
		_, err := w.broker.Admin(w.t).CreateTopic(ctxOf(w.t), 1, -1, map[string]*string{"cleanup.policy": &compact}, w.topic)
		return err == nil
	}, patience(), 20*time.Millisecond)
	w.broker.AwaitTopic(w.t, w.topic, 1)
}

// recreate deletes the topic and creates it again, empty, with one partition.
func (w *world) recreate() {
	w.t.Helper()
	w.deleteTopic()
	w.createAgain()
}

// deleteRecords moves the log start of partition 0, and forgets keys below it.
func (w *world) deleteRecords(before int64, keys ...string) {
	w.t.Helper()
	req := kmsg.NewDeleteRecordsRequest()
	rt := kmsg.NewDeleteRecordsRequestTopic()
	rp := kmsg.NewDeleteRecordsRequestTopicPartition()
	rp.Partition, rp.Offset = 0, before
	rt.Topic, rt.Partitions = w.topic, append(rt.Partitions, rp)
	req.Topics, req.TimeoutMillis = append(req.Topics, rt), 10_000
	resp, err := req.RequestWith(ctxOf(w.t), w.broker.Client(w.t))
	require.NoError(w.t, err)
	require.Zero(w.t, resp.Topics[0].Partitions[0].ErrorCode)
	for _, k := range keys {
		delete(w.want, k)
	}
}

// events is a hook that keeps what it is told.
type events struct {
	mu       sync.Mutex
	states   []string // without repetitions
	batches  []globaltable.BatchApplied
	readies  []string
	rebuilds []string
	verified []string
	drops    map[globaltable.DropReason]int
	errs     []error // of drops
}

func (e *events) do(fn func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	fn()
}

// OnStatus implements [globaltable.HookStatus].
func (e *events) OnStatus(s globaltable.Status) {
	e.do(func() {
		text := strings.TrimSpace(s.State.String() + " " + string(s.Reason))
		if len(e.states) == 0 || e.states[len(e.states)-1] != text {
			e.states = append(e.states, text)
		}
	})
}

// OnBatchApplied implements [globaltable.HookBatch].
func (e *events) OnBatchApplied(b globaltable.BatchApplied) {
	e.do(func() { e.batches = append(e.batches, b) })
}

// OnReady implements [globaltable.HookReady].
func (e *events) OnReady(d globaltable.Decision, r globaltable.Reason) {
	e.do(func() { e.readies = append(e.readies, strings.TrimSpace(string(d)+" "+string(r))) })
}

// OnRebuild implements [globaltable.HookRebuild].
func (e *events) OnRebuild(s globaltable.RebuildStage, r globaltable.Reason, _ error) {
	e.do(func() { e.rebuilds = append(e.rebuilds, string(s)+" "+string(r)) })
}

// OnVerified implements [globaltable.HookVerify].
func (e *events) OnVerified(r globaltable.Reason, deleted int) {
	e.do(func() { e.verified = append(e.verified, fmt.Sprint(r, " ", deleted)) })
}

// OnDrop implements [globaltable.HookDrop].
func (e *events) OnDrop(_ string, _ int32, _ int64, r globaltable.DropReason, err error) {
	e.do(func() {
		if e.drops == nil {
			e.drops = map[globaltable.DropReason]int{}
		}
		e.drops[r]++
		if err != nil {
			e.errs = append(e.errs, err)
		}
	})
}

func (e *events) list(of func() []string) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(of())
}

func (e *events) dropped() map[globaltable.DropReason]int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return maps.Clone(e.drops)
}

// rows is how many rows all batches had.
func (e *events) rows() (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, b := range e.batches {
		n += b.Rows
	}
	return n
}

// A replica is a table that runs.
type replica struct {
	*table
	t      *testing.T
	events *events
	cancel context.CancelFunc
	done   chan struct{}
	err    error // of Run, once done is closed
}

// opts are the options of most tables; of what is given twice the later counts.
func (w *world) opts(more ...globaltable.Opt) []globaltable.Opt {
	return append([]globaltable.Opt{
		globaltable.Brokers(w.broker.Addrs()...), globaltable.Kafka(w.broker.Opts()...),
		// kgo's own pauses between tries are long for tests.
		globaltable.Kafka(kgo.RetryBackoffFn(func(int) time.Duration { return 5 * time.Millisecond })),
		globaltable.RebuildJitter(0),
	}, more...)
}

// open opens a table and runs it. more has to say where its rows are.
func (w *world) open(more ...globaltable.Opt) *replica {
	w.t.Helper()
	seen := &events{}
	tb, err := globaltable.Open(w.topic, codec.String(), codec.String(), w.opts(append(more, globaltable.Hooks(seen))...)...)
	require.NoError(w.t, err)
	return run(w.t, tb, seen)
}

func run(t *testing.T, tb *table, seen *events) *replica {
	ctx, cancel := context.WithCancel(context.Background())
	r := &replica{table: tb, t: t, events: seen, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = tb.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case <-r.done:
			_ = tb.Close()
		case <-time.After(patience()):
			t.Errorf("Run does not end: %s", tb.Stats())
		}
	})
	return r
}

// memory is where most tables have their rows.
func memory() globaltable.Opt { return globaltable.InMemory() }

// ready opens a table, runs it and waits until it is ready.
func (w *world) ready(more ...globaltable.Opt) *replica {
	w.t.Helper()
	r := w.open(more...)
	r.waitReady()
	return r
}

func (r *replica) waitReady() {
	r.t.Helper()
	require.NoError(r.t, r.WaitReady(ctxOf(r.t)), "%s", lazy(r.stats))
}

func (r *replica) stats() string { return r.Stats().String() }

type lazy func() string

func (l lazy) String() string { return l() }

// runErr waits for the end of Run.
func (r *replica) runErr() error {
	r.t.Helper()
	select {
	case <-r.done:
		return r.err
	case <-time.After(patience()):
		r.t.Fatalf("Run does not end: %s", r.Stats())
		return nil
	}
}

// stop ends the table cleanly.
func (r *replica) stop() {
	r.t.Helper()
	r.cancel()
	require.NoError(r.t, r.runErr())
	require.NoError(r.t, r.Close())
}

// until waits for something that the table does.
func (r *replica) until(what string, cond func() bool) {
	r.t.Helper()
	require.Eventually(r.t, cond, patience(), 2*time.Millisecond, "%s: %s", what, lazy(r.stats))
}

// sees waits until the records are visible.
func (r *replica) sees(rs []*kgo.Record) {
	r.t.Helper()
	for _, rec := range rs {
		require.NoError(r.t, r.WaitFor(ctxOf(r.t), globaltable.After(rec)))
	}
}

// rows are those of a snapshot.
func (r *replica) rows() map[string]string {
	r.t.Helper()
	m, err := rowsOf(r.table)
	require.NoError(r.t, err)
	return m
}

func rowsOf(tb *table) (map[string]string, error) {
	s, err := tb.Snapshot()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	m := map[string]string{}
	for e, err := range s.All() {
		if err != nil {
			return nil, err
		}
		m[e.Key] = e.Value
	}
	return m, nil
}

// holds compares the table with what was produced, by every way of reading.
func (w *world) holds(r *replica) {
	w.t.Helper()
	require.Equal(w.t, w.want, r.rows())
	for k, v := range w.want {
		got, ok, err := r.Get(k)
		require.NoError(w.t, err)
		require.True(w.t, ok, k)
		require.Equal(w.t, v, got)
	}
	keys := slices.Sorted(maps.Keys(w.want))
	many, err := r.GetMany(keys)
	require.NoError(w.t, err)
	for _, m := range many {
		require.NoError(w.t, m.Err)
		require.True(w.t, m.Found, m.Key)
		require.Equal(w.t, w.want[m.Key], m.Value)
	}
}

// offsets are a table's positions by partition.
func offsets(tb *table) map[int32]int64 {
	m := map[int32]int64{}
	for _, p := range tb.Positions() {
		m[p.Partition] = p.Offset
	}
	return m
}

// on places a table in a file system in memory.
func on(fs vfs.FS, more ...globaltable.Opt) []globaltable.Opt {
	return append([]globaltable.Opt{globaltable.FileSystem(fs), globaltable.Dir("/table")}, more...)
}

// nowhere is an address at which no broker listens.
const nowhere = "127.0.0.1:1"

// stored opens the table of a directory without any broker and returns its
// positions and rows: what is there, and nothing that was read since. ok is false
// if there is nothing that could answer.
func stored(t *testing.T, topic string, where ...globaltable.Opt) (at map[int32]int64, rows map[string]string, ok bool) {
	t.Helper()
	opts := append([]globaltable.Opt{globaltable.Brokers(nowhere), globaltable.AllowStale(time.Hour)}, where...)
	tb, err := globaltable.Open(topic, codec.String(), codec.String(), opts...)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tb.Run(ctx) }()
	// It is decided before a broker is asked, which shows in the status.
	require.Eventually(t, func() bool { s := tb.Status(); return s.Err != nil || s.State == globaltable.Stale }, patience(), time.Millisecond)
	at = offsets(tb)
	rows, err = rowsOf(tb)
	cancel()
	require.NoError(t, <-done)
	require.NoError(t, tb.Close())
	return at, rows, err == nil
}

// A crashable keeps, as a disk does, only what was synced.
type crashable struct{ *vfs.MemFS }

func newCrashable() crashable { return crashable{vfs.NewCrashableMem()} }

// crash is what a crash at this moment leaves.
func (c crashable) crash() *vfs.MemFS { return c.CrashClone(vfs.CrashCloneCfg{}) }
