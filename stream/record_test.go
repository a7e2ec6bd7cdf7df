package stream

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestWithValueAndWithKeyKeepTheRest(t *testing.T) {
	r := Record[string, int]{
		Key: "k", Value: 1, Timestamp: time.UnixMilli(5), Headers: []Header{{Key: "h"}},
		Topic: "t", Partition: 2, Offset: 3,
	}
	v := WithValue(r, "new")
	require.Equal(t, Record[string, string]{
		Key: "k", Value: "new", Timestamp: r.Timestamp, Headers: r.Headers, Topic: "t", Partition: 2, Offset: 3,
	}, v)
	k := WithKey(r, 9)
	require.Equal(t, Record[int, int]{
		Key: 9, Value: 1, Timestamp: r.Timestamp, Headers: r.Headers, Topic: "t", Partition: 2, Offset: 3,
	}, k)
}

func TestWithValueAndWithKeyAreNotNull(t *testing.T) {
	r := Record[string, int]{NullKey: true, NullValue: true}
	v := WithValue(r, 1)
	require.True(t, v.NullKey)
	require.False(t, v.NullValue)
	k := WithKey(r, "k")
	require.False(t, k.NullKey)
	require.True(t, k.NullValue)
}

func TestInheritTakesTimeOnlyWhenThereIsNone(t *testing.T) {
	from := Record[string, int]{Timestamp: time.UnixMilli(5), Topic: "t", Partition: 2, Offset: 3}
	var a Record[int, int]
	inherit(&a, &from)
	require.Equal(t, Record[int, int]{Timestamp: from.Timestamp, Topic: "t", Partition: 2, Offset: 3}, a)

	own := Record[int, int]{Timestamp: time.UnixMilli(9), Topic: "other"}
	inherit(&own, &from)
	require.Equal(t, time.UnixMilli(9), own.Timestamp)
	require.Equal(t, "t", own.Topic)
}

func TestBatchResetLetsGo(t *testing.T) {
	var b batch[string, []byte]
	b.add(Record[string, []byte]{Key: "k", Value: []byte("v")}, &input{rec: &kgo.Record{}})
	kept := b.recs[:1]
	b.reset()
	require.Empty(t, b.recs)
	require.Empty(t, b.ins)
	require.Zero(t, kept[0], "what the memory refers to can be collected")
}

func TestBatchesAreFilledInPlace(t *testing.T) {
	ins := make([]input, 3)
	var b batch[string, string]
	b.next(&ins[0]).Key = "a"
	b.next(&ins[1]).Key = "bad"
	b.undo()
	require.Len(t, b.ins, 1)
	require.Equal(t, Record[string, string]{}, b.recs[:2][1], "what was undone is not kept")
	b.next(&ins[2]).Key = "c"
	require.Equal(t, []Record[string, string]{{Key: "a"}, {Key: "c"}}, b.recs)
	require.Same(t, &ins[2], b.ins[1])
	b.reset()
	require.Empty(t, b.recs)
	require.Equal(t, make([]Record[string, string], 2), b.recs[:2], "nothing that records refer to is kept")
	require.Equal(t, []*input{nil, nil}, b.ins[:2])
}
