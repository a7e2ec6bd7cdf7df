package stream

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/globaltable/enrich/codec"
)

func TestOperatorsEndToEnd(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		in, out := e.topic("in", 1), e.topic("out", 1)
		for _, v := range []string{"a b", "skip", "c", "d e f"} {
			e.put(in, 0, v[:1], v)
		}
		words := FlatMap(strs(in), func(r Record[string, string]) ([]Record[string, string], error) {
			var out []Record[string, string]
			for _, w := range strings.Fields(r.Value) {
				out = append(out, WithValue(r, w))
			}
			return out, nil
		})
		kept := Filter(words, func(r Record[string, string]) (bool, error) { return r.Value != "skip", nil })
		lengths := Map(kept, func(r Record[string, string]) (Record[string, int64], error) {
			return WithValue(r, int64(len(r.Value))+int64(r.Value[0])<<8), nil
		})
		upper := Map(lengths, func(r Record[string, int64]) (Record[string, string], error) {
			return WithValue(r, strings.ToUpper(string(rune(r.Value>>8)))), nil
		})
		stats, err := e.runToEnd(toStrs(upper, out))
		require.NoError(t, err)
		require.Equal(t, []string{"A", "B", "C", "D", "E", "F"}, values(e.read(out)))
		require.EqualValues(t, 4, stats.Records)
		require.EqualValues(t, 6, stats.Outputs)
		require.Equal(t, map[string]int64{DropFiltered: 1}, stats.Dropped)
		require.EqualValues(t, 4, e.committed(e.group(), in, 0))
	})
}

func TestOutputKeepsNullsTimestampAndHeaders(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		in, out := e.topic("in", 1), e.topic("out", 1)
		h := Header{Key: "h", Value: []byte("1")}
		e.put(in, 0, nil, "no key", h)
		e.put(in, 0, "tombstone", nil)
		e.put(in, 0, "", "")

		var seen []Record[string, string]
		same := Map(strs(in), func(r Record[string, string]) (Record[string, string], error) {
			seen = append(seen, r)
			return r, nil
		})
		_, err := e.runToEnd(toStrs(same, out))
		require.NoError(t, err)

		require.Len(t, seen, 3)
		require.True(t, seen[0].NullKey)
		require.False(t, seen[0].NullValue)
		require.True(t, seen[1].NullValue)
		require.False(t, seen[2].NullKey || seen[2].NullValue)

		source, got := e.read(in), e.read(out)
		require.Len(t, got, 3)
		for i := range got {
			require.Equal(t, source[i].Key, got[i].Key, i)
			require.Equal(t, source[i].Key == nil, got[i].Key == nil, i)
			require.Equal(t, source[i].Value == nil, got[i].Value == nil, i)
			require.Equal(t, source[i].Timestamp, got[i].Timestamp, i)
			require.Equal(t, source[i].Headers, got[i].Headers, i)
		}
	})
}

func TestProvenanceIsTheInputs(t *testing.T) {
	e := onFake(t)
	in := e.topic("in", 2)
	e.put(in, 1, "k", "v")
	e.put(in, 1, "k", "w")
	forged := Map(strs(in), func(r Record[string, string]) (Record[string, string], error) {
		return Record[string, string]{Value: r.Value, Topic: "elsewhere", Offset: 99}, nil
	})
	var c collector
	_, err := e.runToEnd(ForEach(forged, c.add))
	require.NoError(t, err)
	require.Len(t, c.recs, 2)
	last := c.recs[1]
	require.Equal(t, in, last.Topic)
	require.EqualValues(t, 1, last.Partition)
	require.EqualValues(t, 1, last.Offset)
	require.WithinDuration(t, time.Now(), last.Timestamp, time.Minute)
}

func TestFlatMapOfManyRecordsKeepsOrder(t *testing.T) {
	e := onFake(t)
	in, out := e.topic("in", 1), e.topic("out", 1)
	e.put(in, 0, "k", "v")
	e.put(in, 0, "k", "v")
	n := 2*flushAt + 7
	many := FlatMap(strs(in), func(r Record[string, string]) ([]Record[string, string], error) {
		var rs []Record[string, string]
		for _, v := range numbered("", 0, n) {
			rs = append(rs, WithValue(r, v))
		}
		return rs, nil
	})
	stats, err := e.runToEnd(toStrs(many, out), MaxInFlight(100))
	require.NoError(t, err)
	require.EqualValues(t, 2*n, stats.Outputs)
	require.Equal(t, append(numbered("", 0, n), numbered("", 0, n)...), values(e.read(out)))
}

func TestEachOperatorNeedsItsParts(t *testing.T) {
	ok := strs("topic")
	sinks := map[string]Sink{
		"no topic":        toStrs(strs(""), "out"),
		"no codec":        toStrs(From[string, string]("in", nil, codec.String()), "out"),
		"no map function": toStrs(Map[string, string, string, string](ok, nil), "out"),
		"no stream":       toStrs(Filter[string, string](nil, func(Record[string, string]) (bool, error) { return true, nil }), "out"),
		"no output topic": toStrs(ok, ""),
		"no output codec": To(ok, "out", codec.String(), nil),
		"nil to":          toStrs(nil, "out"),
		"nil foreach":     ForEach(ok, nil),
		"nil processor":   toStrs(Process[string, string, string, string](ok, "x", nil), "out"),
		"nil dependency":  toStrs(Process(ok, "x", Processor[string, string, string, string](passThrough{}), nil), "out"),
		"no sink":         {},
	}
	for name, sink := range sinks {
		t.Run(name, func(t *testing.T) {
			_, err := New(sink, Brokers("127.0.0.1:1"), Group("g"))
			require.ErrorContains(t, err, "stream: ")
		})
	}
	_, err := New(toStrs(ok, "out"), Brokers("127.0.0.1:1"), Group("g"))
	require.NoError(t, err)
}

func TestOperatorErrorsNameTheStage(t *testing.T) {
	e := onFake(t)
	in := e.topic("in", 1)
	e.put(in, 0, "k", "v")
	bad := errors.New("bad")
	id := func(r Record[string, string]) (Record[string, string], error) { return r, nil }
	for stage, s := range map[string]*Stream[string, string]{
		"map": Map(strs(in), func(r Record[string, string]) (Record[string, string], error) { return r, bad }),
		"filter": Filter(Map(strs(in), id), func(Record[string, string]) (bool, error) {
			return false, bad
		}),
		"flatmap": FlatMap(strs(in), func(Record[string, string]) ([]Record[string, string], error) { return nil, bad }),
	} {
		t.Run(stage, func(t *testing.T) {
			err := Run(e.ctx(), ForEach(s, func(context.Context, Record[string, string]) error { return nil }), e.opts()...)
			re, ok := errors.AsType[*RecordError](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, stage, re.Stage)
			require.ErrorIs(t, err, bad)
		})
	}
}
