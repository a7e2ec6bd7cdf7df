package globaltable_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/globaltable"
	"github.com/globaltable/enrich/internal/kafkatest"
)

// patience bounds every wait of a history.
const patience = 30 * time.Second

// player plays a story to a table and compares what that answers with the model.
type player struct {
	t      *testing.T
	s      *story
	b      *kafkatest.Broker
	seen   *sightings
	log    *tail
	at     int // step
	topic  string
	in     string // topic of readings
	group  string
	m      *model
	rng    *rand.Rand // of the disk
	cl     *kgo.Client
	txn    *kgo.Client
	inTxn  bool
	oldTxn bool // its client knows the topic as it was
	fs     *vfs.MemFS
	table  *running
	with   options // of the table
	worker *worker
	sent   []string // what has to become of the readings, see outcomes
	got    *outcomes
}

// running is a table that runs.
type running struct {
	*globaltable.Table[string, string]
	cancel  context.CancelFunc
	done    chan struct{}
	err     error
	batches *batches
}

// play plays a story on a fake of its own.
func play(t *testing.T, s *story, seen *sightings) {
	b := kafkatest.Fake(t, kfake.NumBrokers(s.nodes))
	b.Fake().ControlKey(kmsg.Fetch.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		b.Fake().KeepControl()
		for _, t := range req.(*kmsg.FetchRequest).Topics {
			for i := range t.Partitions {
				t.Partitions[i].PartitionMaxBytes = s.fetchBytes
			}
		}
		return nil, nil, false
	})
	playOn(t, b, s, seen)
}

func playOn(t *testing.T, b *kafkatest.Broker, s *story, seen *sightings) {
	p := &player{
		t: t, s: s, b: b, seen: seen, log: &tail{}, rng: rand.New(rand.NewPCG(s.seed, 2)), fs: vfs.NewCrashableMem(),
		group: kafkatest.Unique("history"), got: &outcomes{of: map[string]string{}},
	}
	t.Cleanup(func() {
		if p.worker != nil {
			p.worker.cancel()
			<-p.worker.done
		}
		if p.table != nil {
			p.table.cancel()
			<-p.table.done
			_ = p.table.Close()
		}
		p.disconnect()
		if b.Real() {
			_, err := b.Admin(t).DeleteTopic(p.ctx(), p.topic)
			require.NoError(t, err)
		}
		if t.Failed() {
			t.Logf("log of the table and the join, its end:\n%s\n%s\nagain: go test ./globaltable -run '%s$' -history.seed=%d",
				p.log, s.show(p.at), strings.Split(t.Name(), "/")[0], s.seed)
		}
	})
	p.in = b.CreateTopic(t, "readings", int32(s.readings), -1, nil)
	p.topic = kafkatest.Unique("devices")
	p.create(s.partitions)
	for i, st := range s.steps {
		p.at = i
		p.do(st)
	}
	seen.add("histories", 1)
}

func (p *player) do(s step) {
	switch s.do {
	case doOpen:
		p.open(s.options)
	case doClose:
		p.close(s.how, s.n)
	case doPut:
		p.m.add(s.recs, p.produce(p.cl, s.recs), committed)
	case doTxn:
		p.begin(s.recs)
		p.end(s.commit)
	case doBegin:
		p.begin(s.recs)
		p.seen.add("transactions left open", 1)
	case doEnd:
		p.end(s.commit)
	case doCheck:
		p.check()
	case doRead:
		p.read(s.left, s.recs)
	case doCompact:
		p.compact()
	case doAddPartitions:
		p.addPartitions(s.n)
	case doRecreate:
		p.recreate(s.n)
	case doDeleteRecords:
		p.deleteRecords(s.n, s.share)
	case doMoveLeader:
		p.moveLeader(int32(s.n))
	}
}

func (p *player) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	p.t.Cleanup(cancel)
	return ctx
}

// until waits for something that the table or a broker does.
func (p *player) until(what string, cond func() bool) {
	p.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for !cond() {
		select {
		case <-tick.C:
		case <-late:
			p.t.Fatalf("still waiting until %s: %s", what, p.stats())
		}
	}
}

func (p *player) stats() string {
	if p.table == nil {
		return "no table"
	}
	return p.table.Stats().String()
}

// The topic.

func (p *player) create(partitions int) {
	configs := map[string]string{"cleanup.policy": p.s.policy, "retention.ms": "-1"}
	if p.s.forgets {
		configs["delete.retention.ms"] = "0"
	}
	var id globaltable.TopicID
	if fake := p.b.Fake(); fake != nil {
		require.NoError(p.t, fake.CreateTopic(p.topic, int32(partitions), configs))
		id = fake.TopicInfo(p.topic).TopicID
	} else {
		values := map[string]*string{}
		for name, v := range configs {
			values[name] = &v
		}
		adm := p.b.Admin(p.t)
		p.until("the topic is made", func() bool {
			resp, err := adm.CreateTopic(p.ctx(), int32(partitions), -1, values, p.topic)
			id = globaltable.TopicID(resp.ID)
			return err == nil
		})
		p.b.AwaitTopic(p.t, p.topic, int32(partitions))
	}
	p.m = newModel(id, partitions)
	p.connect()
}

// connect makes clients that know the topic as it is now.
func (p *player) connect() {
	p.disconnect()
	p.cl = p.client(kgo.ProducerBatchMaxBytes(p.s.batchBytes + 4096))
}

func (p *player) client(opts ...kgo.Opt) *kgo.Client {
	cl, err := kgo.NewClient(append(append(p.b.Opts(), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0),
		kgo.MetadataMinAge(10*time.Millisecond)), opts...)...)
	require.NoError(p.t, err)
	return cl
}

func (p *player) disconnect() {
	for _, cl := range []*kgo.Client{p.cl, p.txn} {
		if cl != nil {
			cl.Close()
		}
	}
	p.cl, p.txn, p.oldTxn = nil, nil, false
}

func (p *player) produce(cl *kgo.Client, rs []rec) []*kgo.Record {
	p.t.Helper()
	var out []*kgo.Record
	for _, r := range rs {
		k := &kgo.Record{Topic: p.topic, Partition: r.partition, Key: []byte(r.key), Value: []byte(r.value)}
		if r.nullKey {
			k.Key = nil
		}
		if r.deletes {
			k.Value = nil
		}
		out = append(out, k)
	}
	require.NoError(p.t, cl.ProduceSync(p.ctx(), out...).FirstErr())
	p.seen.add("records", len(rs))
	return out
}

func (p *player) begin(rs []rec) {
	if p.txn == nil {
		p.txn = p.client(kgo.TransactionalID(kafkatest.Unique("history")))
	}
	require.NoError(p.t, p.txn.BeginTransaction())
	p.inTxn = true
	p.m.add(rs, p.produce(p.txn, rs), undecided)
}

func (p *player) end(commit bool) {
	require.NoError(p.t, p.txn.EndTransaction(p.ctx(), kgo.TransactionEndTry(commit)))
	p.m.decide(commit)
	p.inTxn = false
	if p.oldTxn {
		p.txn.Close()
		p.txn, p.oldTxn = nil, false
	}
	if commit {
		p.seen.add("transactions committed", 1)
	} else {
		p.seen.add("transactions aborted", 1)
	}
}

func (p *player) compact() {
	fake := p.b.Fake()
	if fake == nil {
		return // it comes when it likes
	}
	if p.s.forgets && p.table != nil {
		// A table that is behind misses deletions then, as documented.
		p.caughtUp()
	}
	fake.Compact()
	// The fake removes the marker of an aborted transaction and goes on to tell
	// of the transaction: what its producer commits later would be taken for
	// aborted.
	if p.txn != nil {
		p.txn.Close()
		p.txn = nil
	}
	p.seen.add("compactions", 1)
}

func (p *player) addPartitions(to int) {
	_, err := kadm.NewClient(p.cl).UpdatePartitions(p.ctx(), to, p.topic)
	require.NoError(p.t, err)
	if p.b.Real() {
		p.b.AwaitTopic(p.t, p.topic, int32(to))
	}
	p.m.grow(to)
	if p.inTxn {
		p.cl.Close()
		p.cl, p.oldTxn = p.client(), true
	} else {
		p.connect()
	}
	p.moveLeader(0) // the table looks at the topic again then, and not after 5 s
	p.seen.add("partitions added", 1)
	if p.table != nil {
		p.seen.add("partitions added while running", 1)
	}
}

func (p *player) moveLeader(partition int32) {
	fake := p.b.Fake()
	if fake == nil {
		return
	}
	now := fake.LeaderFor(p.topic, partition)
	require.NoError(p.t, fake.MoveTopicPartition(p.topic, partition, (now+1)%int32(p.s.nodes)))
	p.seen.add("leaders moved", 1)
}

func (p *player) recreate(partitions int) {
	p.disconnect()
	if fake := p.b.Fake(); fake != nil {
		require.NoError(p.t, fake.DeleteTopic(p.topic))
	} else {
		_, err := p.b.Admin(p.t).DeleteTopic(p.ctx(), p.topic)
		require.NoError(p.t, err)
	}
	p.create(partitions)
	if p.table != nil {
		p.seen.add("recreations while running", 1)
	} else {
		p.seen.add("recreations while down", 1)
	}
}

func (p *player) deleteRecords(part int, share float64) {
	start, end := p.m.start[part], p.m.end(part, options{})
	to := start + int64(share*float64(end-start)+0.5)
	// The fake's compaction moves the log start up, and it refuses what is below.
	starts, err := p.b.Admin(p.t).ListStartOffsets(p.ctx(), p.topic)
	require.NoError(p.t, err)
	is, _ := starts.Lookup(p.topic, int32(part))
	require.NoError(p.t, is.Err)
	if to <= max(start, is.Offset) {
		return
	}
	req := kmsg.NewDeleteRecordsRequest()
	rt := kmsg.NewDeleteRecordsRequestTopic()
	rp := kmsg.NewDeleteRecordsRequestTopicPartition()
	rp.Partition, rp.Offset = int32(part), to
	rt.Topic, rt.Partitions = p.topic, append(rt.Partitions, rp)
	req.Topics, req.TimeoutMillis = append(req.Topics, rt), 10_000
	resp, err := req.RequestWith(p.ctx(), p.cl)
	require.NoError(p.t, err)
	require.Zero(p.t, resp.Topics[0].Partitions[0].ErrorCode)
	p.m.start[part] = to
	p.seen.add("deleted beginnings", 1)
}

// The table.

func (p *player) open(o options) {
	h := &batches{wake: make(chan struct{}, 1)}
	opts := append([]globaltable.Opt{
		globaltable.Brokers(p.b.Addrs()...), globaltable.Kafka(p.b.Opts()...), globaltable.FileSystem(p.fs), globaltable.Dir("/table"),
		globaltable.Logger(p.log.logger()), globaltable.Hooks(h),
	}, o.opts()...)
	tb, err := globaltable.Open(p.topic, o.keys(), codec.String(), opts...)
	require.NoError(p.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Table: tb, cancel: cancel, done: make(chan struct{}), batches: h}
	go func() {
		defer close(r.done)
		r.err = tb.Run(ctx)
	}()
	p.table, p.with = r, o
	p.seen.add("starts", 1)
}

// tune sets what the store has of its own.
func (o options) tune(po *pebble.Options) {
	po.MemTableSize, po.L0CompactionThreshold = o.memtable, o.level0
}

// batches counts what was applied.
type batches struct {
	n    atomic.Int64
	wake chan struct{}
}

// OnBatchApplied implements [globaltable.HookBatch].
func (h *batches) OnBatchApplied(globaltable.BatchApplied) {
	h.n.Add(1)
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// close ends the table when it has applied some batches, or has everything.
func (p *player) close(how string, after int) {
	if after > 0 {
		ctx, cancel := context.WithCancel(p.ctx())
		all := make(chan struct{})
		go func() {
			defer close(all)
			for i := range p.m.parts {
				_ = p.table.WaitFor(ctx, p.position(i))
			}
		}()
		for waiting := true; waiting && p.table.batches.n.Load() < int64(after); {
			select {
			case <-p.table.batches.wake:
			case <-all:
				waiting = false
			}
		}
		cancel()
		<-all
	}
	p.stopJoin()
	if how == byCrash {
		crashed := p.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: p.rng.IntN(101), RNG: p.rng})
		defer func() { p.fs = crashed }()
	}
	r, stats := p.table, p.table.Stats()
	p.table = nil
	if how != byClose {
		r.cancel()
		<-r.done
		require.NoError(p.t, r.err)
	}
	require.NoError(p.t, r.Close())
	<-r.done
	if how == byClose {
		require.ErrorIs(p.t, r.err, globaltable.ErrClosed)
	}
	_, _, err := r.Get("a")
	require.ErrorIs(p.t, err, globaltable.ErrClosed)
	p.seen.add(map[string]string{byCancel: "cancels", byClose: "closes", byCrash: "crashes"}[how], 1)
	p.seen.add("bulk loads", int(stats.BulkLoads))
	p.seen.add("rows deleted by verifications", int(stats.Verified))
	p.seen.add("verifications", int(stats.Verifications))
	p.seen.add("rebuilds", int(stats.Rebuilds))
}

// position is the end of what can be seen of a partition.
func (p *player) position(i int) globaltable.Position {
	return globaltable.Position{Topic: p.topic, TopicID: p.m.id, Partition: int32(i), Offset: p.m.end(i, p.with)}
}

// caughtUp waits until the table has everything and is sure of it.
func (p *player) caughtUp() {
	p.t.Helper()
	for i := range p.m.parts {
		for at := p.position(i); at.Offset > 0; {
			err := p.table.WaitFor(p.ctx(), at)
			if _, other := errors.AsType[*globaltable.PositionError](err); other && p.table.Stats().TopicID != p.m.id {
				// It has not seen yet that the topic is another one.
				p.until("the topic is seen", func() bool { return p.table.Stats().TopicID == p.m.id })
				continue
			}
			require.NoError(p.t, err, p.stats())
			break
		}
	}
	p.until("the table is ready", func() bool {
		s := p.table.Stats()
		return s.Status.State == globaltable.Ready && s.TopicID == p.m.id
	})
	if fake := p.b.Fake(); fake != nil {
		p.until("the positions are the ends", func() bool { return p.atEnds(fake) })
	}
}

// atEnds compares the positions with the ends that a fake has.
func (p *player) atEnds(fake *kfake.Cluster) bool {
	at := map[int32]int64{}
	for _, pos := range p.table.Positions() {
		at[pos.Partition] = pos.Offset
	}
	for _, info := range fake.PartitionInfos(p.topic) {
		end := info.LastStableOffset
		if p.with.uncommitted {
			end = info.HighWatermark
		}
		if got, ok := at[info.Partition]; !ok || got != end {
			return false
		}
	}
	return len(at) == len(p.m.parts)
}

// check compares what the table answers, by all ways of reading, with the model.
func (p *player) check() {
	p.t.Helper()
	p.caughtUp()
	want := p.m.rows(p.with)
	got := map[string]row{}
	snap, err := p.table.Snapshot()
	require.NoError(p.t, err)
	for e, err := range snap.All() {
		require.NoError(p.t, err)
		got[e.Key] = rowOf(e)
	}
	snap.Close()
	p.same(want, got, "snapshot")

	keys := slices.Sorted(maps.Keys(want))
	for i := range p.m.parts {
		for _, r := range p.m.parts[i] {
			if _, there := want[r.key]; !there && len(keys) < 2*len(want)+20 {
				keys = append(keys, r.key) // it was there, or never
			}
		}
	}
	for range 2 { // read, and kept
		clear(got)
		many, err := p.table.GetMany(keys)
		require.NoError(p.t, err)
		for i, r := range many {
			require.NoError(p.t, r.Err)
			require.Equal(p.t, keys[i], r.Key)
			if r.Found {
				got[r.Key] = rowOf(r.Entry)
			}
		}
		p.same(want, got, "get many")
		clear(got)
		for _, k := range keys {
			e, ok, err := p.table.GetEntry(k)
			require.NoError(p.t, err)
			v, okToo, err := p.table.Get(k)
			require.NoError(p.t, err)
			require.Equal(p.t, ok, okToo)
			require.Equal(p.t, e.Value, v)
			if ok {
				got[k] = rowOf(e)
			}
		}
		p.same(want, got, "get")
	}
	p.seen.add("checks", 1)
	p.seen.add("rows compared", len(want))
}

// same fails with what is different and nothing else.
func (p *player) same(want, got map[string]row, how string) {
	p.t.Helper()
	if maps.Equal(want, got) {
		return
	}
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if g, ok := got[k]; !ok {
			fmt.Fprintf(&b, "  lacks %q: %+v\n", k, want[k])
		} else if g != want[k] {
			fmt.Fprintf(&b, "  %q is %+v, not %+v\n", k, g, want[k])
		}
	}
	for _, k := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[k]; !ok {
			fmt.Fprintf(&b, "  %q should not be there: %+v\n", k, got[k])
		}
	}
	p.t.Fatalf("%s differs from the fold:\n%s%s", how, &b, p.stats())
}

// tail keeps the end of a log.
type tail struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *tail) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.buf.Len() > 1<<16 {
		l.buf.Next(1 << 15)
	}
	return l.buf.Write(b)
}

func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buf.Bytes()
	return string(b[max(0, len(b)-6000):])
}

func (l *tail) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }
