package kafkatest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestCreateTopicIsReady(t *testing.T) {
	Each(t, func(t *testing.T, b *Broker) {
		first := b.CreateTopic(t, "ready", 5, -1, Compacted())
		second := b.CreateTopic(t, "ready", 5, -1, nil)
		require.NotEqual(t, first, second)

		adm := b.Admin(t)
		topics, err := adm.ListTopics(t.Context(), first)
		require.NoError(t, err)
		require.NoError(t, topics.Error())
		require.Len(t, topics[first].Partitions, 5)
		for _, p := range topics[first].Partitions {
			require.GreaterOrEqual(t, p.Leader, int32(0))
		}
		configs, err := adm.DescribeTopicConfigs(t.Context(), first)
		require.NoError(t, err)
		for _, c := range configs[0].Configs {
			if c.Key == "cleanup.policy" {
				require.Equal(t, "compact", c.MaybeValue())
				return
			}
		}
		require.Fail(t, "cleanup.policy is not described")
	})
}

func TestTopicsOfASharedBrokerGoWithTheirTest(t *testing.T) {
	b := Real(t)
	var topic string
	t.Run("uses it", func(t *testing.T) { topic = b.CreateTopic(t, "gone", 1, 1, nil) })
	adm := b.Admin(t)
	require.Eventually(t, func() bool {
		topics, err := adm.ListTopics(t.Context(), topic)
		return err == nil && topics[topic].Err != nil
	}, 10*time.Second, 20*time.Millisecond)
	t.Run("deletes it itself", func(t *testing.T) {
		topic := b.CreateTopic(t, "gone", 1, 1, nil)
		_, err := adm.DeleteTopic(t.Context(), topic)
		require.NoError(t, err)
	})
}

func TestCreateTopicFailureEndsTheTest(t *testing.T) {
	Each(t, func(t *testing.T, b *Broker) {
		r := &recorder{TB: t}
		require.False(t, r.run(func() { b.CreateTopic(r, "bad", 0, 1, nil) }))
		require.Contains(t, r.failed, "create topic bad-")
	})
}

func TestLed(t *testing.T) {
	partition := func(id, leader int32, code int16) kmsg.MetadataResponseTopicPartition {
		return kmsg.MetadataResponseTopicPartition{Partition: id, Leader: leader, ErrorCode: code}
	}
	of := func(code int16, ps ...kmsg.MetadataResponseTopicPartition) *kmsg.MetadataResponse {
		return &kmsg.MetadataResponse{Topics: []kmsg.MetadataResponseTopic{{ErrorCode: code, Partitions: ps}}}
	}
	require.NoError(t, led(of(0, partition(0, 1, 0), partition(1, 0, 0)), 2))
	require.NoError(t, led(of(0, partition(0, 1, 0)), -1), "the broker's default number of partitions")
	require.ErrorContains(t, led(&kmsg.MetadataResponse{}, 1), "metadata of 0 topics")
	require.ErrorIs(t, led(of(kerr.UnknownTopicOrPartition.Code), 1), kerr.UnknownTopicOrPartition)
	require.ErrorContains(t, led(of(0, partition(0, 1, 0)), 2), "1 of 2")
	require.ErrorContains(t, led(of(0, partition(0, -1, 0)), 1), "no leader")
	require.ErrorIs(t, led(of(0, partition(0, -1, kerr.LeaderNotAvailable.Code)), 1), kerr.LeaderNotAvailable)
}

func TestConfigsAreTheCallersOwn(t *testing.T) {
	Compacted()["cleanup.policy"] = "delete"
	require.Equal(t, map[string]string{"cleanup.policy": "compact"}, Compacted())
	require.Equal(t, "1500", CompactedSoon(1500 * time.Millisecond)["delete.retention.ms"])
}
