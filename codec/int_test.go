package codec_test

import (
	"bytes"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/globaltable/enrich/codec"
)

// TestIntegersAreThoseOfKafka compares with the bytes that Kafka's
// LongSerializer and IntegerSerializer write: big-endian, two's complement.
func TestIntegersAreThoseOfKafka(t *testing.T) {
	require.Equal(t, []byte{0, 0, 0, 0, 0, 0, 1, 2}, roundTrip(t, codec.Int64(), int64(258)))
	require.Equal(t, bytes.Repeat([]byte{0xff}, 8), roundTrip(t, codec.Int64(), int64(-1)))
	require.Equal(t, []byte{0x80, 0, 0, 0, 0, 0, 0, 0}, roundTrip(t, codec.Int64(), int64(math.MinInt64)))
	require.Equal(t, []byte{0x7f, 0xff, 0xff, 0xff}, roundTrip(t, codec.Int32(), int32(math.MaxInt32)))
	require.Equal(t, []byte{0xff, 0xff, 0xff, 0xfe}, roundTrip(t, codec.Int32(), int32(-2)))
	require.Equal(t, bytes.Repeat([]byte{0xff}, 8), roundTrip(t, codec.Uint64(), uint64(math.MaxUint64)))
	require.Equal(t, []byte{0, 0, 1, 2}, roundTrip(t, codec.Uint32(), uint32(258)))
}

func TestIntegersOfAnotherLengthAreRefused(t *testing.T) {
	for n := range 20 {
		b := make([]byte, n)
		if n != 8 {
			why := fmt.Sprintf("want exactly 8 bytes, have %d", n)
			refused(t, codec.Int64(), b, "int64", why)
			refused(t, codec.Uint64(), b, "uint64", why)
		}
		if n != 4 {
			why := fmt.Sprintf("want exactly 4 bytes, have %d", n)
			refused(t, codec.Int32(), b, "int32", why)
			refused(t, codec.Uint32(), b, "uint32", why)
		}
	}
	refused(t, codec.Int64(), nil, "int64", "have 0")
}

// TestOrderOfEncodedIntegers checks what the comments promise to an ordered
// iteration over keys.
func TestOrderOfEncodedIntegers(t *testing.T) {
	for _, c := range [][2]uint64{{0, 1}, {255, 256}, {1, math.MaxUint64}, {1 << 31, 1 << 32}} {
		require.Negative(t, bytes.Compare(encode(t, codec.Uint64(), c[0]), encode(t, codec.Uint64(), c[1])))
	}
	require.Negative(t, bytes.Compare(encode(t, codec.Uint32(), 255), encode(t, codec.Uint32(), 256)))
	require.Positive(t, bytes.Compare(encode(t, codec.Int64(), -1), encode(t, codec.Int64(), 1)), "negative keys come last")
}

func FuzzInt64RoundTrip(f *testing.F) {
	for _, v := range []int64{0, 1, -1, math.MinInt64, math.MaxInt64} {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, v int64) { require.Len(t, roundTrip(t, codec.Int64(), v), 8) })
}

func FuzzInt32RoundTrip(f *testing.F) {
	for _, v := range []int32{0, 1, -1, math.MinInt32, math.MaxInt32} {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, v int32) { require.Len(t, roundTrip(t, codec.Int32(), v), 4) })
}

func FuzzUint64RoundTrip(f *testing.F) {
	f.Add(uint64(0))
	f.Add(uint64(math.MaxUint64))
	f.Fuzz(func(t *testing.T, v uint64) { require.Len(t, roundTrip(t, codec.Uint64(), v), 8) })
}

func FuzzUint32RoundTrip(f *testing.F) {
	f.Add(uint32(0))
	f.Add(uint32(math.MaxUint32))
	f.Fuzz(func(t *testing.T, v uint32) { require.Len(t, roundTrip(t, codec.Uint32(), v), 4) })
}

// FuzzIntegerDecode gives the decoders any bytes: they take exactly the right
// length, and what they took encodes to the same bytes again.
func FuzzIntegerDecode(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{1, 2, 3, 4})
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8})
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9})
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := codec.Int64().Decode(b, meta)
		require.Equal(t, len(b) == 8, err == nil)
		if err == nil {
			require.Equal(t, string(b), string(encode(t, codec.Int64(), v)))
		}
		u, err := codec.Uint32().Decode(b, meta)
		require.Equal(t, len(b) == 4, err == nil)
		if err == nil {
			require.Equal(t, string(b), string(encode(t, codec.Uint32(), u)))
		}
	})
}

func ExampleInt64() {
	c := codec.Int64()
	b, err := c.Encode(nil, -2, codec.Meta{})
	fmt.Printf("% x %v\n", b, err)
	_, err = c.Decode([]byte("17"), codec.Meta{Topic: "devices", Part: codec.Key})
	fmt.Println(err)
	// Output:
	// ff ff ff ff ff ff ff fe <nil>
	// codec: decode key of topic devices as int64: want exactly 8 bytes, have 2
}

func ExampleInt32() {
	b, err := codec.Int32().Encode(nil, 258, codec.Meta{})
	fmt.Printf("% x %v\n", b, err)
	// Output: 00 00 01 02 <nil>
}

func ExampleUint64() {
	v, err := codec.Uint64().Decode([]byte{0, 0, 0, 0, 0, 0, 1, 2}, codec.Meta{})
	fmt.Println(v, err)
	// Output: 258 <nil>
}

func ExampleUint32() {
	v, err := codec.Uint32().Decode([]byte{0, 0, 1, 2}, codec.Meta{})
	fmt.Println(v, err)
	// Output: 258 <nil>
}
