package feed

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/globaltable/enrich/internal/kafkatest"
)

func TestAPositionOutOfRangeEndsTheSession(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		topic := b.CreateTopic(t, "range", 2, 1, nil)
		b.ProduceTo(t, 1, kv(topic, 0, 10)...)
		var o kadm.Offsets
		o.Add(kadm.Offset{Topic: topic, Partition: 1, At: 4})
		_, err := b.Admin(t).DeleteRecords(t.Context(), o)
		require.NoError(t, err)
		c := client(t, b, topic)
		for _, position := range []int64{3, 11} {
			for _, until := range []map[int32]int64{nil, {1: 12}} {
				if until != nil && position == 3 {
					continue // goes on at the log start
				}
				r := start(t, c, Plan{Starts: []Start{{Partition: 1, Offset: position, Epoch: -1}}, Until: until})
				err := r.wait()
				require.Equal(t, &OutOfRangeError{Partition: 1, Position: position, LogStart: 4, End: 10}, err)
				require.ErrorContains(t, err, "which has offsets 4 to 10")
				require.Zero(t, r.got(1).batches)
			}
		}
		// At either end of it is fine.
		r := start(t, c, Plan{Starts: at(0, 4)})
		require.Equal(t, values(4, 6), r.awaitNext(t, 1, 10).values)
		r.stop()
		r = start(t, c, Plan{Starts: at(0, 10)})
		require.Equal(t, int64(4), r.awaitNext(t, 1, 10).logStart)
		r.stop()
	})
}

func TestRecordsDeletedAheadOfThePositionEndTheSession(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		topic := b.CreateTopic(t, "ahead", 1, 1, nil)
		b.ProduceTo(t, 0, kv(topic, 0, 5)...)
		c := client(t, b, topic, func(c *Config) { c.MaxWait = 50 * time.Millisecond })
		first := readUntil(t, c, map[int32]int64{0: 5})
		b.ProduceTo(t, 0, kv(topic, 5, 5)...)
		var o kadm.Offsets
		o.Add(kadm.Offset{Topic: topic, Partition: 0, At: 8})
		_, err := b.Admin(t).DeleteRecords(t.Context(), o)
		require.NoError(t, err)
		r := start(t, c, Plan{Starts: []Start{{Partition: 0, Offset: 5, Epoch: first[0].epoch}}})
		require.Equal(t, &OutOfRangeError{Partition: 0, Position: 5, LogStart: 8, End: 10}, r.wait())
	})
}

// A session that begins at the log start does not mind that the log start moves
// on before it has read anything.
func TestALogStartThatMovesOnIsFollowed(t *testing.T) {
	b := kafkatest.Fake(t)
	topic := b.CreateTopic(t, "moves", 1, 1, nil)
	b.ProduceTo(t, 0, kv(topic, 0, 10)...)
	require.NoError(t, b.Fake().DeleteRecords(topic, 0, 6))
	c := client(t, b, topic)
	plan := Plan{Topic: described(t, c)}
	// The first question for it is answered with what was true before.
	b.Fake().ControlKey(key(new(kmsg.ListOffsetsRequest)), func(req kmsg.Request) (kmsg.Response, error, bool) {
		resp := req.ResponseKind().(*kmsg.ListOffsetsResponse)
		rt := kmsg.NewListOffsetsResponseTopic()
		rt.Topic = topic
		rp := kmsg.NewListOffsetsResponseTopicPartition()
		rp.Offset = 2
		rt.Partitions = append(rt.Partitions, rp)
		resp.Topics = append(resp.Topics, rt)
		return resp, nil, true
	})
	r := start(t, c, plan)
	got := r.awaitNext(t, 0, 10)
	require.Equal(t, values(6, 4), got.values)
	require.Equal(t, int64(6), got.from)
	r.stop()
}

// The epoch was that of a record below what was skipped.
func TestAPositionMovedToTheLogStartHasNoEpoch(t *testing.T) {
	b := kafkatest.Fake(t)
	topic := b.CreateTopic(t, "skipped", 1, 1, nil)
	b.ProduceTo(t, 0, kv(topic, 0, 10)...)
	require.NoError(t, b.Fake().DeleteRecords(topic, 0, 6))
	var requests seen
	observe(b, new(kmsg.FetchRequest), requests.add)
	got := readUntil(t, client(t, b, topic), map[int32]int64{0: 10}, Start{Partition: 0, Offset: 2, Epoch: 0})
	require.Equal(t, values(6, 4), got[0].values)
	require.Len(t, requests.all(), 2)
	require.Equal(t, int32(0), requests.all()[0].Topics[0].Partitions[0].LastFetchedEpoch)
	require.Equal(t, int32(-1), requests.all()[1].Topics[0].Partitions[0].LastFetchedEpoch)
}

// A new leader may refuse for a moment what the old one had.
func TestAPositionThatTheLogHasIsAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := kafkatest.FakeVirtual(t)
		topic := b.CreateTopic(t, "again", 1, 1, nil)
		b.ProduceTo(t, 0, kv(topic, 0, 10)...)
		trouble, hear := listen()
		c := client(t, b, topic, hear)
		plan := Plan{Topic: described(t, c), Starts: []Start{{Partition: 0, Offset: 5, Epoch: 0}}}
		b.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: topic, Err: kerr.OffsetOutOfRange, Count: 10})
		r := start(t, c, plan)
		n := trouble.awaitTrouble(t, "refuses offset 5 of partition 0, which its log has")
		trouble.awaitPeace(t, n)
		require.Equal(t, values(5, 5), r.awaitNext(t, 0, 10).values)
		r.stop()
	})
}

func TestWhetherALogDivergedIsAskedWhenAPositionIsRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		end  int64
		want *DivergedError
	}{
		"the epoch ends below":   {end: 3, want: &DivergedError{Position: 5, End: 3}},
		"the epoch is not known": {end: -1, want: &DivergedError{Position: 5, End: -1}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := kafkatest.FakeVirtual(t)
				topic := b.CreateTopic(t, "refused", 1, 1, nil)
				b.ProduceTo(t, 0, kv(topic, 0, 10)...)
				c := client(t, b, topic)
				plan := Plan{Topic: described(t, c), Starts: []Start{{Partition: 0, Offset: 5, Epoch: 0}}}
				b.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: topic, Err: kerr.OffsetOutOfRange, Count: -1})
				asked := 0
				b.Fake().ControlKey(key(new(kmsg.OffsetForLeaderEpochRequest)), func(req kmsg.Request) (kmsg.Response, error, bool) {
					b.Fake().KeepControl()
					asked++
					resp := req.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
					rt := kmsg.NewOffsetForLeaderEpochResponseTopic()
					rt.Topic = topic
					rp := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
					rp.EndOffset = tc.end
					rt.Partitions = append(rt.Partitions, rp)
					resp.Topics = append(resp.Topics, rt)
					return resp, nil, true
				})
				r := start(t, c, plan)
				require.Equal(t, tc.want, r.wait())
				require.Empty(t, r.all())
				if tc.end < 0 {
					require.Equal(t, 3, asked, "one that does not know at first may know later")
				}
			})
		})
	}
}

// A real broker that does not know an epoch refuses every position behind it.
func TestAnEpochTheRealBrokerDoesNotKnowIsADivergence(t *testing.T) {
	b := kafkatest.Real(t)
	topic := b.CreateTopic(t, "epoch", 1, 1, nil)
	b.ProduceTo(t, 0, kv(topic, 0, 10)...)
	r := start(t, client(t, b, topic), Plan{Starts: []Start{{Partition: 0, Offset: 5, Epoch: 42}}})
	err := r.wait()
	require.Equal(t, &DivergedError{Position: 5, End: -1}, err)
	require.ErrorContains(t, err, "does not have the leader epoch")
}

func TestARangeThatIsNotToldIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := kafkatest.FakeVirtual(t)
		topic := b.CreateTopic(t, "unknown", 1, 1, nil)
		b.ProduceTo(t, 0, kv(topic, 0, 10)...)
		trouble, hear := listen()
		c := client(t, b, topic, hear)
		plan := Plan{Topic: described(t, c), Starts: at(12)}
		b.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Topic: topic, Err: kerr.NotLeaderForPartition, Count: 2})
		r := start(t, c, plan)
		trouble.awaitTrouble(t, "its range is not known")
		require.Equal(t, &OutOfRangeError{Position: 12, LogStart: 0, End: 10}, r.wait())
	})
}
