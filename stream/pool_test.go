package stream

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/codec"
)

func TestPlacesHoldWhatTheyAreFor(t *testing.T) {
	for n := 1; n < 1<<pooledMost+10; n++ {
		i, capacity, ok := place(n)
		if !ok {
			require.True(t, n < 1<<pooledLeast || n > (1<<pooledMost)-(1<<pooledMost)/steps/2, n)
			continue
		}
		require.GreaterOrEqual(t, capacity, n)
		require.LessOrEqual(t, capacity, n+n/steps, "little more than was asked for")
		j, same, ok := place(capacity)
		require.True(t, ok)
		require.Equal(t, [2]int{i, capacity}, [2]int{j, same}, "what comes back is found again")
		require.Less(t, i, len(new(recordPool).sizes))
	}
}

func TestPoolGivesBackOnlyWhatItGave(t *testing.T) {
	var rp recordPool
	require.Nil(t, rp.GetRecords(0))
	require.Nil(t, rp.GetRecords(10), "the client makes small ones by itself")
	require.Nil(t, rp.GetRecords(1<<pooledMost))
	rp.PutRecords(make([]kgo.Record, 0, 1001)) // no size of the pool's
	rp.PutRecords(nil)
	s := rp.GetRecords(1000)
	require.Len(t, s, 1000)
	require.Equal(t, 1024, cap(s))
	rp.PutRecords(s[:0])
	require.Len(t, rp.GetRecords(970), 970)
}

// What operators keep must not be what the pool gives to the next fetch.
func TestKeptRecordsOutliveThePool(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		in := e.topic("in", 1)
		const n, batches = 200, 20
		for i := range batches {
			e.putN(in, 0, i*n, i*n+n)
		}
		e.put(in, 0, "last", "last", Header{Key: "h", Value: []byte("of the last")})
		var c collector
		_, err := e.runToEnd(ForEach(strs(in), c.add), Kafka(kgo.FetchMaxPartitionBytes(10_000), kgo.FetchMaxBytes(10_000)))
		require.NoError(t, err)
		require.Equal(t, append(numbered("v", 0, n*batches), "last"), c.values())
		require.Equal(t, []Header{{Key: "h", Value: []byte("of the last")}}, c.recs[n*batches].Headers)
		for i, r := range c.recs[:n*batches] {
			require.EqualValues(t, i, r.Offset)
			require.Equal(t, in, r.Topic)
		}
	})
}

// A record that is dead-lettered is needed as it was read, long after it was
// decoded.
func TestDeadLettersHaveWhatWasRead(t *testing.T) {
	e := onFake(t)
	in, dead := e.topic("in", 1), e.topic("dead", 1)
	const n, batches = 200, 10
	for i := range batches {
		e.putN(in, 0, i*n, i*n+n)
	}
	s := Map(strs(in), func(r Record[string, string]) (Record[string, string], error) { return r, nil })
	out := e.topic("out", 1)
	_, err := e.runToEnd(To(s, out, codec.String(), failing{codec.String()}), OnBadRecord(DeadLetter(dead)))
	require.NoError(t, err)
	require.Equal(t, numbered("v", 0, n*batches), values(e.read(dead)))
}

// failing is a codec that encodes nothing.
type failing struct{ codec.Codec[string] }

func (failing) Encode(dst []byte, _ string, m codec.Meta) ([]byte, error) {
	return dst, &codec.Error{Op: "encode", Codec: "failing", Topic: m.Topic, Part: m.Part, Err: errAtEnd}
}
