package scenario

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/globaltable"
	"github.com/globaltable/enrich/internal/kafkatest"
)

// patience bounds every wait.
const patience = 60 * time.Second

// A world is a topic, what its records fold to, and a table of it.
type world struct {
	t      *testing.T
	broker *kafkatest.Broker
	topic  string
	parts  []map[string]string // what each partition folds to
	ends   map[int32]*kgo.Record
	open   *transaction
	dir    string
	table  *running
	poison string // values that begin so are no rows
	disk   *disk  // in memory; nil for the real one
	net    network
	// registry says that what decodes some values is away.
	registry   atomic.Bool
	descriptor []byte // of a table that was made another release's
	readings   string // the topic of a stream
	group      string
}

// A transaction is not over yet.
type transaction struct {
	client  *kgo.Client
	records []*kgo.Record
}

// A running table.
type running struct {
	*globaltable.Table[string, string]
	cancel context.CancelFunc
	done   chan struct{}
	err    error
	drops  drops
	// applied counts the rows that were written since it was opened.
	applied atomic.Int64
}

// OnBatchApplied implements [globaltable.HookBatch].
func (r *running) OnBatchApplied(b globaltable.BatchApplied) { r.applied.Add(int64(b.Rows)) }

// drops counts what a table drops, by reason.
type drops struct {
	mu sync.Mutex
	n  map[globaltable.DropReason]int
}

// OnDrop implements [globaltable.HookDrop].
func (d *drops) OnDrop(_ string, _ int32, _ int64, r globaltable.DropReason, _ error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.n == nil {
		d.n = map[globaltable.DropReason]int{}
	}
	d.n[r]++
}

func newWorld(t *testing.T, b *kafkatest.Broker) *world {
	w := &world{t: t, broker: b, group: kafkatest.Unique("scenario"), dir: filepath.Join(t.TempDir(), "table"), ends: map[int32]*kgo.Record{}}
	t.Cleanup(func() {
		if w.table != nil {
			w.table.cancel()
			<-w.table.done
			_ = w.table.Close()
		}
		if w.open != nil {
			w.open.client.Close()
		}
	})
	return w
}

func (w *world) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	w.t.Cleanup(cancel)
	return ctx
}

func (w *world) create(partitions int32, configs map[string]string) {
	w.topic = w.broker.CreateTopic(w.t, "devices", partitions, -1, configs)
	w.fresh(partitions)
}

// createNamed creates the topic by the name that it has already.
func (w *world) createNamed(configs map[string]string) {
	values := map[string]*string{}
	for k, v := range configs {
		values[k] = &v
	}
	_, err := w.broker.Admin(w.t).CreateTopic(w.ctx(), 2, -1, values, w.topic)
	require.NoError(w.t, err)
	w.broker.AwaitTopic(w.t, w.topic, 2)
	w.fresh(2)
}

// fresh forgets what was written.
func (w *world) fresh(partitions int32) {
	w.parts, w.ends = nil, map[int32]*kgo.Record{}
	w.grow(partitions)
}

func (w *world) grow(partitions int32) {
	for len(w.parts) < int(partitions) {
		w.parts = append(w.parts, map[string]string{})
	}
}

// records reads lines: "key=value", "key" for a tombstone, "<null>=value" for a
// record without a key, and "\x00" and the like as in Go.
func (w *world) records(lines string) []*kgo.Record {
	var rs []*kgo.Record
	for line := range strings.SplitSeq(strings.TrimSpace(lines), "\n") {
		k, v, ok := strings.Cut(line, "=")
		r := &kgo.Record{Topic: w.topic, Key: unquoted(k)}
		if k == "<null>" {
			r.Key = nil
		}
		if ok {
			r.Value = []byte(v)
		}
		rs = append(rs, r)
	}
	return rs
}

// fold folds records that can be seen.
func (w *world) fold(rs []*kgo.Record) {
	for _, r := range rs {
		w.ends[r.Partition] = r
		switch {
		case r.Key == nil:
		case r.Value == nil:
			delete(w.parts[r.Partition], string(r.Key))
		default:
			w.parts[r.Partition][string(r.Key)] = string(r.Value)
		}
	}
}

// want is what the table has to hold.
func (w *world) want() map[string]string {
	all := map[string]string{}
	for _, p := range w.parts {
		for k, v := range p {
			if w.poison == "" || !strings.HasPrefix(v, w.poison) {
				all[k] = v
			}
		}
	}
	return all
}

func (w *world) begin(rs []*kgo.Record) {
	cl, err := kgo.NewClient(append(w.broker.Opts(), kgo.TransactionalID(kafkatest.Unique("open")))...)
	require.NoError(w.t, err)
	w.open = &transaction{cl, rs}
	require.NoError(w.t, cl.BeginTransaction())
	require.NoError(w.t, cl.ProduceSync(w.ctx(), rs...).FirstErr())
}

func (w *world) end(commit bool) {
	require.NoError(w.t, w.open.client.EndTransaction(w.ctx(), kgo.TransactionEndTry(commit)))
	w.open.client.Close()
	if commit {
		w.fold(w.open.records)
	}
	w.open = nil
}

// compact has the log cleaner remove what was superseded in partition 0 so far,
// tombstones too.
func (w *world) compact(from, to int64) {
	kafkatest.ForceCompaction(w.t, w.broker, w.topic, 0, from, to, func() {
		rs := []*kgo.Record{{Topic: w.topic, Key: []byte(kafkatest.FillerKey), Value: []byte(time.Now().String())}}
		w.broker.ProduceTo(w.t, 0, rs...)
		w.fold(rs)
	})
}

func (w *world) deleteTopic() {
	_, err := w.broker.Admin(w.t).DeleteTopic(w.ctx(), w.topic)
	require.NoError(w.t, err)
}

func (w *world) createAgain(partitions int32) {
	compact := "compact"
	// Kafka refuses the name until the old topic is gone on every broker.
	require.Eventually(w.t, func() bool {
		_, err := w.broker.Admin(w.t).CreateTopic(w.ctx(), partitions, -1, map[string]*string{"cleanup.policy": &compact}, w.topic)
		return err == nil
	}, patience, 20*time.Millisecond)
	w.broker.AwaitTopic(w.t, w.topic, partitions)
	w.fresh(partitions)
}

func (w *world) addPartitions(to int32) {
	_, err := w.broker.Admin(w.t).UpdatePartitions(w.ctx(), int(to), w.topic)
	require.NoError(w.t, err)
	w.broker.AwaitTopic(w.t, w.topic, to)
	w.grow(to)
}

// deleteRecords moves the log start of a partition, and forgets the rows below.
func (w *world) deleteRecords(partition int32, before int64, keys []string) {
	w.deleteBefore(w.topic, partition, before)
	for _, k := range keys {
		delete(w.parts[partition], k)
	}
}

// expire waits until the broker has removed the old segments of partition 0, and
// forgets the rows in them. The newest segment stays, so that the log has to grow.
func (w *world) expire(before int64, keys []string) {
	w.retain("1")
	defer w.retain("-1")
	w.until("segments expire", func() bool {
		rs := []*kgo.Record{{Topic: w.topic, Key: []byte(kafkatest.FillerKey), Value: []byte(time.Now().String())}}
		w.broker.ProduceTo(w.t, 0, rs...)
		w.fold(rs)
		starts, err := w.broker.Admin(w.t).ListStartOffsets(w.ctx(), w.topic)
		require.NoError(w.t, err)
		at, _ := starts.Lookup(w.topic, 0)
		return at.Offset >= before
	})
	for _, k := range keys {
		delete(w.parts[0], k)
	}
}

// retain sets the topic's retention.ms.
func (w *world) retain(ms string) {
	resp, err := w.broker.Admin(w.t).AlterTopicConfigs(w.ctx(), []kadm.AlterConfig{{Name: "retention.ms", Value: &ms}}, w.topic)
	require.NoError(w.t, err)
	for _, r := range resp {
		require.NoError(w.t, r.Err)
	}
}

// deleteBefore moves the log start of a partition.
func (w *world) deleteBefore(topic string, partition int32, before int64) {
	req := kmsg.NewDeleteRecordsRequest()
	rt := kmsg.NewDeleteRecordsRequestTopic()
	rp := kmsg.NewDeleteRecordsRequestTopicPartition()
	rp.Partition, rp.Offset = partition, before
	rt.Topic, rt.Partitions = topic, append(rt.Partitions, rp)
	req.Topics, req.TimeoutMillis = append(req.Topics, rt), 10_000
	resp, err := req.RequestWith(w.ctx(), w.broker.Client(w.t))
	require.NoError(w.t, err)
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			require.Zero(w.t, p.ErrorCode)
		}
	}
}

// run opens the table and runs it. The error is that of opening it.
func (w *world) run(opts ...globaltable.Opt) error {
	r := &running{done: make(chan struct{})}
	opts = append([]globaltable.Opt{
		globaltable.Brokers(w.broker.Addrs()...), globaltable.Kafka(w.broker.Opts()...), globaltable.Kafka(kgo.Dialer(w.net.dial)), globaltable.Dir(w.dir),
		globaltable.Logger(slog.New(slog.DiscardHandler)), globaltable.Hooks(&r.drops, r),
	}, opts...)
	if w.disk != nil {
		opts = append(opts, globaltable.FileSystem(errorfs.Wrap(w.disk.mem, w.disk)))
	}
	tb, err := globaltable.Open(w.topic, codec.String(), values{codec.String(), &w.registry}, opts...)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.Table, r.cancel = tb, cancel
	go func() {
		defer close(r.done)
		r.err = tb.Run(ctx)
	}()
	w.table = r
	return nil
}

// stop ends the table and tells how Run ended.
func (w *world) stop() error {
	began := time.Now()
	w.table.cancel()
	<-w.table.done
	require.Less(w.t, time.Since(began), patience)
	err := w.table.err
	require.NoError(w.t, w.table.Close())
	w.table = nil
	return err
}

// until waits for something that the table does.
func (w *world) until(what string, cond func() bool) {
	require.Eventually(w.t, cond, patience, 2*time.Millisecond, "%s: %s", what, stats{w.table})
}

type stats struct{ *running }

func (s stats) String() string { return s.Stats().String() }

// caughtUp waits until everything was seen that can be.
func (w *world) caughtUp() {
	for _, r := range w.ends {
		require.NoError(w.t, w.table.WaitFor(w.ctx(), globaltable.After(r)), "%s", stats{w.table})
	}
}

// rows are those of a snapshot, besides the ones that keep a log growing.
func (w *world) rows() map[string]string {
	s, err := w.table.Snapshot()
	require.NoError(w.t, err)
	defer s.Close()
	m := map[string]string{}
	for e, err := range s.All() {
		require.NoError(w.t, err)
		m[e.Key] = e.Value
	}
	return m
}

// show lists rows, and says if they are not what was produced.
func (w *world) show(rows, want map[string]string) string {
	rows, want = maps.Clone(rows), maps.Clone(want)
	delete(rows, kafkatest.FillerKey)
	delete(want, kafkatest.FillerKey)
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(rows)) {
		fmt.Fprintf(&b, "%s=%s\n", quoted(k), rows[k])
	}
	if len(rows) == 0 {
		b.WriteString("none\n")
	}
	if !maps.Equal(rows, want) {
		fmt.Fprintf(&b, "WRONG, produced were %v\n", want)
	}
	return b.String()
}
