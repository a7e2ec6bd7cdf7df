package stream

import (
	"bytes"
	"errors"
	"fmt"
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
	// What the memory held before must not show.
	r := Record[string, string]{
		Key: "before", Value: "before", NullKey: true, NullValue: true, Timestamp: time.UnixMilli(9), Headers: []Header{{Key: "before"}},
		Topic: "before", Partition: 9, Offset: 9,
	}
	err := newDecoder(codec.Codec[string](c), codec.Codec[string](c)).decode(raw, &r)
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
	require.Equal(t, Record[string, string]{NullKey: true, NullValue: true}, r)
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

// The codecs whose work is done here do it as they say.
func TestPlainCodecsAreDecodedAsTheySay(t *testing.T) {
	texts := newDecoder(codec.String(), codec.String())
	bins := newDecoder(codec.Bytes(), codec.Bytes())
	require.True(t, texts.key.plain && bins.value.plain)
	require.False(t, newDecoder(codec.Codec[string](metaCodec{}), codec.JSON[string]()).key.plain, "a codec that wraps one is another")
	require.False(t, newDecoder(codec.Int64(), codec.JSON[string]()).value.plain)
	for _, size := range []int{0, 1, shared / 4, shared/4 + 1, 3 * shared} {
		in := bytes.Repeat([]byte{0xff}, size)
		raw := &kgo.Record{Key: in, Value: in}
		var text Record[string, string]
		var bin Record[[]byte, []byte]
		require.NoError(t, texts.decode(raw, &text))
		require.NoError(t, bins.decode(raw, &bin))
		want := string(in)
		clear(in)
		require.Equal(t, want, text.Key)
		require.Equal(t, want, text.Value, "it has no memory of the client's")
		require.Equal(t, []byte(want), bin.Key)
		require.Equal(t, []byte(want), bin.Value)
		require.False(t, text.NullValue || bin.NullValue)
	}
}

func TestDecodedBytesAreTheReceivers(t *testing.T) {
	d := newDecoder(codec.Bytes(), codec.Bytes())
	var rs []Record[[]byte, []byte]
	for i := range 3 * shared {
		var r Record[[]byte, []byte]
		require.NoError(t, d.decode(&kgo.Record{Key: fmt.Append(nil, i), Value: fmt.Append(nil, "value ", i)}, &r))
		rs = append(rs, r)
	}
	for i, r := range rs {
		if i%2 == 0 {
			_ = append(r.Value, "overwrites"...)
			_ = append(r.Key, "overwrites"...)
			clear(r.Value)
		}
	}
	for i, r := range rs {
		require.Equal(t, fmt.Append(nil, i), r.Key)
		if i%2 == 1 {
			require.Equal(t, fmt.Append(nil, "value ", i), r.Value)
		}
	}
}
