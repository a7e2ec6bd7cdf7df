package feed

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/globaltable/enrich/internal/kafkatest"
)

func TestRanges(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		topic := b.CreateTopic(t, "ranges", 3, 1, nil)
		b.ProduceTo(t, 1, kv(topic, 0, 10)...)
		var o kadm.Offsets
		o.Add(kadm.Offset{Topic: topic, Partition: 1, At: 4})
		_, err := b.Admin(t).DeleteRecords(t.Context(), o)
		require.NoError(t, err)
		// The end is that of the log, open transactions and all.
		open := begin(t, b)
		defer open.Close()
		in2 := kv(topic, 0, 1)
		require.NoError(t, open.ProduceSync(t.Context(), in2...).FirstErr())

		got, err := client(t, b, topic).Ranges(t.Context())
		require.NoError(t, err)
		want := map[int32]Range{0: {}, 1: {LogStart: 4, End: 10}, 2: {}}
		r := want[in2[0].Partition]
		r.End++
		want[in2[0].Partition] = r
		require.Equal(t, want, got)
		require.NoError(t, open.EndTransaction(t.Context(), kgo.TryAbort))
	})
}

func TestRangesOfSomePartitions(t *testing.T) {
	b := kafkatest.Fake(t)
	topic := b.CreateTopic(t, "some", 3, 1, nil)
	for p := range int32(3) {
		require.NoError(t, b.Fake().MoveTopicPartition(topic, p, p))
	}
	c := client(t, b, topic)
	list := []kmsg.Key{kmsg.ListOffsets}

	b.Fake().Fault(kfake.Fault{Keys: list, Topic: topic, Partitions: []int32{1}, Err: kerr.NotLeaderForPartition})
	got, err := c.Ranges(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[int32]Range{0: {}, 2: {}}, got, "a leader that refuses")

	b.Fake().ControlKey(key(new(kmsg.ListOffsetsRequest)), func(kmsg.Request) (kmsg.Response, error, bool) {
		if b.Fake().CurrentNode() != 2 {
			return nil, nil, false
		}
		return nil, errors.New("connection closed by the test"), true
	})
	got, err = c.Ranges(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[int32]Range{0: {}, 1: {}}, got, "a leader that is away")

	all := b.Fake().Fault(kfake.Fault{Keys: list, Topic: topic, Err: kerr.NotLeaderForPartition, Count: -1})
	got, err = c.Ranges(t.Context())
	require.ErrorIs(t, err, kerr.NotLeaderForPartition, "all of them, %v", got)
	all.Remove()

	answerMetadata(b, 1, func(req kmsg.Request) *kmsg.MetadataResponse {
		return metadataOf(b, req, topic, &Topic{Partitions: []TopicPartition{{Partition: 0, Leader: -1}}})
	})
	_, err = c.Ranges(t.Context())
	require.ErrorContains(t, err, "partition 0 has no leader")
}

func TestEpochEnds(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		topic := b.CreateTopic(t, "epochs", 3, 1, nil)
		b.ProduceTo(t, 0, kv(topic, 0, 7)...)
		b.ProduceTo(t, 1, kv(topic, 0, 4)...)
		c := client(t, b, topic)
		got, err := c.EpochEnds(t.Context(), map[int32]int32{0: 0, 1: 99, 2: 0})
		require.NoError(t, err)
		require.Equal(t, map[int32]int64{0: 7, 2: 0}, got, "of an epoch that never was nothing is told")

		got, err = c.EpochEnds(t.Context(), nil)
		require.NoError(t, err)
		require.Empty(t, got)
	})
}

func TestEpochEndsOfAnEarlierLeader(t *testing.T) {
	b := kafkatest.Fake(t)
	topic := b.CreateTopic(t, "epochs", 1, 1, nil)
	b.ProduceTo(t, 0, kv(topic, 0, 7)...)
	require.NoError(t, b.Fake().MoveTopicPartition(topic, 0, 0))
	b.ProduceTo(t, 0, kv(topic, 7, 3)...)
	c := client(t, b, topic)
	for epoch, want := range map[int32]int64{0: 7, 1: 10} {
		got, err := c.EpochEnds(t.Context(), map[int32]int32{0: epoch})
		require.NoError(t, err)
		require.Equal(t, map[int32]int64{0: want}, got)
	}

	b.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetForLeaderEpoch}, Topic: topic, Err: kerr.TopicAuthorizationFailed})
	got, err := c.EpochEnds(t.Context(), map[int32]int32{0: 0})
	require.NoError(t, err)
	require.Empty(t, got, "it is not told")

	b.Fake().ControlKey(key(new(kmsg.OffsetForLeaderEpochRequest)), hangUp(b))
	_, err = c.EpochEnds(t.Context(), map[int32]int32{0: 0})
	require.ErrorContains(t, err, "leader epochs")
}
