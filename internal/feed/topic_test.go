package feed

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/globaltable/enrich/internal/kafkatest"
)

func TestDescribe(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		topic := b.CreateTopic(t, "describe", 3, 1, nil)
		got := described(t, client(t, b, topic))
		meta, err := b.Admin(t).Metadata(t.Context(), topic)
		require.NoError(t, err)
		require.NotEmpty(t, got.ClusterID)
		require.Equal(t, meta.Cluster, got.ClusterID)
		require.Equal(t, TopicID(meta.Topics[topic].ID), got.ID)
		require.Len(t, got.Partitions, 3)
		for i, p := range got.Partitions {
			require.Equal(t, int32(i), p.Partition)
			require.Equal(t, meta.Topics[topic].Partitions[p.Partition].Leader, p.Leader)
			require.Equal(t, meta.Topics[topic].Partitions[p.Partition].LeaderEpoch, p.Epoch)
		}
	})
}

func TestDescribeOfAnUnknownTopic(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		_, err := client(t, b, kafkatest.Unique("none")).Describe(t.Context())
		require.ErrorIs(t, err, ErrTopicAbsent)
	})
}

func TestDescribeTellsWhyNot(t *testing.T) {
	b := kafkatest.Fake(t)
	topic := b.CreateTopic(t, "denied", 1, 1, nil)
	b.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Topic: topic, Err: kerr.TopicAuthorizationFailed})
	_, err := client(t, b, topic).Describe(t.Context())
	require.ErrorIs(t, err, kerr.TopicAuthorizationFailed)
	require.NotErrorIs(t, err, ErrTopicAbsent)
}

func TestDescribeOfATopicThatIsComingUp(t *testing.T) {
	b := kafkatest.Fake(t)
	topic := b.CreateTopic(t, "young", 1, 1, nil)
	c := client(t, b, topic)
	for _, tc := range []struct {
		name string
		edit func(*kmsg.MetadataResponse)
		want func(*Topic, error)
	}{
		{"no partitions", func(r *kmsg.MetadataResponse) { r.Topics[0].Partitions = nil }, func(_ *Topic, err error) {
			require.ErrorContains(t, err, "no partitions yet")
		}},
		{"no leader", func(r *kmsg.MetadataResponse) {
			r.Topics[0].Partitions[0].ErrorCode = kerr.LeaderNotAvailable.Code
		}, func(got *Topic, err error) {
			require.NoError(t, err)
			require.Equal(t, int32(-1), got.Partitions[0].Leader)
		}},
		{"replica not available", func(r *kmsg.MetadataResponse) {
			r.Topics[0].Partitions[0].ErrorCode = kerr.ReplicaNotAvailable.Code
		}, func(got *Topic, err error) {
			require.NoError(t, err)
			require.Equal(t, int32(2), got.Partitions[0].Leader)
		}},
		{"no topic", func(r *kmsg.MetadataResponse) { r.Topics = nil }, func(_ *Topic, err error) {
			require.ErrorContains(t, err, "0 topics, not 1")
		}},
		{"no cluster id", func(r *kmsg.MetadataResponse) { r.ClusterID = nil }, func(got *Topic, err error) {
			require.NoError(t, err)
			require.Empty(t, got.ClusterID)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			answerMetadata(b, 1, func(req kmsg.Request) *kmsg.MetadataResponse {
				resp := metadataOf(b, req, topic, &Topic{ID: TopicID{1}, Partitions: []TopicPartition{{Partition: 0, Leader: 2, Epoch: 4}}})
				tc.edit(resp)
				return resp
			})
			tc.want(c.Describe(t.Context()))
		})
	}
}
