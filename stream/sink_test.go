package stream

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/codec"
)

// odd is a codec that does what a codec may do, and some that it may not.
type odd struct{ codec.Codec[string] }

func (odd) Encode(dst []byte, v string, m codec.Meta) ([]byte, error) {
	switch v {
	case "header":
		*m.Headers = append(*m.Headers, Header{Key: "schema", Value: []byte("1")})
	case "short":
		return nil, nil
	case "bad":
		return dst, errors.New("cannot")
	}
	return append(dst, v...), nil
}

func encoderOf() encoder[string, string] {
	return encoder[string, string]{topic: "out", key: codec.String(), value: odd{codec.String()}}
}

func encodeWith(enc *encoder[string, string], r *Record[string, string]) (*kgo.Record, error) {
	out := new(kgo.Record)
	return out, enc.encode(out, r)
}

func TestEncodeKeepsEmptyAndNullApart(t *testing.T) {
	enc := encoderOf()
	r, err := encodeWith(&enc, &Record[string, string]{})
	require.NoError(t, err)
	require.NotNil(t, r.Key)
	require.NotNil(t, r.Value)
	require.Empty(t, r.Key)

	r, err = encodeWith(&enc, &Record[string, string]{Key: "ignored", NullKey: true, NullValue: true})
	require.NoError(t, err)
	require.Nil(t, r.Key)
	require.Nil(t, r.Value)
}

func TestEncodedRecordsDoNotShareMemory(t *testing.T) {
	enc := encoderOf()
	var rs []*kgo.Record
	big := strings.Repeat("x", arenaSize)
	for _, v := range []string{"a", big, "b", "c"} {
		r, err := encodeWith(&enc, &Record[string, string]{Key: v, Value: v})
		require.NoError(t, err)
		rs = append(rs, r)
	}
	_ = append(rs[0].Key, "overwrites"...)
	require.Equal(t, "a", string(rs[0].Value))
	require.Equal(t, big, string(rs[1].Value))
	require.Equal(t, "b", string(rs[2].Key))
	require.Equal(t, "c", string(rs[3].Value))
}

func TestEncodeMayAddHeadersButNotToOthers(t *testing.T) {
	enc := encoderOf()
	shared := make([]Header, 1, 8)
	shared[0] = Header{Key: "h"}
	a, err := encodeWith(&enc, &Record[string, string]{Value: "header", Headers: shared})
	require.NoError(t, err)
	require.Len(t, a.Headers, 2)
	require.Empty(t, shared[:2][1].Key, "the input's memory is untouched")
}

func TestEncodeErrorsNameTheHalf(t *testing.T) {
	enc := encoderOf()
	_, err := encodeWith(&enc, &Record[string, string]{Value: "bad"})
	require.EqualError(t, err, "value: cannot")
	_, err = encodeWith(&enc, &Record[string, string]{Value: "short", Key: "k"})
	require.ErrorContains(t, err, "Encode has to append")
}

func TestForEachContextOutlivesAStop(t *testing.T) {
	e := onFake(t)
	in := e.topic("in", 1)
	e.putN(in, 0, 0, 3)
	begun, finish := make(chan struct{}), make(chan struct{})
	r := e.start(ForEach(strs(in), func(ctx context.Context, _ Record[string, string]) error {
		close(begun)
		<-finish
		return ctx.Err()
	}))
	receive(t, begun)
	r.cancel()
	r.until("stopping", func(s Stats) bool { return s.State == StateStopping })
	close(finish)
	require.NoError(t, r.wait())
	require.EqualValues(t, 1, e.committed(e.group(), in, 0), "what had begun is done and committed, the rest is not begun")
}

func TestOutputThatKafkaRefusesEndsTheRun(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		in, out := e.topic("in", 1), e.topic("out", 1)
		e.putN(in, 0, 0, 4)
		s := Map(strs(in), func(r Record[string, string]) (Record[string, string], error) {
			if r.Value == "v2" {
				return WithValue(r, string(make([]byte, 3<<20))), nil
			}
			return r, nil
		})
		_, err := e.runToEnd(toStrs(s, out), Kafka(kgo.ProducerBatchMaxBytes(8<<20), kgo.ProducerBatchCompression(kgo.NoCompression())))
		pe, ok := errors.AsType[*ProduceError](err)
		require.True(t, ok, "%v", err)
		require.ErrorIs(t, err, kerr.MessageTooLarge)
		require.Equal(t, out, pe.Topic)
		// Kafka refuses a whole batch, so it may be a record before it too.
		require.LessOrEqual(t, pe.FromOffset, int64(2))
		require.LessOrEqual(t, e.committed(e.group(), in, 0), int64(2), "never past the record that failed")
	})
}

func TestUnknownKeyPartitioningMatchesKafkas(t *testing.T) {
	e := onFake(t)
	in, out := e.topic("in", 1), e.topic("out", 4)
	e.putN(in, 0, 0, 40)
	_, err := e.runToEnd(toStrs(strs(in), out))
	require.NoError(t, err)
	java := kgo.StickyKeyPartitioner(nil).ForTopic(out)
	for _, r := range e.read(out) {
		require.EqualValues(t, java.Partition(&kgo.Record{Key: r.Key}, 4), r.Partition)
	}
	require.WithinDuration(t, time.Now(), e.read(out)[0].Timestamp, time.Minute)
}
