package codec_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/codec"
)

func TestErrorNamesThePlaceAndTheCause(t *testing.T) {
	for _, c := range []struct {
		err  codec.Error
		want string
	}{
		{codec.Error{Op: "decode", Codec: "json", Topic: "devices", Part: codec.Value, Err: io.EOF}, "codec: decode value of topic devices as json: EOF"},
		{codec.Error{Op: "encode", Codec: "int64", Topic: "rooms", Part: codec.Key, Err: io.EOF}, "codec: encode key of topic rooms as int64: EOF"},
		{codec.Error{Op: "decode", Codec: "int32", Part: codec.Key, Err: io.EOF}, "codec: decode key as int32: EOF"},
	} {
		require.EqualError(t, &c.err, c.want)
		require.ErrorIs(t, &c.err, io.EOF)
	}
}

func TestPartString(t *testing.T) {
	require.Equal(t, "key", codec.Key.String())
	require.Equal(t, "value", codec.Value.String())
}

func TestRetryable(t *testing.T) {
	require.NoError(t, codec.Retryable(nil))
	require.False(t, codec.IsRetryable(nil))
	require.False(t, codec.IsRetryable(io.EOF))

	err := codec.Retryable(io.EOF)
	require.EqualError(t, err, "EOF", "the mark is not part of the message")
	require.ErrorIs(t, err, io.EOF)
	require.True(t, codec.IsRetryable(err))
	require.True(t, codec.IsRetryable(fmt.Errorf("registry: %w", err)))
	require.True(t, codec.IsRetryable(errors.Join(io.ErrNoProgress, err)))
	require.True(t, codec.IsRetryable(codec.Retryable(err)), "marking twice does no harm")
	require.True(t, codec.IsRetryable(&codec.Error{Op: "decode", Codec: "avro", Err: err}), "the mark is seen through an Error")
	require.False(t, codec.IsRetryable(&codec.Error{Op: "decode", Codec: "avro", Err: io.EOF}))
}

// TestHeadersPassWithoutCopies assigns one slice type to the other: it does not
// compile once they differ.
func TestHeadersPassWithoutCopies(t *testing.T) {
	r := kgo.Record{Headers: []kgo.RecordHeader{{Key: "schema", Value: []byte{1}}}}
	m := codec.Meta{Topic: "devices", Part: codec.Key, Headers: &r.Headers}
	*m.Headers = append(*m.Headers, codec.Header{Key: "added"})
	require.Len(t, r.Headers, 2, "a codec's header reaches the record")
}

// TestEncodingIntoALargeEnoughBufferAllocatesNothing checks the promise of the
// package comment for every codec but JSON.
func TestEncodingIntoALargeEnoughBufferAllocatesNothing(t *testing.T) {
	buf := make([]byte, 0, 64)
	noAllocs(t, buf, codec.Bytes(), []byte("dev-17"))
	noAllocs(t, buf, codec.String(), "dev-17")
	noAllocs(t, buf, codec.Int64(), int64(-17))
	noAllocs(t, buf, codec.Int32(), int32(-17))
	noAllocs(t, buf, codec.Uint64(), uint64(17))
	noAllocs(t, buf, codec.Uint32(), uint32(17))
}

func noAllocs[T any](t *testing.T, buf []byte, c codec.Codec[T], v T) {
	t.Helper()
	n := testing.AllocsPerRun(100, func() {
		b, err := c.Encode(buf, v, meta)
		if err != nil || &b[0] != &buf[:1][0] {
			t.Errorf("%T: not encoded into the buffer (%v)", c, err)
		}
	})
	require.Zero(t, n, "%T", c)
}

// TestIntegersDecodeWithoutAllocating matters to a join that decodes a key for
// each record.
func TestIntegersDecodeWithoutAllocating(t *testing.T) {
	c, b := codec.Int64(), make([]byte, 8)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if _, err := c.Decode(b, meta); err != nil {
			t.Error(err)
		}
	}))
}

// TestCodecsAreSafeForConcurrentUse is for the race detector.
func TestCodecsAreSafeForConcurrentUse(t *testing.T) {
	ints, strs, js := codec.Int64(), codec.String(), codec.JSON[map[string]int]()
	for i := range 4 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			for n := range 200 {
				roundTrip(t, ints, int64(n))
				roundTrip(t, strs, fmt.Sprint(n))
				roundTrip(t, js, map[string]int{"n": n})
			}
		})
	}
}
