package codec_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/globaltable/enrich/codec"
)

var meta = codec.Meta{Topic: "devices", Part: codec.Value}

// encode appends v to a prefix that must survive, and returns what was added.
func encode[T any](t testing.TB, c codec.Codec[T], v T) []byte {
	t.Helper()
	prefix := []byte("prefix")
	b, err := c.Encode(prefix, v, meta)
	require.NoError(t, err)
	require.Equal(t, "prefix", string(b[:len(prefix)]), "what was in the buffer stays")
	alone, err := c.Encode(nil, v, meta)
	require.NoError(t, err)
	require.Equal(t, string(alone), string(b[len(prefix):]), "the buffer's content does not matter")
	return b[len(prefix):]
}

// roundTrip encodes v and expects its decoding to be v, and not to change or
// share the bytes it came from.
func roundTrip[T any](t testing.TB, c codec.Codec[T], v T) []byte {
	t.Helper()
	b := encode(t, c, v)
	before := string(b)
	got, err := c.Decode(b, meta)
	require.NoError(t, err)
	require.Equal(t, before, string(b), "the input is not changed")
	for i := range b {
		b[i] ^= 0xff
	}
	require.Equal(t, v, got, "the value shares no memory with the input")
	return []byte(before)
}

// refused expects a decoding to fail with an error that says where and why.
func refused[T any](t testing.TB, c codec.Codec[T], b []byte, name, why string) {
	t.Helper()
	v, err := c.Decode(b, meta)
	var e *codec.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, "decode", e.Op)
	require.Equal(t, name, e.Codec)
	require.Equal(t, "devices", e.Topic)
	require.Equal(t, codec.Value, e.Part)
	require.ErrorContains(t, err, why)
	require.ErrorContains(t, err, "codec: decode value of topic devices as "+name+": ")
	require.False(t, codec.IsRetryable(err), "bad bytes stay bad")
	var zero T
	require.Equal(t, zero, v, "a failed decoding returns the zero value")
}
