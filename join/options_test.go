package join

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/globaltable"
	"github.com/globaltable/enrich/stream"
)

// idle is a table that nothing runs; these tests need no broker.
func idle(t *testing.T) *table {
	t.Helper()
	tb, err := globaltable.Open("rows", codec.String(), codec.String(), globaltable.Brokers("127.0.0.1:1"), globaltable.InMemory())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, tb.Close()) })
	return tb
}

// Red if one of the arguments is not checked.
func TestJ13_MissingArgumentsAreNamed(t *testing.T) {
	tb := idle(t)
	src := stream.From("in", codec.String(), codec.String())
	for kind, join := range map[string]struct {
		fn   func(*texts, *table, func(record) (string, bool), func(record, entry) (string, error), ...Opt) *texts
		name string
	}{"inner": {kinds["inner"], "join: Inner needs "}, "left": {kinds["left"], "join: Left needs "}} {
		for name, tc := range map[string]struct {
			s    *texts
			want []string
		}{
			"table":         {join.fn(src, nil, byValue, show), []string{join.name + "a table"}},
			"key function":  {join.fn(src, tb, nil, show), []string{join.name + "a key function"}},
			"join function": {join.fn(src, tb, byValue, nil), []string{join.name + "a join function"}},
			"stream":        {join.fn(nil, tb, byValue, show), []string{"needs a stream"}},
			"everything": {join.fn(src, nil, nil, nil, Name("")), []string{
				join.name + "a table", join.name + "a key function", join.name + "a join function", "Name needs a name",
			}},
			"in a chain": {Left(join.fn(src, nil, byValue, show), tb, byValue, show), []string{join.name + "a table"}},
		} {
			t.Run("J13/"+kind+"/"+name, func(t *testing.T) {
				_, err := stream.New(stream.ForEach(tc.s, func(context.Context, record) error { return nil }),
					stream.Brokers("127.0.0.1:1"), stream.Group("g"))
				for _, want := range tc.want {
					require.ErrorContains(t, err, want)
				}
			})
		}
	}
}

func TestName(t *testing.T) {
	e := onFake(t)
	e.badInput()
	e.put("k", "x", at(0))
	e.put("k", "", at(0))
	e.put("k", nil, at(0))
	fails := func(r record, row entry) (string, error) {
		if r.Value == "bad" {
			return "", errBad
		}
		return show(r, row)
	}
	tb := e.table()
	stats := e.mustRun(Inner(e.source(), tb, byValue, fails, Name("first"), nil, Name("rooms")), stream.OnBadRecord(stream.Skip))
	require.Equal(t, map[string]int64{"rooms/no-match": 1, "rooms/no-key": 1, "rooms/null-value": 1}, stats.Dropped)

	e.group += "-fail"
	_, err := e.runToEnd(Inner(e.source(), tb, byValue, fails, Name("rooms")))
	bad := &stream.RecordError{}
	require.ErrorAs(t, err, &bad)
	require.Equal(t, "rooms", bad.Stage)

	e.group += "-panic"
	_, err = e.runToEnd(Inner(e.source(), tb, func(record) (string, bool) { panic("oops") }, fails, Name("rooms")))
	p := &stream.PanicError{}
	require.ErrorAs(t, err, &p)
	require.Equal(t, "rooms", p.Stage)
}

// Counters outlive releases: those who watch them rely on the texts.
func TestDropReasonsStayTheSame(t *testing.T) {
	require.Equal(t, []string{"null-value", "no-key", "no-match"}, []string{DropNullValue, DropNoKey, DropNoMatch})
}
