package kafkatest

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestClusterOfThree(t *testing.T) {
	c := StartCluster(t, 3)
	b := c.Broker()
	require.True(t, b.Real())
	require.Len(t, b.Addrs(), 3)
	topic := b.CreateTopic(t, "cluster", 3, 3, nil)
	produce := func() { b.Produce(t, &kgo.Record{Topic: topic, Value: []byte("v")}) }
	produce()
	ProduceTxn(t, b, true, &kgo.Record{Topic: topic, Value: []byte("v")})

	c.Stop(0)
	c.Stop(0) // does nothing
	produce()
	c.Start(0)
	c.AwaitInSync(topic)

	c.Kill(1)
	produce()
	c.Start(1)
	c.AwaitInSync(topic)

	brokers, err := b.Admin(t).ListBrokers(t.Context())
	require.NoError(t, err)
	require.Equal(t, []int32{1, 2, 3}, brokers.NodeIDs())
	ends, err := b.Admin(t).ListEndOffsets(t.Context(), topic)
	require.NoError(t, err)
	var total int64
	for _, o := range ends.Offsets()[topic] {
		total += o.At
	}
	require.EqualValues(t, 5, total, "four records and a marker")
}

func TestClusterOfOneKeepsItsData(t *testing.T) {
	c := StartCluster(t, 1)
	topic := c.Broker().CreateTopic(t, "single", 1, 1, nil)
	r := &kgo.Record{Topic: topic, Value: []byte("v")}
	c.Broker().Produce(t, r)
	c.Stop(0)
	c.Start(0)
	c.Broker().Produce(t, r)
	require.EqualValues(t, 1, r.Offset)
}

func TestClusterRefusesOtherSizes(t *testing.T) {
	r := &recorder{TB: t}
	require.False(t, r.run(func() { StartCluster(r, 2) }))
	require.Contains(t, r.failed, "1 or 3")
}

func TestClusterNamesBrokersByIndex(t *testing.T) {
	r := &recorder{TB: t}
	c := &Cluster{t: r, group: &group{nodes: []*node{{}}}}
	for _, i := range []int{-1, 1} {
		require.False(t, r.run(func() { c.Stop(i) }))
		require.Contains(t, r.failed, "no broker")
	}
	require.True(t, r.run(func() { c.Stop(0) }), "one that does not run")
}

func TestInSync(t *testing.T) {
	of := func(isr ...int32) *kmsg.MetadataResponse {
		return &kmsg.MetadataResponse{Topics: []kmsg.MetadataResponseTopic{{
			Partitions: []kmsg.MetadataResponseTopicPartition{{Replicas: []int32{1, 2}, ISR: isr}},
		}}}
	}
	require.NoError(t, inSync(of(2, 1)))
	require.ErrorContains(t, inSync(of(2)), "in sync [2]")
	require.ErrorContains(t, inSync(&kmsg.MetadataResponse{}), "0 topics")
}
