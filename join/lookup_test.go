package join

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/globaltable"
	"github.com/globaltable/enrich/stream"
)

// scripted is a table that answers what a test wants.
type scripted struct {
	revision globaltable.Revision // zero: nothing can be kept
	asked    [][]string
	rows     map[string]result
	err      error
}

func (s *scripted) AppendMany(dst []result, keys []string) ([]result, error) {
	s.asked = append(s.asked, slices.Clone(keys))
	if s.err != nil {
		return dst, s.err
	}
	for _, k := range keys {
		r := s.rows[k]
		r.Key = k
		dst = append(dst, r)
	}
	return dst, nil
}

func (s *scripted) Revision() globaltable.Revision { return s.revision }

func found(value string) result {
	var r result
	r.Value, r.Found = value, true
	return r
}

// keyedBy makes what the mapper hands on; an empty value has no key.
func keyedBy(values ...string) []stream.Record[string, keyed[string, string]] {
	var out []stream.Record[string, keyed[string, string]]
	for _, r := range texted(values...) {
		out = append(out, stream.WithValue(r, keyed[string, string]{r.Value, r.Value, r.Value != ""}))
	}
	return out
}

func joinerOf(kind string, tb lookup[string, string], join func(record, entry) (string, error)) *joiner[string, string, string, string, string] {
	return &joiner[string, string, string, string, string]{cfg: newConfig(kind == "left", nil), table: tb, join: join}
}

func TestOneLookupForAllRecords(t *testing.T) {
	tb := &scripted{rows: map[string]result{"a": found("1"), "b": found("2"), "bad": {Err: errBad}}}
	in := keyedBy("b", "", "a", "x", "bad", "b")
	for kind, want := range map[string]struct {
		emits map[int]string
		drops map[int]string
	}{
		// A record without a key does not come here for an inner join.
		"inner": {map[int]string{0: "b+2", 2: "a+1", 5: "b+2"}, map[int]string{1: DropNoMatch, 3: DropNoMatch}},
		"left":  {map[int]string{0: "b+2", 1: "+null", 2: "a+1", 3: "x+null", 5: "b+2"}, map[int]string{}},
	} {
		t.Run(kind, func(t *testing.T) {
			tb.asked = nil
			out := newOutcome[string]()
			require.NoError(t, joinerOf(kind, tb, show).process(t.Context(), in, out))
			require.Equal(t, [][]string{{"b", "a", "x", "bad"}}, tb.asked, "all at once, each key once, and none for a record without a key")
			got := map[int]string{}
			for i, r := range out.emits {
				got[i] = r.Value
				require.Equal(t, at(i), r.Timestamp)
			}
			require.Equal(t, want.emits, got)
			require.Equal(t, want.drops, out.drops)
			require.Equal(t, map[int]error{4: errBad}, out.fails, "the row's error, and the join function is not called")
		})
	}
}

func TestNoLookupWithoutKeys(t *testing.T) {
	tb := &scripted{err: errBad}
	out := newOutcome[string]()
	require.NoError(t, joinerOf("left", tb, show).process(t.Context(), keyedBy("", ""), out))
	require.Empty(t, tb.asked)
	require.Len(t, out.emits, 2)
}

func TestErrorsOfTheTable(t *testing.T) {
	notReady := fmt.Errorf("%w: table rows", globaltable.ErrNotReady)
	for name, tc := range map[string]struct {
		err   error
		waits bool
	}{
		"not ready":           {notReady, true},
		"failed":              {&globaltable.RunError{Topic: "rows", Err: errBad}, false},
		"failed of not ready": {&globaltable.RunError{Topic: "rows", Err: notReady}, false},
		"closed":              {globaltable.ErrClosed, false},
		"cannot read":         {fmt.Errorf("globaltable: table rows: %w", errBad), false},
	} {
		for kind := range kinds {
			t.Run(name+"/"+kind, func(t *testing.T) {
				out := newOutcome[string]()
				err := joinerOf(kind, &scripted{err: tc.err}, show).process(t.Context(), keyedBy("a", "", "b"), out)
				require.ErrorIs(t, err, tc.err)
				require.Equal(t, tc.waits, codec.IsRetryable(err))
				require.Equal(t, newOutcome[string](), out, "nothing is said of any record")
			})
		}
	}
}

func TestNothingIsCalledBehindARecordThatWaits(t *testing.T) {
	tb := &scripted{rows: map[string]result{"a": found("1"), "b": found("2"), "c": found("3"), "d": found("4")}}
	var calls []string
	j := joinerOf("inner", tb, func(r record, row entry) (string, error) {
		calls = append(calls, r.Value)
		switch r.Value {
		case "a":
			return "", errBad
		case "c":
			return "", fmt.Errorf("wrapped: %w", codec.Retryable(errors.New("not yet")))
		}
		return show(r, row)
	})
	out := newOutcome[string]()
	require.NoError(t, j.process(t.Context(), keyedBy("a", "b", "c", "d"), out))
	require.Equal(t, []string{"a", "b", "c"}, calls)
	require.Len(t, out.fails, 2)
	require.ErrorIs(t, out.fails[0], errBad)
	require.True(t, codec.IsRetryable(out.fails[2]))
	require.Equal(t, "b+2", out.emits[1].Value)
}

func TestJoinerEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	j := joinerOf("left", &scripted{}, func(record, entry) (string, error) { calls++; cancel(); return "", nil })
	require.ErrorIs(t, j.process(ctx, keyedBy("a", "b"), newOutcome[string]()), context.Canceled)
	require.Equal(t, 1, calls)
}

// counted counts the lookups of a real table.
type counted struct {
	*table
	lookups, keys atomic.Int64
}

func (c *counted) AppendMany(dst []result, keys []string) ([]result, error) {
	c.lookups.Add(1)
	c.keys.Add(int64(len(keys)))
	return c.table.AppendMany(dst, keys)
}

func TestOneLookupForAPollAndOneForAKey(t *testing.T) {
	e := onFake(t)
	rows := newChoosy()
	for i := range 5 {
		e.row(int32(i%2), fmt.Sprint("d", i), fmt.Sprint("row", i))
	}
	var in []*kgo.Record
	for i := range 500 {
		in = append(in, &kgo.Record{Topic: e.in, Key: []byte("k"), Value: fmt.Append(nil, "d", i%6)})
	}
	e.produce(in...)
	tb := &counted{table: runTable(e, codec.String(), codec.Codec[string](rows))}
	stats := e.mustRun(build(e.source(), newConfig(false, nil), lookup[string, string](tb), byValue, show, tb.table))
	require.EqualValues(t, 1, tb.lookups.Load(), "one lookup for the records of one poll")
	require.EqualValues(t, 6, tb.keys.Load(), "each key once")
	want := map[string]int{}
	for i := range 5 {
		want[fmt.Sprint("row", i)] = 1
	}
	require.Equal(t, want, rows.decoded, "each row is read once, however many records have its key")
	require.EqualValues(t, 500/6*5+2, stats.Outputs)
}

// Rows are not looked up again while the table rests, and at once when it has
// changed.
func TestRowsAreKeptWhileTheTableRests(t *testing.T) {
	e := onFake(t)
	e.row(0, "a", "1")
	e.row(1, "b", "2")
	tb := &counted{table: runTable(e, codec.String(), codec.String())}
	require.NoError(t, tb.WaitReady(t.Context()))
	j, a := joinerOf("left", tb, show), new(asked[string, string])
	look := func(keys ...string) (values []string, asked int64) {
		t.Helper()
		require.NoError(t, j.lookUp(a, keyedBy(keys...)))
		for i := range keys {
			values = append(values, a.row(i).Value)
		}
		return values, tb.keys.Swap(0)
	}
	values, n := look("a", "none", "a")
	require.Equal(t, []string{"1", "", "1"}, values)
	require.EqualValues(t, 2, n)
	values, n = look("b", "a", "none", "b")
	require.Equal(t, []string{"2", "1", "", "2"}, values)
	require.EqualValues(t, 1, n, "only b is new")
	values, n = look("none", "b")
	require.Equal(t, []string{"", "2"}, values)
	require.Zero(t, n)
	for _, value := range []string{"3", "4"} {
		require.NoError(t, tb.WaitFor(t.Context(), globaltable.After(e.row(0, "a", value))))
		values, n = look("a", "b")
		require.Equal(t, []string{value, "2"}, values)
		require.EqualValues(t, 2, n)
	}
	var many []string
	for i := range rowsKept + 1 {
		many = append(many, fmt.Sprint("none", i))
	}
	_, n = look(many...)
	require.EqualValues(t, rowsKept+1, n)
	_, n = look("a")
	require.EqualValues(t, 1, n, "they were too many to keep")
	require.Len(t, a.found, 1)

	require.NoError(t, tb.Close())
	require.ErrorIs(t, j.lookUp(a, keyedBy("a")), globaltable.ErrClosed)
}

// What could not be looked up may be another time, though the table rests.
func TestErrorsAreNotKept(t *testing.T) {
	e := onFake(t)
	whole := runTable(e, codec.String(), codec.String())
	require.NoError(t, whole.WaitReady(t.Context()))
	tb := &scripted{revision: whole.Revision(), rows: map[string]result{"a": found("1"), "bad": {Err: errBad}}}
	j, a := joinerOf("inner", tb, show), new(asked[string, string])
	require.NoError(t, j.lookUp(a, keyedBy("a", "bad")))
	require.ErrorIs(t, a.row(1).Err, errBad)
	tb.rows["bad"] = found("2")
	require.NoError(t, j.lookUp(a, keyedBy("bad", "a")))
	require.Equal(t, "2", a.row(0).Value)
	require.Equal(t, "1", a.row(1).Value)
	tb.err = errBad
	require.ErrorIs(t, j.lookUp(a, keyedBy("a", "c")), errBad)
	tb.err = nil
	require.NoError(t, j.lookUp(a, keyedBy("c", "a")))
	require.False(t, a.row(0).Found)
	require.Equal(t, "1", a.row(1).Value)
	require.Equal(t, [][]string{{"a", "bad"}, {"bad", "a"}, {"c"}, {"c", "a"}}, tb.asked)
}
