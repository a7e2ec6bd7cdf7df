package join

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/globaltable"
	"github.com/globaltable/enrich/internal/kafkatest"
	"github.com/globaltable/enrich/stream"
)

// kinds are the two joins, under one signature.
var kinds = map[string]func(*texts, *table, func(record) (string, bool), func(record, entry) (string, error), ...Opt) *texts{
	"inner": Inner[string, string, string, string, string],
	"left":  Left[string, string, string, string, string],
}

// The tests of conformance name, in their subtests, the tests of Kafka's that they
// stand for, and above each function a change of the code that turns it red.

// Red if a row of another partition than the record's counts as missing.
func TestJ1_PartitionsNeedNotMatch(t *testing.T) {
	for _, n := range []struct{ rows, in int32 }{{1, 8}, {8, 1}, {3, 7}} {
		t.Run(fmt.Sprintf("J1/%d to %d", n.rows, n.in), func(t *testing.T) {
			kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
				e := newEnv(t, b, n.rows, n.in)
				const keys = 100
				var rows, in []*kgo.Record
				var want []string
				for i := range int32(keys) {
					key := fmt.Sprint("d", i)
					// Neither side follows a partitioner that the other one knows.
					rows = append(rows, &kgo.Record{Topic: e.rows, Partition: i % n.rows, Key: []byte(key), Value: fmt.Append(nil, "row", i)})
					for j := range int32(3) {
						in = append(in, &kgo.Record{Topic: e.in, Partition: (i*5 + j) % n.in, Key: []byte("k"), Value: []byte(key)})
						want = append(want, fmt.Sprintf("%s+row%d", key, i))
					}
				}
				e.produce(rows...)
				e.produce(in...)
				stats := e.mustRun(Inner(e.source(), e.table(), byValue, show))
				require.ElementsMatch(t, want, e.values(), "every reading meets its row")
				require.Empty(t, stats.Dropped)
			})
		})
	}
}

// Red if Left drops what has no match, or if Inner does not.
func TestJ2_EmptyTable(t *testing.T) {
	t.Run("J2", func(t *testing.T) {
		each(t, func(t *testing.T, e *env) {
			e.puts("X0", "X1")
			tb := e.table()
			stats := e.mustRun(Inner(e.source(), tb, byValue, show))
			require.Empty(t, e.values())
			require.Equal(t, map[string]int64{DropNoMatch: 2}, stats.Dropped)

			e.group += "-left"
			stats = e.mustRun(Left(e.source(), tb, byValue, show))
			out := e.read()
			require.Equal(t, []string{"X0+null", "X1+null"}, valuesOf(out))
			require.Empty(t, stats.Dropped)
			for i, r := range out {
				require.True(t, r.Timestamp.Equal(at(i)), "the stream's time")
			}
		})
	})
}

// Red if a row is kept from one poll to the next, or if the output has the row's
// time.
func TestJ3_TableUpdatesEmitNothing(t *testing.T) {
	for kind, join := range kinds {
		t.Run("J3/"+kind, func(t *testing.T) {
			each(t, func(t *testing.T, e *env) {
				e.row(0, "a", "1")
				tb := e.table()
				r := e.start(join(e.source(), tb, byValue, show))
				e.put("k", "a", at(0))
				r.outputs(1)

				last := e.row(0, "a", "2")
				other := e.row(1, "b", "1")
				require.NoError(t, tb.WaitFor(e.ctx(), globaltable.After(last)))
				require.NoError(t, tb.WaitFor(e.ctx(), globaltable.After(other)))
				e.put("k", "a", at(1))
				e.put("k", "b", at(2))
				r.outputs(3)
				require.NoError(t, r.stop())

				out := e.read()
				require.Equal(t, []string{"a+1", "a+2", "b+1"}, valuesOf(out), "an output for each reading, and none for a row")
				for i, r := range out {
					require.True(t, r.Timestamp.Equal(at(i)), "the stream's time")
				}
			})
		})
	}
}

// Red if Left drops what has no match, or if Inner does not.
func TestJ4_MatchFound(t *testing.T) {
	t.Run("J4", func(t *testing.T) {
		each(t, func(t *testing.T, e *env) {
			e.row(0, "a", "1")
			e.row(1, "c", "3")
			e.puts("a", "b", "c", "d")
			tb := e.table()
			stats := e.mustRun(Inner(e.source(), tb, byValue, show))
			require.Equal(t, []string{"a+1", "c+3"}, e.values())
			require.Equal(t, map[string]int64{DropNoMatch: 2}, stats.Dropped)

			e.group += "-left"
			stats = e.mustRun(Left(e.source(), tb, byValue, show))
			require.Equal(t, []string{"a+1", "b+null", "c+3", "d+null"}, e.values()[2:])
			require.Empty(t, stats.Dropped)
		})
	})
}

// Red if a row is kept from one poll to the next.
func TestJ5_DeletedRowsStopMatching(t *testing.T) {
	for kind, join := range kinds {
		t.Run("J5/"+kind, func(t *testing.T) {
			each(t, func(t *testing.T, e *env) {
				e.row(0, "a", "1")
				e.row(0, "b", "2")
				tb := e.table()
				r := e.start(join(e.source(), tb, byValue, show))
				e.put("k", "a", at(0))
				r.outputs(1)
				require.NoError(t, tb.WaitFor(e.ctx(), globaltable.After(e.row(0, "a", nil))))
				e.put("k", "a", at(1))
				e.put("k", "b", at(2))
				want := []string{"a+1", "a+null", "b+2"}
				if kind == "inner" {
					want = []string{"a+1", "b+2"}
				}
				r.outputs(int64(len(want)))
				require.NoError(t, r.stop())
				require.Equal(t, want, e.values())
			})
		})
	}
}

// J6 and J10 red if a record without a key is looked up under the zero key, J7 if
// records with a null key are dropped.
func TestNullRules(t *testing.T) {
	type testCase struct {
		key, value any
		want       []string
		dropped    map[string]int64
	}
	for name, tc := range map[string]map[string]testCase{
		"J6 no mapped key": {
			"inner": {"k", "", nil, map[string]int64{DropNoKey: 1}},
			"left":  {"k", "", []string{"+null"}, map[string]int64{}},
		},
		"J7 null stream key": {
			"inner": {nil, "a", []string{"a+1"}, map[string]int64{}},
			"left":  {nil, "a", []string{"a+1"}, map[string]int64{}},
		},
		"J10 null stream key, no mapped key": {
			"inner": {nil, "", nil, map[string]int64{DropNoKey: 1}},
			"left":  {nil, "", []string{"+null"}, map[string]int64{}},
		},
		"null stream value": {
			"inner": {"a", nil, nil, map[string]int64{DropNullValue: 1}},
			"left":  {"a", nil, nil, map[string]int64{DropNullValue: 1}},
		},
		"null stream key, no match": {
			"inner": {nil, "x", nil, map[string]int64{DropNoMatch: 1}},
			"left":  {nil, "x", []string{"x+null"}, map[string]int64{}},
		},
	} {
		for kind, tc := range tc {
			t.Run(name+"/"+kind, func(t *testing.T) {
				each(t, func(t *testing.T, e *env) {
					e.row(0, "a", "1")
					e.row(0, "", "the row of the empty key")
					e.put(tc.key, tc.value, at(7))
					var mu sync.Mutex
					var seen []entry
					stats := e.mustRun(kinds[kind](e.source(), e.table(),
						func(r record) (string, bool) {
							if r.NullValue {
								t.Error("the key function is not asked about a null value")
							}
							return byValue(r)
						},
						func(r record, row entry) (string, error) {
							mu.Lock()
							defer mu.Unlock()
							seen = append(seen, row)
							return show(r, row)
						}))
					out := e.read()
					require.Equal(t, tc.want, valuesOf(out))
					require.Equal(t, tc.dropped, stats.Dropped)
					require.EqualValues(t, 1, e.committed(), "a drop is done")
					for i, r := range out {
						require.Equal(t, bytesOf(tc.key), r.Key, "a null key stays null")
						require.True(t, r.Timestamp.Equal(at(7)))
						if !seen[i].Found {
							require.Equal(t, entry{Key: tc.value.(string)}, seen[i], "nothing but the mapped key")
						}
					}
				})
			})
		}
	}
}

// Red if the output has the row's time.
func TestJ8J9_OutOfOrderTimestampsAreKept(t *testing.T) {
	times := []time.Time{at(2), at(10), at(3)}
	for kind, want := range map[string][]string{
		"J8 left":  {"a+A", "b+B", "c+null"},
		"J9 inner": {"a+A", "b+B"},
	} {
		t.Run(kind, func(t *testing.T) {
			each(t, func(t *testing.T, e *env) {
				e.row(0, "a", "A")
				e.row(1, "b", "B")
				for i, v := range []string{"a", "b", "c"} {
					e.put("k", v, times[i])
				}
				_, join, _ := strings.Cut(kind, " ")
				e.mustRun(kinds[join](e.source(), e.table(), byValue, show))
				out := e.read()
				require.Equal(t, want, valuesOf(out))
				for i, r := range out {
					require.True(t, r.Timestamp.Equal(times[i]))
				}
			})
		})
	}
}

// Red if the join function gets the record with the mapped key, or an entry of
// nothing but the value.
func TestJ11_JoinerSeesKeysAndPlace(t *testing.T) {
	for kind, join := range kinds {
		t.Run("J11/"+kind, func(t *testing.T) {
			each(t, func(t *testing.T, e *env) {
				e.row(1, "other", "0")
				row := &kgo.Record{Topic: e.rows, Partition: 1, Key: []byte("a"), Value: []byte("1"), Timestamp: at(99)}
				e.produce(row)
				e.put("stream key", "a", at(0), kgo.RecordHeader{Key: "h", Value: []byte("1")})
				seen := 0
				e.mustRun(join(e.source(), e.table(), byValue, func(r record, row entry) (string, error) {
					seen++
					require.Equal(t, "stream key", r.Key)
					require.Equal(t, "a", r.Value)
					require.Equal(t, []stream.Header{{Key: "h", Value: []byte("1")}}, r.Headers)
					require.Equal(t, e.in, r.Topic)
					require.Equal(t, "a", row.Key)
					require.True(t, row.Timestamp.Equal(at(99)))
					require.EqualValues(t, 1, row.Partition)
					require.EqualValues(t, 1, row.Offset)
					require.NotZero(t, row.Generation)
					return row.Value, nil
				}))
				require.Equal(t, 1, seen)
			})
		})
	}
}

func TestOutputKeepsWhatIsTheStreams(t *testing.T) {
	for kind, join := range kinds {
		t.Run(kind, func(t *testing.T) {
			each(t, func(t *testing.T, e *env) {
				e.row(0, "a", "1")
				headers := []kgo.RecordHeader{{Key: "h", Value: []byte("1")}, {Key: "h", Value: nil}}
				e.put("key", "a", at(5), headers...)
				e.put(nil, "a", at(4))
				e.put("", "a", at(6))
				e.mustRun(join(e.source(), e.table(), byValue, func(r record, row entry) (string, error) {
					// What a function does to its copy is its own business.
					r.Key, r.NullKey, r.Timestamp, r.Headers = "changed", true, time.Time{}, nil
					return show(r, row)
				}))
				out := e.read()
				require.Equal(t, []string{"a+1", "a+1", "a+1"}, valuesOf(out))
				require.Equal(t, [][]byte{[]byte("key"), nil, {}}, [][]byte{out[0].Key, out[1].Key, out[2].Key})
				require.Len(t, out[0].Headers, 2)
				require.Equal(t, "1", string(out[0].Headers[0].Value))
				require.Empty(t, out[1].Headers)
				for i, sec := range []int{5, 4, 6} {
					require.True(t, out[i].Timestamp.Equal(at(sec)))
				}
			})
		})
	}
}

func TestOrderWithinAPartition(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		var in []*kgo.Record
		var want []string
		for i := range 2000 {
			key := fmt.Sprint("d", i%37)
			in = append(in, &kgo.Record{Topic: e.in, Key: []byte("k"), Value: fmt.Appendf(nil, "%s %d", key, i)})
			if i%37 < 30 {
				want = append(want, fmt.Sprintf("%s %d+%s", key, i, key))
			}
		}
		var rows []*kgo.Record
		for i := range 30 {
			rows = append(rows, &kgo.Record{Topic: e.rows, Partition: int32(i % 2), Key: fmt.Append(nil, "d", i), Value: fmt.Append(nil, "d", i)})
		}
		e.produce(rows...)
		e.produce(in...)
		first := func(r record) (string, bool) { key, _, _ := strings.Cut(r.Value, " "); return key, true }
		stats := e.mustRun(Inner(e.source(), e.table(), first, show))
		require.Equal(t, want, e.values())
		require.EqualValues(t, 2000-len(want), stats.Dropped[DropNoMatch])
	})
}

func TestChainedJoins(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		e.row(0, "dev1", "room1")
		e.row(0, "dev2", "room2")
		e.row(1, "dev3", "room3")
		e.row(0, "room1", "ann")
		e.row(1, "room3", "bob")
		e.puts("dev1", "dev2", "dev3", "dev4", "")
		tb := e.table()
		rooms := Inner(e.source(), tb, byValue, func(_ record, row entry) (string, error) { return row.Value, nil }, Name("rooms"))
		owners := Inner(rooms, tb, byValue, show, Name("owners"))
		again := Left(owners, tb, byValue, show)
		stats := e.mustRun(again)
		require.Equal(t, []string{"room1+ann+null", "room3+bob+null"}, e.values())
		require.Equal(t, map[string]int64{"rooms/no-match": 1, "rooms/no-key": 1, "owners/no-match": 1}, stats.Dropped)
	})
}

// Red if a row is kept from one poll to the next, or if the output has the row's
// time; GKI1 if Left drops what has no match, GKI2 if Inner does not.
func TestGKI_GlobalTableIntegration(t *testing.T) {
	for id, tc := range map[string]struct {
		kind         string
		before, then []string
	}{
		"GKI1": {"left",
			[]string{"1+A", "2+B", "3+C", "4+D", "5+null"}, []string{"1+F", "2+G", "3+H", "4+I", "5+J"}},
		"GKI2": {"inner",
			[]string{"1+A", "2+B", "3+C", "4+D"}, []string{"1+F", "2+G", "3+H", "4+I", "5+J"}},
	} {
		t.Run(id, func(t *testing.T) {
			each(t, func(t *testing.T, e *env) { // two partitions of the table, one of the stream
				initial, later := []string{"A", "B", "C", "D"}, []string{"F", "G", "H", "I", "J"}
				for i, v := range initial {
					e.row(int32(i%2), fmt.Sprint(i+1), v)
				}
				in := []string{"1", "2", "3", "4", "5"}
				e.puts(in...)
				tb := e.table()
				r := e.start(kinds[tc.kind](e.source(), tb, byValue, show))
				r.outputs(int64(len(tc.before)))
				require.Equal(t, tc.before, e.values())

				var last [2]*kgo.Record
				for i, v := range later {
					p := int32(i % 2)
					last[p] = &kgo.Record{Topic: e.rows, Partition: p, Key: fmt.Append(nil, i+1), Value: []byte(v), Timestamp: at(100 + i)}
					e.produce(last[p])
				}
				for _, l := range last {
					require.NoError(t, tb.WaitFor(e.ctx(), globaltable.After(l)))
				}
				for i, v := range later {
					row, ok, err := tb.GetEntry(fmt.Sprint(i + 1))
					require.NoError(t, err)
					require.True(t, ok)
					require.Equal(t, v, row.Value)
					require.True(t, row.Timestamp.Equal(at(100+i)))
				}
				e.puts(in...)
				r.outputs(int64(len(tc.before) + len(tc.then)))
				require.NoError(t, r.stop())
				out := e.read()[len(tc.before):]
				require.Equal(t, tc.then, valuesOf(out))
				for i, r := range out {
					require.True(t, r.Timestamp.Equal(at(i)), "the stream's time, not the row's")
				}
			})
		})
	}
}

// The table's topic is none of the group's.
func TestTableTopicIsNotConsumedByTheGroup(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		e.row(0, "a", "1")
		e.puts("a")
		e.mustRun(Inner(e.source(), e.table(), byValue, show))
		offsets, err := e.adm.FetchOffsets(e.ctx(), e.group)
		require.NoError(t, err)
		offsets.Each(func(o kadm.OffsetResponse) { require.Equal(t, e.in, o.Topic) })
	})
}

// Types on the two sides need have nothing in common.
func TestTypes(t *testing.T) {
	type device struct{ Room int }
	e := onFake(t)
	e.row(0, "7", `{"Room": 12}`)
	e.produce(&kgo.Record{Topic: e.in, Key: []byte("7"), Value: []byte("21.5")})
	tb := runTable(e, codec.String(), codec.JSON[device]())
	readings := stream.From(e.in, codec.String(), codec.JSON[float64]())
	out := Inner(readings, tb,
		func(r stream.Record[string, float64]) (string, bool) { return r.Key, !r.NullKey },
		func(r stream.Record[string, float64], d globaltable.Entry[string, device]) (int, error) {
			return d.Value.Room*100 + int(r.Value), nil
		})
	w, err := stream.New(stream.To(out, e.out, codec.String(), codec.JSON[int]()), e.opts(stream.StopAtEnd())...)
	require.NoError(t, err)
	require.NoError(t, w.Run(e.ctx()))
	require.Equal(t, []string{"1221"}, e.values())
}
