package conformance

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/globaltable"
	"github.com/globaltable/enrich/join"
	"github.com/globaltable/enrich/stream"
)

// Both classes of Kafka's have most tests of joins, inner and left.
const ktj = "KStreamGlobalKTableJoinTest and …LeftJoinTest: "

func joinRows() []row {
	return []row{
		{ID: "J1", Kafka: ktj + "shouldNotRequireCopartitioning", Verdict: match, Ours: "A reading meets its row whatever the numbers of partitions and the partitioners are.", Test: eachKind(partitionsNeedNotMatch), Red: rowsNeedTheSamePartition()},
		{ID: "J2", Kafka: ktj + "shouldNotJoinWithEmptyGlobalTableOnStreamUpdates", Verdict: match, Ours: "With an empty table inner has no output and counts the drops; left has one for each reading, at the reading's time.", Test: emptyTable, Red: leftDropsMisses()},
		{ID: "J3", Kafka: ktj + "shouldNotJoinOnGlobalTableUpdates", Verdict: match, Ours: "A change of the table makes no output; readings that come later meet the new row.", Test: eachKind(updatesMakeNoOutput), Red: rowsAreKeptFromPollToPoll()},
		{ID: "J4", Kafka: ktj + "shouldJoinOnlyIfMatchFoundOnStreamUpdates, shouldJoinRegardlessIfMatchFoundOnStreamUpdates", Verdict: match, Ours: "Of four readings two of which have a row, inner makes two outputs and left four.", Test: someMatch, Red: innerKeepsMisses()},
		{ID: "J5", Kafka: ktj + "shouldClearGlobalTableEntryOnNullValueUpdates", Verdict: match, Ours: "A deleted row does not match any more.", Test: eachKind(deletedRowsDoNotMatch), Red: rowsAreKeptFromPollToPoll()},
		{ID: "J6", Kafka: ktj + "shouldNotJoinOnNullKeyMapperValues", Verdict: match, Ours: "A reading for which the key function has no key: inner drops and counts it, left joins it with nothing, as Kafka does from 4.1 on.", Test: eachKind(noMappedKey), Red: leftDropsRecordsWithoutKey()},
		{ID: "J7", Kafka: ktj + "shouldJoinOnNullKeyWithNonNullKeyMapperValues", Verdict: match, Ours: "A reading without a key of its own is joined by the key that the function gives.", Test: eachKind(nullStreamKey), Red: nullStreamKeysAreDropped()},
		{ID: "J8", Kafka: "GlobalKTableJoinsTest.shouldLeftJoinWithStream", Verdict: match, Ours: "A left join's outputs have the readings' times, in the readings' order.", Test: timesAreTheStreams("left", "a+A", "b+B", "c+null"), Red: outputsHaveTheRowsTime()},
		{ID: "J9", Kafka: "GlobalKTableJoinsTest.shouldInnerJoinWithStream", Verdict: match, Ours: "An inner join's outputs have the readings' times, in the readings' order.", Test: timesAreTheStreams("inner", "a+A", "b+B"), Red: outputsHaveTheRowsTime()},
		{ID: "J10", Kafka: "RelaxedNullKeyRequirementJoinTest.testRelaxedLeftStreamGlobalTableJoin", Verdict: match, Ours: "A left join keeps a reading that has neither a key nor a mapped one.", Test: noKeyAtAll, Red: leftDropsRecordsWithoutKey()},
		{ID: "J11", Kafka: "KStreamImplValueJoinerWithKeyTest.shouldIncludeKeyInStreamGlobalTableJoinResults, …LeftJoinResults", Verdict: match, Ours: "The join function sees the reading with its key, and the row with its own key, time, partition and offset.", Test: eachKind(joinersSeeBothKeys), Red: joinersSeeNoTableKey()},
		{ID: "J12", Kafka: "KStreamImplTest.shouldPropagateRepartitionFlagAfterGlobalKTableJoin", Verdict: skip, Ours: "There is no repartitioning."},
		{ID: "J13", Kafka: "KStreamImplTest.shouldNotAllowNull{Table, Mapper, ValueJoiner, ValueJoinerWithKey}On{, Left}JoinWithGlobalTable{, WithNamed}", Verdict: other, Ours: "stream.New refuses a join that lacks its stream, table, key function or join function, and says which.", Test: eachKind(argumentsAreNeeded), Red: change("join/join.go", "\tif t == nil {\n", "\tif false {\n")},
	}
}

func partitionsNeedNotMatch(t *testing.T, kind string) {
	for _, n := range []struct{ rows, in int32 }{{1, 4}, {4, 1}, {2, 3}} {
		t.Run(fmt.Sprint(n.rows, " to ", n.in), func(t *testing.T) {
			j := newJoin(t, n.rows, n.in)
			var want []string
			for i := range int32(20) {
				// Neither side follows a partitioner that the other one knows.
				key := fmt.Sprint("d", i)
				j.rows.putTo(i%n.rows, fmt.Sprintf("%s=row%d", key, i))
				j.in.putTo((i*5+1)%n.in, "k="+key)
				want = append(want, fmt.Sprintf("%s+row%d", key, i))
			}
			stats := j.mustRun(kinds[kind](j.source(), j.table().table, byValue, show))
			require.ElementsMatch(t, want, j.values())
			require.Empty(t, stats.Dropped)
		})
	}
}

func emptyTable(t *testing.T) {
	j := newJoin(t, 1, 1)
	j.reads("X0", "X1")
	tb := j.table().table
	stats := j.mustRun(join.Inner(j.source(), tb, byValue, show))
	require.Empty(t, j.values())
	require.Equal(t, map[string]int64{join.DropNoMatch: 2}, stats.Dropped)

	j.group += "-left"
	stats = j.mustRun(join.Left(j.source(), tb, byValue, show))
	out := j.written()
	require.Equal(t, []string{"X0+null", "X1+null"}, valuesOf(out))
	require.Empty(t, stats.Dropped)
	for i, r := range out {
		require.True(t, r.Timestamp.Equal(second(i)))
	}
}

func updatesMakeNoOutput(t *testing.T, kind string) {
	j := newJoin(t, 2, 1)
	j.rows.putTo(0, "a=1")
	tb := j.table()
	w := start(t, j.sink(kinds[kind](j.source(), tb.table, byValue, show)), j.opts()...)
	j.read("k", "a", second(0))
	w.outputs(1)
	tb.sees(j.rows.putTo(0, "a=2"))
	tb.sees(j.rows.putTo(1, "b=1"))
	j.read("k", "a", second(1))
	j.read("k", "b", second(2))
	w.outputs(3)
	w.stop()
	out := j.written()
	require.Equal(t, []string{"a+1", "a+2", "b+1"}, valuesOf(out))
	for i, r := range out {
		require.True(t, r.Timestamp.Equal(second(i)))
	}
}

func someMatch(t *testing.T) {
	j := newJoin(t, 2, 1)
	j.rows.putTo(0, "a=1")
	j.rows.putTo(1, "c=3")
	j.reads("a", "b", "c", "d")
	tb := j.table().table
	stats := j.mustRun(join.Inner(j.source(), tb, byValue, show))
	require.Equal(t, []string{"a+1", "c+3"}, j.values())
	require.Equal(t, map[string]int64{join.DropNoMatch: 2}, stats.Dropped)
	j.group += "-left"
	stats = j.mustRun(join.Left(j.source(), tb, byValue, show))
	require.Equal(t, []string{"a+1", "b+null", "c+3", "d+null"}, j.values()[2:])
	require.Empty(t, stats.Dropped)
}

func deletedRowsDoNotMatch(t *testing.T, kind string) {
	j := newJoin(t, 1, 1)
	j.rows.put("a=1", "b=2")
	tb := j.table()
	w := start(t, j.sink(kinds[kind](j.source(), tb.table, byValue, show)), j.opts()...)
	j.read("k", "a", second(0))
	w.outputs(1)
	tb.sees(j.rows.put("a"))
	j.read("k", "a", second(1))
	j.read("k", "b", second(2))
	want := map[string][]string{"inner": {"a+1", "b+2"}, "left": {"a+1", "a+null", "b+2"}}[kind]
	w.outputs(int64(len(want)))
	w.stop()
	require.Equal(t, want, j.values())
}

// one joins one reading with a table that has the rows "a" and "", and returns the
// output and what was dropped.
func one(t *testing.T, kind string, key, value any) (out []*kgo.Record, dropped map[string]int64) {
	t.Helper()
	j := newJoin(t, 1, 1)
	j.rows.put("a=1", "=the row of the empty key")
	j.read(key, value, second(7))
	stats := j.mustRun(kinds[kind](j.source(), j.table().table, byValue, show))
	out = j.written()
	for _, r := range out {
		require.Equal(t, bytesOf(key), r.Key, "a null key stays null")
		require.True(t, r.Timestamp.Equal(second(7)))
	}
	return out, stats.Dropped
}

// joinsOne checks what becomes of one reading.
func joinsOne(t *testing.T, kind string, key, value any, want string, dropped string) {
	t.Helper()
	out, drops := one(t, kind, key, value)
	if dropped != "" {
		require.Empty(t, out)
		require.Equal(t, map[string]int64{dropped: 1}, drops)
		return
	}
	require.Equal(t, []string{want}, valuesOf(out))
	require.Empty(t, drops)
}

func noMappedKey(t *testing.T, kind string) {
	joinsOne(t, kind, "k", "", "+null", map[string]string{"inner": join.DropNoKey}[kind])
}

func nullStreamKey(t *testing.T, kind string) { joinsOne(t, kind, nil, "a", "a+1", "") }

func noKeyAtAll(t *testing.T) {
	joinsOne(t, "left", nil, "", "+null", "")
}

func nullStreamValue(t *testing.T, kind string) { joinsOne(t, kind, "a", nil, "", join.DropNullValue) }

func noMatch(t *testing.T, kind string) {
	joinsOne(t, kind, "k", "x", "x+null", map[string]string{"inner": join.DropNoMatch}[kind])
}

func timesAreTheStreams(kind string, want ...string) func(*testing.T) {
	return func(t *testing.T) {
		times := []time.Time{second(2), second(10), second(3)} // out of order
		j := newJoin(t, 2, 1)
		j.rows.putTo(0, "a=A")
		j.rows.putTo(1, "b=B")
		for i, v := range []string{"a", "b", "c"} {
			j.read("k", v, times[i])
		}
		j.mustRun(kinds[kind](j.source(), j.table().table, byValue, show))
		out := j.written()
		require.Equal(t, want, valuesOf(out))
		for i, r := range out {
			require.True(t, r.Timestamp.Equal(times[i]))
		}
	}
}

func joinersSeeBothKeys(t *testing.T, kind string) {
	j := newJoin(t, 2, 1)
	j.rows.putTo(1, "other=0")
	row := &kgo.Record{Topic: j.rows.topic, Key: []byte("a"), Value: []byte("1"), Timestamp: second(99)}
	j.rows.broker.ProduceTo(t, 1, row)
	j.read("the stream's", "a", second(0))
	var mu sync.Mutex
	var readings []reading
	var entries []entry
	j.mustRun(kinds[kind](j.source(), j.table().table, byValue, func(r reading, e entry) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		readings, entries = append(readings, r), append(entries, e)
		return "", nil
	}))
	require.Len(t, entries, 1)
	r, e := readings[0], entries[0]
	require.Equal(t, "the stream's", r.Key)
	require.Equal(t, j.in.topic, r.Topic)
	require.Equal(t, "a", e.Key)
	require.True(t, e.Timestamp.Equal(second(99)))
	require.EqualValues(t, 1, e.Partition)
	require.EqualValues(t, 1, e.Offset)
}

func argumentsAreNeeded(t *testing.T, kind string) {
	j := newJoin(t, 1, 1)
	tb := j.table().table
	for what, s := range map[string]*texts{
		"a stream":        kinds[kind](nil, tb, byValue, show),
		"a table":         kinds[kind](j.source(), nil, byValue, show),
		"a key function":  kinds[kind](j.source(), tb, nil, show),
		"a join function": kinds[kind](j.source(), tb, byValue, nil),
	} {
		for _, s := range []*texts{s, stream.Filter(s, func(reading) (bool, error) { return true, nil })} {
			_, err := stream.New(j.sink(s), j.opts()...)
			require.ErrorContains(t, err, "needs "+what)
		}
	}
	named := kinds[kind](j.source(), (*globaltable.Table[string, string])(nil), byValue, show, join.Name("rooms"))
	_, err := stream.New(j.sink(named), j.opts()...)
	require.ErrorContains(t, err, "needs a table")
}

// nullRows are the rules for nulls.
func nullRows() []row {
	return []row{
		{ID: "N1", Verdict: own, Ours: "A reading without a value is dropped and counted, by inner and left.", Test: eachKind(nullStreamValue), Red: nullValuesAreJoined()},
		{ID: "N2", Verdict: own, Ours: "A reading without a key, for which the key function has one, is joined.", Test: eachKind(nullStreamKey), Red: nullStreamKeysAreDropped()},
		{ID: "N3", Verdict: own, Ours: "Where the key function has no key inner drops and counts the reading, and left hands it on unmatched.", Test: eachKind(noMappedKey), Red: leftDropsRecordsWithoutKey()},
		{ID: "N4", Verdict: own, Ours: "Where no row has the key inner has no output and counts that, and left hands the reading on unmatched.", Test: eachKind(noMatch), Red: leftDropsMisses()},
	}
}
