package codec_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/globaltable/enrich/codec"
)

func TestBytesKeepEveryByte(t *testing.T) {
	for _, v := range [][]byte{{}, {0}, {0xff, 0xfe}, []byte("dev-17"), []byte(strings.Repeat("x", 10_000))} {
		require.Equal(t, string(v), string(roundTrip(t, codec.Bytes(), v)))
	}
}

// TestNoBytesAreEmptyAndNotNull tells an empty value from a deletion.
func TestNoBytesAreEmptyAndNotNull(t *testing.T) {
	v, err := codec.Bytes().Decode([]byte{}, meta)
	require.NoError(t, err)
	require.NotNil(t, v)
	require.Empty(t, v)
	v, err = codec.Bytes().Decode(nil, meta)
	require.NoError(t, err)
	require.NotNil(t, v)
}

func TestDecodedBytesAreACopy(t *testing.T) {
	b := []byte("abc")
	v, err := codec.Bytes().Decode(b, meta)
	require.NoError(t, err)
	b[0] = 'X'
	require.Equal(t, "abc", string(v))
	require.Equal(t, "abcd", string(append(v, 'd')))
	require.Equal(t, "Xbc", string(b), "appending to the value leaves the input alone")
}

func TestStringKeepsBytesThatAreNotUTF8(t *testing.T) {
	for _, v := range []string{"", "\x00", "dev-17", "größe", "\xff\xfe\x00", strings.Repeat("x", 10_000)} {
		require.Equal(t, v, string(roundTrip(t, codec.String(), v)))
	}
}

func FuzzBytesRoundTrip(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("dev-17"))
	f.Add([]byte{0, 0xff})
	f.Fuzz(func(t *testing.T, v []byte) {
		if v == nil {
			v = []byte{}
		}
		require.Equal(t, string(v), string(roundTrip(t, codec.Bytes(), v)))
	})
}

func FuzzStringRoundTrip(f *testing.F) {
	f.Add("")
	f.Add("dev-17")
	f.Add("\xff\x00")
	f.Fuzz(func(t *testing.T, v string) {
		require.Equal(t, v, string(roundTrip(t, codec.String(), v)))
	})
}

func ExampleBytes() {
	c := codec.Bytes()
	b, err := c.Encode([]byte("buffer:"), []byte("raw"), codec.Meta{})
	fmt.Printf("%s %v\n", b, err)
	v, err := c.Decode([]byte("raw"), codec.Meta{})
	fmt.Printf("%s %v\n", v, err)
	// Output:
	// buffer:raw <nil>
	// raw <nil>
}

func ExampleString() {
	c := codec.String()
	b, err := c.Encode(nil, "dev-17", codec.Meta{})
	fmt.Printf("%q %v\n", b, err)
	v, err := c.Decode(b, codec.Meta{})
	fmt.Println(v, err)
	// Output:
	// "dev-17" <nil>
	// dev-17 <nil>
}
