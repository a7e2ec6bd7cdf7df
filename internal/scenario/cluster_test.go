package scenario

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/globaltable/enrich/globaltable"
	"github.com/globaltable/enrich/internal/kafkatest"
)

var (
	restartsFor   = flag.Duration("restarts", 10*time.Second, "how long brokers are restarted under updates and lookups")
	restartsEvery = flag.Duration("restarts.every", 3*time.Second, "how often")
)

// Histories of a real cluster of three brokers.
func TestScenarioOfThreeBrokers(t *testing.T) {
	c := kafkatest.StartCluster(t, 3)
	t.Run("leader_change", func(t *testing.T) { leaderChange(t, c) })
	t.Run("unclean_leader_truncates_the_log", func(t *testing.T) { uncleanLeader(t, c) })
	t.Run("brokers_restart_under_updates", func(t *testing.T) { restarts(t, c) })
}

// leader returns the index of the broker that leads a partition.
func (w *world) leader(partition int32) int {
	ts, err := w.broker.Admin(w.t).ListTopics(w.ctx(), w.topic)
	require.NoError(w.t, err)
	return int(ts[w.topic].Partitions[partition].Leader) - 1
}

// A leader that is killed costs nothing but time: no record twice, none missing, no
// rebuild.
func leaderChange(t *testing.T, c *kafkatest.Cluster) {
	w := newWorld(t, c.Broker())
	w.create(3, kafkatest.Compacted())
	put := func(lines string) {
		rs := w.records(lines)
		w.broker.Produce(t, rs...)
		w.fold(rs)
	}
	put("a=1\nb=2\nc=3\nd=4")
	require.NoError(t, w.run())
	require.NoError(t, w.table.WaitReady(w.ctx()))
	down := w.leader(0)
	c.Kill(down)
	put("a=5\nb\ne=6")
	w.caughtUp()
	require.Equal(t, w.want(), w.rows())
	c.Start(down)
	c.AwaitInSync(w.topic)
	put("a=7\nc")
	w.caughtUp()
	require.Equal(t, w.want(), w.rows())
	s := w.table.Stats()
	require.Equal(t, globaltable.Bootstrapped, s.Decision, "%s", s)
	require.Zero(t, s.Rebuilds+s.Verifications, "%s", s)
	require.EqualValues(t, 9, s.Records, "each was read once")
	require.NoError(t, w.stop())
}

// A leader that was not in sync drops what the last one had acknowledged, and others
// write to those offsets: the table has read what is not there any more, and is
// built anew.
func uncleanLeader(t *testing.T, c *kafkatest.Cluster) {
	w := newWorld(t, c.Broker())
	w.topic = kafkatest.Unique("devices")
	w.fresh(1)
	w.createOn([]int32{1, 2}, map[string]string{"cleanup.policy": "compact", "unclean.leader.election.enable": "true", "min.insync.replicas": "1"})
	put := func(lines string) {
		rs := w.records(lines)
		w.broker.Produce(t, rs...)
		w.fold(rs)
	}
	put("kept=1\nover=1")
	require.NoError(t, w.run())
	require.NoError(t, w.table.WaitReady(w.ctx()))
	require.Equal(t, 0, w.leader(0))
	c.Stop(1)
	before := []map[string]string{maps.Clone(w.parts[0])}
	put("over=2\nlost=1") // on the leader alone
	w.caughtUp()
	require.Equal(t, w.want(), w.rows())
	c.Kill(0)
	w.parts, w.ends = before, map[int32]*kgo.Record{}
	c.Start(1)
	// The log is longer than the position again, so that only epochs tell.
	put("new=1\nnew=2\nnew=3\nnew=4")
	w.until("what was lost is gone", func() bool { _, ok, err := w.table.Get("lost"); return !ok && err == nil })
	w.caughtUp()
	require.Equal(t, w.want(), w.rows())
	s := w.table.Stats()
	require.Equal(t, globaltable.Rebuilt, s.Decision, "%s", s)
	require.Equal(t, globaltable.LogTruncated, s.Reason, "%s", s)
	c.Start(0)
	c.AwaitInSync(w.topic)
	put("after=1")
	w.caughtUp()
	require.Equal(t, w.want(), w.rows())
	require.NoError(t, w.stop())
}

// createOn creates the topic with one partition on some nodes, the first of which
// leads it.
func (w *world) createOn(nodes []int32, configs map[string]string) {
	req := kmsg.NewCreateTopicsRequest()
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = w.topic, -1, -1
	for k, v := range configs {
		rt.Configs = append(rt.Configs, kmsg.CreateTopicsRequestTopicConfig{Name: k, Value: &v})
	}
	rt.ReplicaAssignment = []kmsg.CreateTopicsRequestTopicReplicaAssignment{{Partition: 0, Replicas: nodes}}
	req.Topics, req.TimeoutMillis = append(req.Topics, rt), 10_000
	resp, err := req.RequestWith(w.ctx(), w.broker.Client(w.t))
	require.NoError(w.t, err)
	require.NoError(w.t, kerr.ErrorForCode(resp.Topics[0].ErrorCode))
	w.broker.AwaitTopic(w.t, w.topic, 1)
}

// Brokers are restarted one after the other, in order or by a kill, under updates
// and lookups. No reader sees a value older than one before, or one that was never
// written; Run does not end; the age of the rows is visible and is small again in
// the end.
func restarts(t *testing.T, c *kafkatest.Cluster) {
	w := newWorld(t, c.Broker())
	w.create(6, kafkatest.Compacted())
	require.NoError(t, w.run(globaltable.FlushInterval(time.Second)))
	require.NoError(t, w.table.WaitReady(w.ctx()))
	const keys = 200
	name := func(k int) string { return fmt.Sprintf("key-%03d", k) }
	var sent [keys]atomic.Int64 // the highest value that may be there
	var acked [keys]*kgo.Record // the last record
	stop := make(chan struct{})
	var all sync.WaitGroup
	errs := make(chan error, 16)

	all.Go(func() { // the writer
		cl, err := kgo.NewClient(append(w.broker.Opts(), kgo.RecordDeliveryTimeout(patience))...)
		if err != nil {
			errs <- err
			return
		}
		defer cl.Close()
		for n := int64(1); ; {
			select {
			case <-stop:
				return
			default:
			}
			var rs []*kgo.Record
			for range 1 + rand.IntN(40) {
				k := rand.IntN(keys)
				sent[k].Store(n)
				acked[k] = &kgo.Record{Topic: w.topic, Key: []byte(name(k)), Value: strconv.AppendInt(nil, n, 10)}
				rs = append(rs, acked[k])
				n++
			}
			if err := cl.ProduceSync(context.Background(), rs...).FirstErr(); err != nil {
				errs <- fmt.Errorf("produce: %w", err)
				return
			}
		}
	})
	var lookups, oldest atomic.Int64
	for range 2 { // the readers
		all.Go(func() {
			var last [keys]int64
			for {
				select {
				case <-stop:
					return
				default:
					runtime.Gosched() // the writer and the table need the cores too
				}
				k := rand.IntN(keys)
				v, ok, err := w.table.Get(name(k))
				highest := sent[k].Load() // read after the row
				n := int64(0)
				if ok && err == nil {
					n, err = strconv.ParseInt(v, 10, 64)
				}
				switch {
				case err != nil:
					errs <- fmt.Errorf("lookup: %w", err)
					return
				case n < last[k] || n > highest:
					errs <- fmt.Errorf("%s is %d, was %d, and was sent up to %d", name(k), n, last[k], highest)
					return
				}
				last[k] = n
				if lookups.Add(1)%1000 == 0 {
					age := int64(w.table.Lag().Age)
					for was := oldest.Load(); age > was; was = oldest.Load() {
						if oldest.CompareAndSwap(was, age) {
							break
						}
					}
					if s := w.table.Status(); s.State == globaltable.Stale && s.Err == nil {
						errs <- errors.New("stale, and it does not say why")
						return
					}
				}
			}
		})
	}

	began, rounds := time.Now(), 0
	next := time.NewTicker(*restartsEvery)
	defer next.Stop()
	for time.Since(began) < *restartsFor && len(errs) == 0 {
		down := rounds % 3
		if rounds%2 == 0 {
			c.Stop(down)
		} else {
			c.Kill(down)
		}
		c.Start(down)
		c.AwaitInSync(w.topic)
		rounds++
		<-next.C
	}
	close(stop)
	all.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	records := 0
	for k := range keys {
		if acked[k] != nil {
			w.fold([]*kgo.Record{acked[k]})
			records++
		}
	}
	// Each partition's end is that of its last record.
	w.ends = map[int32]*kgo.Record{}
	for _, r := range acked {
		if r != nil && (w.ends[r.Partition] == nil || w.ends[r.Partition].Offset < r.Offset) {
			w.ends[r.Partition] = r
		}
	}
	w.caughtUp()
	require.Equal(t, w.want(), w.rows())
	w.until("it is ready", func() bool { return w.table.Status().State == globaltable.Ready })
	w.until("its age is small", func() bool { return w.table.Lag().Age < 3*time.Second })
	select {
	case <-w.table.done:
		require.NoError(t, w.table.err, "Run has ended")
	default:
	}
	s := w.table.Stats()
	t.Logf("%d restarts in %v, %d records of %d keys, %d lookups, oldest answer %v: %s",
		rounds, time.Since(began).Round(time.Second), s.Records, records, lookups.Load(), time.Duration(oldest.Load()).Round(time.Millisecond), s)
	require.Positive(t, lookups.Load())
	require.Zero(t, s.Rebuilds, "%s", s)
	require.NoError(t, w.stop())
}
