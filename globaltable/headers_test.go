package globaltable

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/codec"
)

// headerCodec is a string whose first header comes before it.
type headerCodec struct{ codec.Codec[string] }

func (c headerCodec) Decode(b []byte, m codec.Meta) (string, error) {
	s, err := c.Codec.Decode(b, m)
	if m.Headers == nil {
		return "none:" + s, err
	}
	for _, h := range *m.Headers {
		s = h.Key + ":" + s
	}
	return s, err
}

// Headers are kept beside rows, in bulk and live, through restarts, if that was
// asked for; codecs and transforms are given them.
func TestHeadersAreKept(t *testing.T) {
	each(t, 2, func(t *testing.T, e *env) {
		dir := t.TempDir()
		hs := []codec.Header{{Key: "h", Value: []byte("1")}, {Key: "", Value: nil}, {Key: "h", Value: []byte{}}}
		record := func(key string, hs []codec.Header) *kgo.Record {
			return &kgo.Record{Topic: e.topic, Key: []byte(key), Value: []byte("v"), Headers: hs}
		}
		rs := []*kgo.Record{record("three", hs), record("none", nil)}
		open := func(opts ...Opt) *replica {
			tb, err := Open(e.topic, codec.String(), headerCodec{codec.String()}, e.opts(append(opts, Dir(dir))...)...)
			require.NoError(t, err)
			r := e.run(tb)
			r.waitReady()
			return r
		}
		holds := func(r *replica, key, value string, hs []codec.Header) {
			t.Helper()
			want := func(en Entry[string, string], ok bool, err error) {
				t.Helper()
				require.NoError(t, err)
				require.True(t, ok)
				require.Equal(t, value, en.Value)
				require.Equal(t, hs, en.Headers)
			}
			for range 2 { // the second time from what is kept decoded
				want(r.GetEntry(key))
				many, err := r.GetMany([]string{key})
				require.NoError(t, err)
				want(many[0].Entry, many[0].Found, many[0].Err)
			}
			s, err := r.Snapshot()
			require.NoError(t, err)
			defer s.Close()
			want(s.GetEntry(key))
			for en, err := range s.Prefix([]byte(key)) {
				want(en, true, err)
			}
		}
		e.broker.Produce(t, rs...)
		e.put(numbered("k", 0, 300)...)
		r := open(Headers(), bulkOf(100, 4000))
		none := []codec.Header{}
		holds(r, "three", "h::h:v", hs)
		holds(r, "none", "v", none)
		require.Positive(t, r.Stats().BulkLoads)
		live := record("live", hs[:1])
		e.broker.Produce(t, live)
		r.sees([]*kgo.Record{live})
		holds(r, "live", "h:v", hs[:1])
		r.close()

		r = open(Headers())
		require.Equal(t, Resumed, r.Stats().Decision)
		holds(r, "three", "h::h:v", hs)
		r.close()

		r = open()
		require.Equal(t, TransformChanged, r.Stats().Reason)
		holds(r, "three", "none:v", nil)
		r.close()

		r = open(Transform("headers", func(en Entry[string, string]) (string, bool, error) {
			if len(en.Headers) == 3 {
				return "three", true, nil
			}
			return en.Value, true, nil
		}))
		holds(r, "three", "none:three", nil)
	})
}

func FuzzHeaders(f *testing.F) {
	f.Add(appendHeaders(nil, []codec.Header{{Key: "a", Value: []byte("b")}, {Key: ""}}))
	f.Add([]byte{})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, b []byte) {
		hs, err := parseHeaders(b)
		if err != nil {
			require.ErrorIs(t, err, errHeaders)
			return
		}
		again, err := parseHeaders(appendHeaders([]byte{}, hs))
		require.NoError(t, err)
		require.Equal(t, hs, again)
	})
}
