package codec_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/globaltable/enrich/codec"
)

type device struct {
	Room  string  `json:"room"`
	Limit float64 `json:"limit_c"`
	Tags  []string
	Raw   json.RawMessage
}

func TestJSONRoundTrip(t *testing.T) {
	for _, v := range []device{{Raw: json.RawMessage("null")}, {Room: "größe <b>", Limit: 26.5, Tags: []string{"a", ""}, Raw: json.RawMessage(`{"x":1}`)}} {
		roundTrip(t, codec.JSON[device](), v)
	}
	require.Equal(t, "17", string(roundTrip(t, codec.JSON[int](), 17)))
	require.Equal(t, `""`, string(roundTrip(t, codec.JSON[string](), "")))
}

func TestJSONIsStrictAboutItsEnd(t *testing.T) {
	c := codec.JSON[device]()
	for _, b := range []string{`{} {}`, `{}x`, `{},`, "{}\x00", `{}}`, `null null`} {
		refused(t, c, []byte(b), "json", "after top-level value")
	}
	_, err := c.Decode([]byte(" \t\r\n{\"room\":\"12\"}\n"), meta)
	require.NoError(t, err, "white space is not a left-over")
}

func TestJSONThatIsNoneIsRefused(t *testing.T) {
	c := codec.JSON[device]()
	refused(t, c, nil, "json", "unexpected end of JSON input")
	refused(t, c, []byte{}, "json", "unexpected end of JSON input")
	refused(t, c, []byte("  "), "json", "unexpected end of JSON input")
	refused(t, c, []byte(`{"room":`), "json", "unexpected end of JSON input")
	refused(t, c, []byte("room=12"), "json", "invalid character 'r'")
}

// TestJSONOfAnotherTypeNamesTheField also expects that nothing of the value
// comes back, though the first field could be read.
func TestJSONOfAnotherTypeNamesTheField(t *testing.T) {
	b := []byte(`{"room":"12","limit_c":"hot"}`)
	refused(t, codec.JSON[device](), b, "json", "limit_c")
	var e *json.UnmarshalTypeError
	_, err := codec.JSON[device]().Decode(b, meta)
	require.ErrorAs(t, err, &e)
	require.Equal(t, "limit_c", e.Field)
}

func TestJSONNullIsTheZeroValue(t *testing.T) {
	v, err := codec.JSON[device]().Decode([]byte("null"), meta)
	require.NoError(t, err)
	require.Equal(t, device{}, v)
	p, err := codec.JSON[*device]().Decode([]byte("null"), meta)
	require.NoError(t, err)
	require.Nil(t, p)
	require.Equal(t, "null", string(encode(t, codec.JSON[*device](), nil)))
}

func TestJSONIgnoresUnknownFields(t *testing.T) {
	v, err := codec.JSON[device]().Decode([]byte(`{"room":"12","added_later":[1,2]}`), meta)
	require.NoError(t, err)
	require.Equal(t, "12", v.Room)
}

type failing struct{ err error }

func (f failing) MarshalJSON() ([]byte, error) { return nil, f.err }

// TestJSONEncodeErrorLeavesTheBuffer looks behind the slice's end, too: nothing
// was half written there.
func TestJSONEncodeErrorLeavesTheBuffer(t *testing.T) {
	boom := errors.New("boom")
	for _, c := range []struct {
		encode func(dst []byte) ([]byte, error)
		why    string
	}{
		{func(dst []byte) ([]byte, error) { return codec.JSON[float64]().Encode(dst, math.NaN(), meta) }, "NaN"},
		{func(dst []byte) ([]byte, error) { return codec.JSON[chan int]().Encode(dst, nil, meta) }, "chan int"},
		{func(dst []byte) ([]byte, error) {
			return codec.JSON[[]any]().Encode(dst, []any{"fine", failing{boom}}, meta)
		}, "boom"},
	} {
		dst := append(make([]byte, 0, 64), "keep"...)
		got, err := c.encode(dst)
		var e *codec.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, "encode", e.Op)
		require.Equal(t, "json", e.Codec)
		require.ErrorContains(t, err, "codec: encode value of topic devices as json: ")
		require.ErrorContains(t, err, c.why)
		require.Equal(t, "keep", string(got))
		require.Same(t, &dst[0], &got[0])
		require.Equal(t, make([]byte, 60), dst[4:64])
	}
	_, err := codec.JSON[failing]().Encode(nil, failing{boom}, meta)
	require.ErrorIs(t, err, boom)
}

// TestJSONErrorKeepsARetryableMark: a type's own methods may need a server.
func TestJSONErrorKeepsARetryableMark(t *testing.T) {
	_, err := codec.JSON[failing]().Encode(nil, failing{codec.Retryable(errors.New("away"))}, meta)
	require.True(t, codec.IsRetryable(err))
}

func FuzzJSONDecode(f *testing.F) {
	for _, s := range []string{"", "{}", "{} ", "{}{}", `{"room":"12","limit_c":1e3,"Raw":[1]}`, `{"room":7}`, "null", "[", "\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := codec.JSON[device]().Decode(b, meta)
		if err != nil {
			require.Equal(t, device{}, v)
			return
		}
		require.True(t, json.Valid(b), "what decodes is one JSON value")
		first := encode(t, codec.JSON[device](), v)
		again, err := codec.JSON[device]().Decode(first, meta)
		require.NoError(t, err)
		require.Equal(t, string(first), string(encode(t, codec.JSON[device](), again)))
	})
}

func ExampleJSON() {
	type Device struct {
		Room string `json:"room"`
	}
	c := codec.JSON[Device]()
	b, err := c.Encode(nil, Device{Room: "12"}, codec.Meta{})
	fmt.Printf("%s %v\n", b, err)
	_, err = c.Decode([]byte(`{"room":"12"} 13`), codec.Meta{Topic: "devices", Part: codec.Value})
	fmt.Println(err)
	// Output:
	// {"room":"12"} <nil>
	// codec: decode value of topic devices as json: invalid character '1' after top-level value
}
