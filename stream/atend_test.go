package stream

import (
	"encoding/binary"
	"hash/crc32"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestStopAtEnd(t *testing.T) {
	for name, tc := range map[string]struct {
		fill func(e *env, topic string)
		want []string
		opts []Opt
	}{
		"empty topic":     {fill: func(*env, string) {}},
		"plain":           {fill: func(e *env, topic string) { e.putN(topic, 0, 0, 3) }, want: numbered("v", 0, 3)},
		"commit marker":   {fill: func(e *env, topic string) { e.txn(topic, true, "a", "b") }, want: []string{"a", "b"}},
		"only an aborted": {fill: func(e *env, topic string) { e.txn(topic, false, "a", "b") }},
		"two aborted tails": {fill: func(e *env, topic string) {
			e.putN(topic, 0, 0, 1)
			e.txn(topic, false, "a")
			e.txn(topic, false, "b")
		}, want: []string{"v0"}},
		"aborted, uncommitted reads": {fill: func(e *env, topic string) { e.txn(topic, false, "a") },
			want: []string{"a"}, opts: []Opt{UncommittedReads()}},
		"all deleted": {fill: func(e *env, topic string) {
			e.putN(topic, 0, 0, 3)
			e.deleteRecords(topic, 3)
		}},
		"deleted up to a marker": {fill: func(e *env, topic string) {
			e.txn(topic, true, "a")
			e.deleteRecords(topic, 1)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, e *env) {
				in := e.topic("in", 1)
				tc.fill(e, in)
				var c collector
				stats, err := e.runToEnd(ForEach(strs(in), c.add), tc.opts...)
				require.NoError(t, err)
				require.Equal(t, tc.want, c.values())
				require.NotErrorIs(t, stats.LastError, kerr.GroupIDNotFound, "a group that is new is no trouble")

				// Again, with everything committed: nothing is left to do.
				_, err = e.runToEnd(ForEach(strs(in), c.add), tc.opts...)
				require.NoError(t, err)
				require.Equal(t, tc.want, c.values())
			})
		})
	}
}

func (e *env) deleteRecords(topic string, before int64) {
	e.t.Helper()
	var offsets kadm.Offsets
	offsets.Add(kadm.Offset{Topic: topic, Partition: 0, At: before})
	resp, err := e.adm.DeleteRecords(e.ctx(), offsets)
	require.NoError(e.t, err)
	require.NoError(e.t, resp.Error())
}

func TestStopAtEndDoesNotWaitForAnOpenTransaction(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		in := e.topic("in", 1)
		e.putN(in, 0, 0, 2)
		cl := e.broker.Client(t, kgo.TransactionalID(e.prefix+"open"))
		require.NoError(t, cl.BeginTransaction())
		require.NoError(t, cl.ProduceSync(e.ctx(), &kgo.Record{Topic: in, Value: []byte("open")}).FirstErr())
		e.putN(in, 0, 2, 4)
		var c collector
		_, err := e.runToEnd(ForEach(strs(in), c.add))
		require.NoError(t, err)
		require.Equal(t, numbered("v", 0, 2), c.values())
		require.NoError(t, cl.EndTransaction(e.ctx(), kgo.TryAbort))
	})
}

// Compaction leaves batches with no records in them, and at the tail a
// consumer never learns how far they reach.
func TestStopAtEndPassesAnEmptiedTail(t *testing.T) {
	for _, tc := range []struct {
		name  string
		first int64 // the emptied batch reaches from here to offset 9
		batch bool  // or there is no batch at all
	}{
		{"emptied batch", 5, true},
		{"nothing but emptied batches", 0, true},
		{"no batch", 5, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := onFake(t)
			in := e.topic("in", 1)
			e.putN(in, 0, 0, 5)
			e.putN(in, 0, 5, 10)
			var probed atomic.Int32
			e.fake.ControlKey(kmsg.Fetch.Int16(), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
				e.fake.KeepControl()
				req := kreq.(*kmsg.FetchRequest)
				if len(req.Topics) != 1 {
					return nil, nil, false
				}
				p := &req.Topics[0].Partitions[0]
				if p.FetchOffset >= 10 {
					return nil, nil, false
				}
				if p.FetchOffset < tc.first {
					req.MaxBytes, p.PartitionMaxBytes = 1, 1 // one batch
					return nil, nil, false
				}
				probed.Add(1)
				resp := req.ResponseKind().(*kmsg.FetchResponse)
				rt := kmsg.NewFetchResponseTopic()
				rt.Topic, rt.TopicID = req.Topics[0].Topic, req.Topics[0].TopicID
				rp := kmsg.NewFetchResponseTopicPartition()
				rp.HighWatermark, rp.LastStableOffset, rp.LogStartOffset = 10, 10, 0
				if tc.batch {
					rp.RecordBatches = emptiedBatch(tc.first, 9)
				}
				rt.Partitions = append(rt.Partitions, rp)
				resp.Topics = append(resp.Topics, rt)
				return resp, nil, true
			})
			var c collector
			_, err := e.runToEnd(ForEach(strs(in), c.add), Kafka(kgo.DisableFetchSessions()))
			require.NoError(t, err)
			require.Len(t, c.values(), int(tc.first))
			require.NotZero(t, probed.Load())
			require.EqualValues(t, 10, e.committed(e.group(), in, 0))
		})
	}
}

// emptiedBatch is what compaction leaves of a batch.
func emptiedBatch(first, last int64) []byte {
	var rest []byte // after the checksum
	rest = binary.BigEndian.AppendUint16(rest, 0)
	rest = binary.BigEndian.AppendUint32(rest, uint32(last-first))
	rest = binary.BigEndian.AppendUint64(rest, 0)
	rest = binary.BigEndian.AppendUint64(rest, 0)
	rest = binary.BigEndian.AppendUint64(rest, ^uint64(0)) // no producer
	rest = binary.BigEndian.AppendUint16(rest, ^uint16(0))
	rest = binary.BigEndian.AppendUint32(rest, ^uint32(0))
	rest = binary.BigEndian.AppendUint32(rest, 0) // no records

	var b []byte
	b = binary.BigEndian.AppendUint64(b, uint64(first))
	b = binary.BigEndian.AppendUint32(b, uint32(4+1+4+len(rest)))
	b = binary.BigEndian.AppendUint32(b, 0) // leader epoch
	b = append(b, 2)                        // magic
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(rest, crc32.MakeTable(crc32.Castagnoli)))
	return append(b, rest...)
}

func TestStopAtEndWithSeveralWorkers(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		in, out := e.topic("in", 4), e.topic("out", 1)
		for p := range int32(4) {
			e.putN(in, p, 0, 500)
		}
		a := e.start(toStrs(strs(in), out), StopAtEnd(), MaxInFlight(20))
		b := e.start(toStrs(strs(in), out), StopAtEnd(), MaxInFlight(20))
		require.NoError(t, a.wait())
		require.NoError(t, b.wait())
		for p := range int32(4) {
			require.EqualValues(t, 500, e.committed(e.group(), in, p))
		}
		require.Len(t, e.read(out), 2000)
	})
}

func TestStopAtEndWaitsForOutputs(t *testing.T) {
	e := onFake(t)
	in, out := e.topic("in", 1), e.topic("out", 1)
	hold := e.holdProduce(out, 0)
	e.putN(in, 0, 0, 3)
	r := e.start(toStrs(strs(in), out), StopAtEnd())
	receive(t, hold.holding)
	r.until("all are begun", func(s Stats) bool { return len(s.Partitions) == 1 && s.Partitions[0].Position == 3 })
	require.Equal(t, StateRunning, r.Stats().State)
	hold.letGo()
	require.NoError(t, r.wait())
	require.Len(t, e.read(out), 3)
	require.EqualValues(t, 3, e.committed(e.group(), in, 0))
}

// onAssigned calls itself when partitions are assigned, before anything is read
// of them.
type onAssigned func()

func (fn onAssigned) OnAssigned(map[string][]int32) { fn() }

// What was there when Run started may be deleted before it is read: that is no
// reason to wait for it.
func TestStopAtEndWhenTheLogStartMoves(t *testing.T) {
	for name, upTo := range map[string]int64{"all": 5, "some": 3} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, e *env) {
				in, out := e.topic("in", 1), e.topic("out", 1)
				e.putN(in, 0, 0, 5)
				deleted := false
				r := e.start(toStrs(strs(in), out), StopAtEnd(), Hooks(onAssigned(func() {
					if !deleted {
						deleted = true
						var offsets kadm.Offsets
						offsets.Add(kadm.Offset{Topic: in, Partition: 0, At: upTo})
						_, err := e.adm.DeleteRecords(e.ctx(), offsets)
						assert.NoError(t, err)
					}
				})))
				require.NoError(t, r.wait(), "it ends by itself")
				require.Equal(t, append([]string{}, numbered("v", int(upTo), 5)...), values(e.read(out)))
			})
		})
	}
}
