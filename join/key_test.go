package join

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/stream"
)

// outcome is an output that keeps what it is told.
type outcome[V any] struct {
	emits map[int]stream.Record[string, V]
	drops map[int]string
	fails map[int]error
}

func newOutcome[V any]() *outcome[V] {
	return &outcome[V]{map[int]stream.Record[string, V]{}, map[int]string{}, map[int]error{}}
}

func (o *outcome[V]) Emit(i int, r stream.Record[string, V]) { o.emits[i] = r }
func (o *outcome[V]) Drop(i int, reason string)              { o.drops[i] = reason }
func (o *outcome[V]) Fail(i int, err error)                  { o.fails[i] = err }

func texted(values ...string) []record {
	rs := make([]record, len(values))
	for i, v := range values {
		rs[i] = record{Key: "k", Value: v, Timestamp: at(i), Offset: int64(i), Topic: "in"}
	}
	return rs
}

func TestMapperFindsKeys(t *testing.T) {
	in := texted("a", "", "bad", "b", "")
	in[4].NullValue = true
	for kind, noKey := range map[string]bool{"inner": true, "left": false} {
		t.Run(kind, func(t *testing.T) {
			m := &mapper[string, string, string]{cfg: newConfig(kind == "left", nil), key: func(r record) (string, bool) {
				if r.Value == "bad" {
					panic(errBad)
				}
				return "key of " + r.Value, r.Value != ""
			}}
			out := newOutcome[keyed[string, string]]()
			require.NoError(t, m.process(t.Context(), in, out))
			want := map[int]string{4: DropNullValue}
			if noKey {
				want[1] = DropNoKey
			} else {
				require.Equal(t, keyed[string, string]{key: "key of "}, out.emits[1].Value)
			}
			require.Equal(t, want, out.drops)
			require.Equal(t, keyed[string, string]{"a", "key of a", true}, out.emits[0].Value)
			require.Equal(t, keyed[string, string]{"b", "key of b", true}, out.emits[3].Value)
			require.Equal(t, at(3), out.emits[3].Timestamp)
			require.Len(t, out.fails, 1)
			require.EqualError(t, out.fails[2], "stream: panic in join: bad")
		})
	}
}

func TestMapperEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	m := &mapper[string, string, string]{key: func(record) (string, bool) { calls++; cancel(); return "", true }}
	require.ErrorIs(t, m.process(ctx, texted("a", "b"), newOutcome[keyed[string, string]]()), context.Canceled)
	require.Equal(t, 1, calls)
}

// The empty key is a key; false is what says that there is none.
func TestEmptyMappedKeyIsAKey(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		e.produce(&kgo.Record{Topic: e.rows, Key: []byte{}, Value: []byte("of the empty key")})
		e.row(1, "a", "1")
		e.puts("", "a")
		e.mustRun(Inner(e.source(), e.table(), func(r record) (string, bool) { return r.Value, true }, show))
		require.Equal(t, []string{"+of the empty key", "a+1"}, e.values())
	})
}
