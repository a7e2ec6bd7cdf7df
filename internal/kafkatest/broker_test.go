package kafkatest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestBrokerDescribesItself(t *testing.T) {
	Each(t, func(t *testing.T, b *Broker) {
		require.Equal(t, b.Name() == "kafka", b.Real())
		require.Equal(t, b.Real(), b.Fake() == nil)
		require.True(t, strings.HasSuffix(t.Name(), "/"+b.Name()))
		require.NotEmpty(t, b.Addrs())
		b.Addrs()[0] = "elsewhere"
		require.NotEqual(t, "elsewhere", b.Addrs()[0], "a copy")
		require.NoError(t, b.Client(t).Ping(t.Context()))
	})
}

func TestProduceSetsOffsets(t *testing.T) {
	Each(t, func(t *testing.T, b *Broker) {
		topic := b.CreateTopic(t, "produce", 3, 1, nil)
		records := make([]*kgo.Record, 5)
		for i := range records {
			records[i] = &kgo.Record{Topic: topic, Value: fmt.Append(nil, i)}
		}
		b.ProduceTo(t, 2, records...)
		for i, r := range records {
			require.EqualValues(t, 2, r.Partition)
			require.EqualValues(t, i, r.Offset)
		}
		same := []*kgo.Record{
			{Topic: topic, Key: []byte("k"), Value: []byte("1")},
			{Topic: topic, Key: []byte("k"), Value: []byte("2")},
		}
		b.Produce(t, same[0])
		b.Produce(t, same[1])
		require.Equal(t, same[0].Partition, same[1].Partition, "one key, one partition")
		require.Equal(t, same[0].Offset+1, same[1].Offset)

		ends, err := b.Admin(t).ListEndOffsets(t.Context(), topic)
		require.NoError(t, err)
		var total int64
		for _, o := range ends.Offsets()[topic] {
			total += o.At
		}
		require.EqualValues(t, 7, total)
	})
}

func TestProducedRecordsCanBeProducedAgain(t *testing.T) {
	b := Fake(t)
	r := &kgo.Record{Topic: b.CreateTopic(t, "again", 1, 1, nil)}
	b.Produce(t, r)
	require.Nil(t, r.Context)
	b.Produce(t, r)
	ProduceTxn(t, b, true, r)
	b.Client(t).ProduceSync(t.Context(), r)
	require.EqualValues(t, 4, r.Offset, "three records and a marker before it")
	ctx := t.Context()
	r.Context = ctx
	b.Produce(t, r)
	require.Equal(t, ctx, r.Context, "the record's own context stays")
}

func TestProduceFailureEndsTheTest(t *testing.T) {
	b := Fake(t)
	r := &recorder{TB: t}
	require.False(t, r.run(func() { b.ProduceTo(r, 9, &kgo.Record{Topic: b.CreateTopic(t, "p", 1, 1, nil)}) }))
	require.Contains(t, r.failed, "produce")
}

func TestClientWithBadOptionEndsTheTest(t *testing.T) {
	b := Fake(t)
	r := &recorder{TB: t}
	require.False(t, r.run(func() { b.Client(r, kgo.MaxBufferedRecords(-1)) }))
	require.Contains(t, r.failed, "new client")
}

func TestUnique(t *testing.T) {
	require.NotEqual(t, Unique("a"), Unique("a"))
	require.Regexp(t, `^a-[0-9a-f]{12}$`, Unique("a"))
}
