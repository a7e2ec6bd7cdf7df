package stream

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/codec"
)

// metaCodec notes what it is told.
type metaCodec struct {
	codec.Codec[string]
	told *[]codec.Meta
}

func (c metaCodec) Decode(b []byte, m codec.Meta) (string, error) {
	*c.told = append(*c.told, m)
	if string(b) == "bad" {
		return "", errors.New("cannot")
	}
	return string(b), nil
}

func decodeOf(raw *kgo.Record) (Record[string, string], []codec.Meta, error) {
	var told []codec.Meta
	c := metaCodec{codec.String(), &told}
	r, err := decode(&input{rec: raw}, codec.Codec[string](c), codec.Codec[string](c))
	return r, told, err
}

func TestDecodeTellsTheCodecWhere(t *testing.T) {
	raw := &kgo.Record{
		Topic: "t", Partition: 1, Offset: 2, Timestamp: time.UnixMilli(3),
		Key: []byte("k"), Value: []byte("v"), Headers: []Header{{Key: "h"}},
	}
	r, told, err := decodeOf(raw)
	require.NoError(t, err)
	require.Equal(t, Record[string, string]{
		Key: "k", Value: "v", Topic: "t", Partition: 1, Offset: 2, Timestamp: time.UnixMilli(3), Headers: raw.Headers,
	}, r)
	require.Equal(t, []codec.Meta{
		{Topic: "t", Part: codec.Key, Headers: &raw.Headers}, {Topic: "t", Part: codec.Value, Headers: &raw.Headers},
	}, told)
}

func TestDecodeShowsNoNullToACodec(t *testing.T) {
	r, told, err := decodeOf(&kgo.Record{})
	require.NoError(t, err)
	require.True(t, r.NullKey && r.NullValue)
	require.Empty(t, told)
	r, told, err = decodeOf(&kgo.Record{Key: []byte{}, Value: []byte{}})
	require.NoError(t, err)
	require.False(t, r.NullKey || r.NullValue, "empty is not null")
	require.Len(t, told, 2)
}

func TestDecodeErrorsNameTheHalf(t *testing.T) {
	_, _, err := decodeOf(&kgo.Record{Key: []byte("bad"), Value: []byte("v")})
	require.EqualError(t, err, "key: cannot")
	_, _, err = decodeOf(&kgo.Record{Key: []byte("k"), Value: []byte("bad")})
	require.EqualError(t, err, "value: cannot")
}

func TestPassHandsOnAndEmpties(t *testing.T) {
	var got []int
	var b batch[string, string]
	failed := errors.New("failed")
	next := func(b batch[string, string]) error { got = append(got, len(b.recs)); return failed }
	require.NoError(t, pass(&b, next), "nothing is not handed on")
	b.add(Record[string, string]{}, nil)
	require.ErrorIs(t, pass(&b, next), failed)
	require.Empty(t, b.recs)
	require.Equal(t, []int{1}, got)
}

func TestPlansDoNotShareMemory(t *testing.T) {
	s := strs("in")
	a := toStrs(s, "a")
	b := toStrs(s, "b")
	require.Equal(t, []string{"a"}, a.plan.outputs)
	require.Equal(t, []string{"b"}, b.plan.outputs)
	require.Empty(t, s.plan.outputs)
	p := process(process(s, passThrough{}.Process, newGate()), passThrough{}.Process, newGate())
	require.Len(t, p.plan.deps, 2)
	require.Empty(t, s.plan.deps, "a stream is never changed")
}

func TestWhatIsWrongInAChainIsCollected(t *testing.T) {
	bad := From[string, string]("", nil, nil)
	sink := To(bad, "", codec.String(), codec.String())
	_, err := New(sink, Brokers("127.0.0.1:1"), Group("g"))
	require.EqualError(t, err, "stream: From needs a topic\nstream: From(\"\") needs a key codec and a value codec\nstream: To needs a topic")
}
