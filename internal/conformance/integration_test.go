package conformance

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/globaltable"
	"github.com/globaltable/enrich/internal/kafkatest"
	"github.com/globaltable/enrich/join"
	"github.com/globaltable/enrich/stream"
)

func integrationRows() []row {
	const gki, gke = "GlobalKTableIntegrationTest.", "GlobalKTableEOSIntegrationTest."
	return []row{
		{ID: "GKI1", Kafka: gki + "shouldKStreamGlobalKTableLeftJoin", Verdict: match, Ours: "A table of two partitions, left joined by a stream of one: readings meet the rows of their time, and the new ones after the table's update, at the readings' times.",
			Test: integration("left", []string{"1+A", "2+B", "3+C", "4+D", "5+null"}), Red: leftDropsMisses()},
		{ID: "GKI2", Kafka: gki + "shouldKStreamGlobalKTableJoin", Verdict: match, Ours: "The same for an inner join, without the reading that has no row.",
			Test: integration("inner", []string{"1+A", "2+B", "3+C", "4+D"}), Red: innerKeepsMisses()},
		{ID: "GKI3", Kafka: gki + "shouldRestoreGlobalInMemoryKTableOnRestart", Verdict: match, Ours: "A table in memory has the same rows after a restart.", Test: memoryIsRestored, Red: nothingIsPut()},
		{ID: "GKI4", Kafka: gki + "shouldGetToRunningWithOnlyGlobalTopology", Verdict: match, Ours: "A table needs no stream to become ready.", Test: aTableAloneIsReady, Red: readyIsNotPublished()},
		{ID: "GKE1", Kafka: gke + "shouldKStreamGlobalKTableLeftJoin", Verdict: later, Ours: "Not yet: with exactly-once."},
		{ID: "GKE2", Kafka: gke + "shouldKStreamGlobalKTableJoin", Verdict: later, Ours: "Not yet: with exactly-once."},
		{ID: "GKE3", Kafka: gke + "shouldRestoreTransactionalMessages", Verdict: match, Ours: "Rows of committed transactions are read.", Test: committedRowsAreRead, Red: nothingIsPut()},
		{ID: "GKE4", Kafka: gke + "shouldSkipOverTxMarkersOnRestore", Verdict: match, Ours: "A topic that ends in markers ends a bootstrap, and a restart that finds nothing but markers.", Test: markersEndABootstrap, Red: markersAreNotPassed()},
		{ID: "GKE5", Kafka: gke + "shouldSkipOverAbortedMessagesOnRestore", Verdict: match, Ours: "Aborted records that come later, while the table is down or running, hold nothing up.", Test: abortedTailsArePassed, Red: markersAreNotPassed()},
		{ID: "GKE6", Kafka: gke + "shouldNotRestoreAbortedMessages", Verdict: match, Ours: "Rows of aborted transactions are not read.", Test: abortedRowsAreNotRead, Red: uncommittedIsRead()},
		{ID: "GTO1", Kafka: "GlobalThreadShutDownOrderTest.shouldFinishGlobalStoreOperationOnShutDown", Verdict: match, Ours: "A table whose run was ended goes on answering until Close: a record in hand still reads it.", Test: stoppedTablesAnswer, Red: stoppedTablesDoNotAnswer()},
		{ID: "GSR1", Kafka: "GlobalStateReprocessTest.shouldReprocessWithUserProvidedStore", Verdict: match, Ours: "What a Transform makes of a record is the row: in a bootstrap, live, after a restart, and after the directory was removed.", Test: transformsAreTheSameAgain, Red: transformIsIgnored()},
		{ID: "UEH1", Kafka: "StreamsUncaughtExceptionHandlerIntegrationTest.shouldShutDownClientIfGlobalStreamThreadWantsToReplaceThread", Verdict: better, Ours: "A panic of the user's code concerns its own record, which is rejected and counted; the table goes on.", Test: panicsAreContained, Red: transformPanicsAreFilters()},
		{ID: "RST1", Kafka: "RestoreIntegrationTest.shouldInvokeUserDefinedGlobalStateRestoreListener", Verdict: skip, Ours: "It is about stores that move between workers."},
		{ID: "RST2", Kafka: "RestoreIntegrationTest.shouldRestoreStateFromSourceTopicForGlobalTable", Verdict: skip, Ours: "It is about a table of one partition per worker, whatever its name."},
		{ID: "IQ2", Kafka: "IQv2StoreIntegrationTest.globalShouldRejectAllQueries", Verdict: better, Ours: "Lookups of one and many keys, ranges, prefixes and scans are answered, the latter from one moment.", Test: queriesAreAnswered, Red: rangesAreReversed()},
	}
}

func integration(kind string, before []string) func(*testing.T) {
	return func(t *testing.T) {
		kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
			j := joinOn(t, b, 2, 1)
			for i, v := range []string{"A", "B", "C", "D"} {
				j.rows.putTo(int32(i%2), fmt.Sprintf("%d=%s", i+1, v))
			}
			in := []string{"1", "2", "3", "4", "5"}
			j.reads(in...)
			tb := j.table()
			w := start(t, j.sink(kinds[kind](j.source(), tb.table, byValue, show)), j.opts()...)
			w.outputs(int64(len(before)))
			require.Equal(t, before, j.values())

			var then []string
			for i, v := range []string{"F", "G", "H", "I", "J"} {
				r := &kgo.Record{Topic: j.rows.topic, Key: fmt.Append(nil, i+1), Value: []byte(v), Timestamp: second(100 + i)}
				b.ProduceTo(t, int32(i%2), r)
				tb.sees([]*kgo.Record{r})
				then = append(then, fmt.Sprintf("%d+%s", i+1, v))
			}
			for i, v := range []string{"F", "G", "H", "I", "J"} {
				e, ok, err := tb.GetEntry(fmt.Sprint(i + 1))
				require.NoError(t, err)
				require.True(t, ok)
				require.Equal(t, v, e.Value)
				require.True(t, e.Timestamp.Equal(second(100+i)))
			}
			j.reads(in...)
			w.outputs(int64(len(before) + len(then)))
			w.stop()
			out := j.written()[len(before):]
			require.Equal(t, then, valuesOf(out))
			for i, r := range out {
				require.True(t, r.Timestamp.Equal(second(i)), "the reading's time")
			}
		})
	}
}

func memoryIsRestored(t *testing.T) {
	w := fake(t, 2)
	w.put("1=A", "2=B", "3=C", "4=D")
	for range 2 {
		r := w.ready(memory())
		w.holds(r)
		require.Len(t, r.rows(), 4)
		r.stop()
	}
}

func aTableAloneIsReady(t *testing.T) {
	w := fake(t, 1)
	r := w.ready(memory())
	r.until("ready", func() bool { return r.Status().State == globaltable.Ready })
}

func committedRowsAreRead(t *testing.T) {
	both(t, 2, func(t *testing.T, w *world) {
		w.txn(true, "1=A", "2=B")
		w.txn(true, "3=C", "4=D")
		r := w.ready(memory())
		w.holds(r)
		w.txn(true, "1=E", "2")
		r.until("the transaction is seen", func() bool { return mapsEqual(r.rows(), w.want) })
		w.holds(r)
	})
}

func markersEndABootstrap(t *testing.T) {
	both(t, 1, func(t *testing.T, w *world) {
		dir := globaltable.Dir(t.TempDir())
		w.txn(true, "1=A")
		r := w.ready(dir)
		require.Equal(t, map[int32]int64{0: 2}, offsets(r.table), "the marker is passed")
		w.holds(r)
		r.stop()
		w.txn(false, "1=aborted")
		r = w.ready(dir)
		require.Equal(t, map[int32]int64{0: 4}, offsets(r.table), "nothing to see, and two offsets to pass")
		w.holds(r)
		require.Zero(t, r.events.rows())
	})
}

func abortedTailsArePassed(t *testing.T) {
	both(t, 1, func(t *testing.T, w *world) {
		dir := globaltable.Dir(t.TempDir())
		w.put("1=A")
		w.ready(dir).stop()
		w.txn(false, "1=aborted", "2=aborted")
		r := w.ready(dir)
		w.holds(r)
		w.txn(false, "3=aborted")
		w.txn(true, "4=D")
		r.until("what comes behind is seen", func() bool { return r.Lag().Records == 0 && mapsEqual(r.rows(), w.want) })
		w.holds(r)
	})
}

func abortedRowsAreNotRead(t *testing.T) {
	both(t, 2, func(t *testing.T, w *world) {
		w.txn(true, "1=A", "2=B", "3=C", "4=D")
		w.txn(false, "1=aborted", "2=aborted", "5=aborted")
		r := w.ready(memory())
		w.holds(r)
		w.txn(false, "6=aborted")
		w.txn(true, "7=G")
		r.until("the committed one is seen", func() bool { _, ok, err := r.Get("7"); return ok && err == nil })
		w.holds(r)
	})
}

func stoppedTablesAnswer(t *testing.T) {
	j := newJoin(t, 1, 1)
	j.rows.put("1=A", "2=B", "3=C", "4=D")
	tb := j.table()
	j.reads("x")
	inHand, ended := make(chan struct{}), make(chan struct{})
	var got []string
	sink := stream.ForEach(j.source(), func(context.Context, reading) error {
		close(inHand)
		<-ended
		for i := range 4 {
			v, ok, err := tb.Get(fmt.Sprint(i + 1))
			if err != nil || !ok {
				return fmt.Errorf("row %d: %v, %w", i+1, ok, err)
			}
			got = append(got, v)
		}
		return nil
	})
	w := start(t, sink, j.opts()...)
	<-inHand
	w.cancel()
	tb.cancel()
	require.NoError(t, tb.runErr())
	close(ended)
	require.NoError(t, w.wait(), "the record in hand is finished")
	require.Equal(t, []string{"A", "B", "C", "D"}, got)
	require.NoError(t, tb.Close())
	_, _, err := tb.Get("1")
	require.ErrorIs(t, err, globaltable.ErrClosed)
}

func upper() globaltable.Opt {
	return globaltable.Transform("upper", func(e entry) (string, bool, error) {
		return e.Key + strings.ToUpper(e.Value), !strings.HasPrefix(e.Value, "drop"), nil
	})
}

func transformsAreTheSameAgain(t *testing.T) {
	w := fake(t, 2)
	dir := t.TempDir()
	w.put("1=a", "2=b", "3=drop it")
	w.want = map[string]string{"1": "1A", "2": "2B"}
	r := w.ready(globaltable.Dir(dir), upper())
	w.holds(r)
	r.sees(produce(w, "4=d"))
	w.want["4"] = "4D"
	w.holds(r)
	r.stop()
	r = w.ready(globaltable.Dir(dir), upper())
	require.Equal(t, globaltable.Resumed, r.Stats().Decision)
	w.holds(r)
	r.stop()
	require.NoError(t, globaltable.Remove(dir))
	r = w.ready(globaltable.Dir(dir), upper())
	require.Equal(t, globaltable.Bootstrapped, r.Stats().Decision)
	w.holds(r)
}

// produce is put of what is not to be folded as it is.
func produce(w *world, pairs ...string) []*kgo.Record {
	rs := records(w.topic, pairs...)
	w.broker.Produce(w.t, rs...)
	return rs
}

func panicsAreContained(t *testing.T) {
	w := fake(t, 1)
	w.put("a=1", "bad=1", "b=2")
	delete(w.want, "bad")
	r := w.ready(memory(), globaltable.Transform("v1", func(e entry) (string, bool, error) {
		if e.Key == "bad" {
			panic("confused")
		}
		return e.Value, true, nil
	}))
	w.holds(r)
	require.EqualValues(t, 1, r.Stats().Rejected)
	var panicked *globaltable.PanicError
	require.Len(t, r.events.errs, 1)
	require.ErrorAs(t, r.events.errs[0], &panicked)
	r.sees(w.put("c=3"))
	w.holds(r)
}

func queriesAreAnswered(t *testing.T) {
	w := fake(t, 2)
	w.put("a1=1", "a2=2", "b1=3", "b2=4", "c1=5")
	r := w.ready(memory())
	w.holds(r)
	many, err := r.GetMany([]string{"b1", "absent", "a1", "b1"})
	require.NoError(t, err)
	var found []string
	for _, m := range many {
		found = append(found, fmt.Sprint(m.Key, m.Value, m.Found))
	}
	require.Equal(t, []string{"b13true", "absentfalse", "a11true", "b13true"}, found)
	snap, err := r.Snapshot()
	require.NoError(t, err)
	defer snap.Close()
	r.sees(w.put("a3=new"))
	require.Equal(t, []string{"a2", "b1"}, keysOf(t, snap.Range("a2", "b2")), "from the one, up to the other")
	require.Equal(t, []string{"b1", "b2"}, keysOf(t, snap.Prefix([]byte("b"))))
	require.Equal(t, []string{"a1", "a2", "b1", "b2", "c1"}, keysOf(t, snap.All()), "as of one moment")
}

func keysOf(t *testing.T, rows func(func(entry, error) bool)) (keys []string) {
	t.Helper()
	for e, err := range rows {
		require.NoError(t, err)
		keys = append(keys, e.Key)
	}
	return keys
}

func recordRows() []row {
	const rd, rb, rk = "RecordDeserializerTest.", "StateRestoreCallbackAdapterTest.", "RocksDBStoreTest."
	return []row{
		{ID: "RD1", Kafka: rd + "shouldReturnConsumerRecordWithDeserializedValueWhenNoExceptions", Verdict: match, Ours: "A reading has its key, value, timestamp, headers and place.", Test: readingsAreDecoded, Red: change("stream/decode.go", "r.Timestamp, r.Headers = raw.Timestamp, raw.Headers", "r.Timestamp, r.Headers = raw.Timestamp, nil")},
		{ID: "RD2", Kafka: rd + "shouldThrowStreamsExceptionWhenDeserializationFailsAndExceptionHandlerRepliesWithFail", Verdict: match, Ours: "Under Fail a reading that cannot be decoded ends Run with a RecordError, and is not committed.", Test: badReadings(stream.Fail), Red: change("stream/policy.go", "w.count.failed.Add(1)\n\treturn e", "w.count.failed.Add(1)\n\treturn nil")},
		{ID: "RD3", Kafka: rd + "shouldNotThrowStreamsExceptionWhenDeserializationFailsAndExceptionHandlerRepliesWithContinue", Verdict: match, Ours: "Under Skip it is counted, and the next ones are read.", Test: badReadings(stream.Skip), Red: change("stream/policy.go", "w.count.skipped.Add(1)\n\t\treturn nil", "w.count.skipped.Add(1)\n\t\treturn e")},
		{ID: "RD4", Kafka: rd + "shouldFailWhenDeserializationFailsAndExceptionHandlerReturnsNull", Verdict: match, Ours: "A policy that is none is refused by New.", Test: noPolicy, Red: change("stream/options.go", "if !c.badRecord.valid() {", "if false {")},
		{ID: "RD5", Kafka: rd + "shouldFailWhenDeserializationFailsAndExceptionHandlerThrows", Verdict: match, Ours: "A codec that panics is as one that returns an error: Skip leaves it out, Fail ends Run, and who reads the row from a table gets the error.", Test: panickingCodecs, Red: change("stream/stream.go", "if !decoded {", "if !decoded && false {")},
		{ID: "RC1", Kafka: "RecordConvertersTest.shouldPreserveNullValueOnConversion", Verdict: other, Ours: "A null value stays null: it deletes, and an empty value does not.", Test: nullsDelete, Red: tombstonesAreIgnored()},
		{ID: "RC2", Kafka: "RecordConvertersTest.shouldAddTimestampToValueOnConversionWhenValueIsNotNull", Verdict: other, Ours: "A row keeps its record's timestamp beside the value.", Test: timestampsAreKept, Red: timesAreLost()},
		{ID: "RB1", Kafka: rb + "shouldPassRecordsThrough", Verdict: other, Ours: "A bootstrap applies what a fetch brought together, unchanged.", Test: valuesAreUnchanged, Red: valuesAreChanged()},
		{ID: "RB2", Kafka: rb + "shouldConvertToKeyValueBatches", Verdict: other, Ours: "Records of a batch are applied in their order.", Test: batchesKeepTheirOrder("k=1", "k=2", "k=3"), Red: orderIsReversed()},
		{ID: "RB3", Kafka: rb + "shouldConvertToKeyValue", Verdict: other, Ours: "Tombstones in a batch delete what stands before them.", Test: batchesKeepTheirOrder("k=1", "k"), Red: orderIsReversed()},
		{ID: "RB4", Kafka: rb + "shouldThrowOnRestoreAll", Verdict: other, Ours: "A row written again behind a tombstone of the same batch is there.", Test: batchesKeepTheirOrder("k=1", "k", "k=2"), Red: orderIsReversed()},
		{ID: "RB5", Kafka: rb + "shouldThrowOnRestore", Verdict: other, Ours: "Rows and positions of a batch are one: no reader sees a part of it.", Test: positionsComeWithTheirRows, Red: storedPositionsAreWrong()},
		{ID: "RK1", Kafka: rk + "shouldNotThrowExceptionOnRestoreWhenThereIsPreExistingRocksDbFiles", Verdict: match, Ours: "A bulk load goes onto the rows that are there.", Test: bulk(), Red: startsAtTheLogStart()},
		{ID: "RK2", Kafka: rk + "shouldRestoreAll", Verdict: match, Ours: "It brings all rows.", Test: bulk("a=1", "b=2", "c=3"), Red: valuesAreChanged()},
		{ID: "RK3", Kafka: rk + "shouldHandleDeletesOnRestoreAll", Verdict: match, Ours: "A tombstone in it deletes a row that it brought.", Test: bulk("a=1", "b=2", "a"), Red: tombstonesAreIgnored()},
		{ID: "RK4", Kafka: rk + "shouldHandleDeletesAndPutBackOnRestoreAll", Verdict: match, Ours: "Of one key's records in it the last one counts: deleted, and put back.", Test: bulk("a=1", "a", "b=2", "a=3"), Red: orderIsReversed()},
		{ID: "RK5", Kafka: rk + "shouldRestoreThenDeleteOnRestoreAll", Verdict: match, Ours: "Put, and deleted.", Test: bulk("a=1", "a=2", "b=2", "a"), Red: orderIsReversed()},
		{ID: "RK6", Kafka: rk + "shouldHandleTombstoneRecords", Verdict: match, Ours: "A tombstone in it deletes a row that was there before.", Test: bulk("old1", "old2", "never there"), Red: tombstonesAreIgnored()},
	}
}

// batchesKeepTheirOrder has records come in one batch, at once.
func batchesKeepTheirOrder(pairs ...string) func(*testing.T) {
	return func(t *testing.T) {
		w := fake(t, 1)
		w.put(append(pairs, "other=1")...)
		r := w.ready(memory())
		w.holds(r)
		pairs := append([]string{"live=0"}, pairs...)
		r.sees(w.put(append(pairs, "other=2")...))
		w.holds(r)
	}
}

func nullsDelete(t *testing.T) {
	w := fake(t, 1)
	w.put("a=1", "b=1", "a", "b=")
	r := w.ready(memory())
	w.holds(r)
	_, ok, err := r.Get("a")
	require.NoError(t, err)
	require.False(t, ok)
	v, ok, err := r.Get("b")
	require.NoError(t, err)
	require.True(t, ok)
	require.Empty(t, v)
	require.EqualValues(t, 1, r.Stats().Tombstones)
}

func positionsComeWithTheirRows(t *testing.T) { foldOfThePositions(t, 8) }

// bulk loads rows in bulk onto a table that has some. A table does so when it is
// 20,000 records or more behind.
func bulk(pairs ...string) func(*testing.T) {
	return func(t *testing.T) {
		w := fake(t, 1)
		fs := vfs.NewMem()
		w.put("old1=1", "old2=2", "old3=3", "pad0=old")
		w.ready(on(fs)...).stop()
		w.put(numbered("pad", 10_100)...)
		w.put(pairs...)
		w.put(numbered("pat", 10_100)...)
		r := w.ready(on(fs)...)
		w.holds(r)
		require.Positive(t, r.Stats().BulkLoads, "%s", lazy(r.stats))
		require.Equal(t, globaltable.Resumed, r.Stats().Decision)
		r.stop()
		r = w.ready(on(fs)...)
		w.holds(r)
	}
}

func readingsAreDecoded(t *testing.T) {
	j := newJoin(t, 1, 1)
	j.in.broker.Produce(t, &kgo.Record{Topic: j.in.topic, Key: []byte("key"), Value: []byte("value"), Timestamp: second(3), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("1")}}})
	var mu sync.Mutex
	var got []reading
	j.mustRun(stream.Map(j.source(), func(r reading) (reading, error) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, r)
		return r, nil
	}))
	require.Len(t, got, 1)
	r := got[0]
	require.Equal(t, []string{"key", "value", j.in.topic}, []string{r.Key, r.Value, r.Topic})
	require.True(t, r.Timestamp.Equal(second(3)))
	require.Equal(t, []stream.Header{{Key: "h", Value: []byte("1")}}, r.Headers)
}

// numbersIn copies readings whose values are numbers.
func (j *joinWorld) numbersIn(c codec.Codec[int64]) *texts {
	return stream.Map(stream.From(j.in.topic, codec.String(), c), func(r stream.Record[string, int64]) (reading, error) {
		return stream.WithValue(r, fmt.Sprint(r.Value)), nil
	})
}

func badReadings(policy stream.BadRecordPolicy) func(*testing.T) {
	return func(t *testing.T) {
		j := newJoin(t, 1, 1)
		j.in.put("1="+goodNumber, "2=short", "3="+goodNumber)
		stats, err := j.runToEnd(j.numbersIn(codec.Int64()), stream.OnBadRecord(policy))
		if policy == stream.Skip {
			require.NoError(t, err)
			require.EqualValues(t, 1, stats.BadRecords.Skipped)
			require.Equal(t, []string{"1", "1"}, j.values())
			return
		}
		isBadRecord(t, err)
		require.EqualValues(t, 1, stats.BadRecords.Failed)
		require.Equal(t, []string{"1"}, j.values())
		// It is read again by the next run.
		_, err = j.runToEnd(j.numbersIn(codec.Int64()), stream.OnBadRecord(policy))
		isBadRecord(t, err)
	}
}

func isBadRecord(t *testing.T, err error) {
	t.Helper()
	var bad *stream.RecordError
	require.ErrorAs(t, err, &bad)
	require.Equal(t, "decode", bad.Stage)
	require.EqualValues(t, 1, bad.Offset)
}

func noPolicy(t *testing.T) {
	j := newJoin(t, 1, 1)
	for _, policy := range []stream.BadRecordPolicy{"", "sometimes", stream.DeadLetter("")} {
		_, err := stream.New(j.sink(j.source()), j.opts(stream.OnBadRecord(policy))...)
		require.ErrorContains(t, err, "OnBadRecord", "%q", policy)
	}
}

// panicking panics where there is no number.
type panicking struct{ codec.Codec[int64] }

// Decode implements codec.Codec.
func (p panicking) Decode(b []byte, m codec.Meta) (int64, error) {
	v, err := p.Codec.Decode(b, m)
	if err != nil {
		panic(err)
	}
	return v, nil
}

func panickingCodecs(t *testing.T) {
	skips := newJoin(t, 1, 1)
	skips.in.put("1="+goodNumber, "2=short", "3="+goodNumber)
	stats, err := skips.runToEnd(skips.numbersIn(panicking{codec.Int64()}), stream.OnBadRecord(stream.Skip))
	require.NoError(t, err)
	require.Equal(t, []string{"1", "1"}, skips.values(), "the bad one has no output")
	require.EqualValues(t, 1, stats.BadRecords.Skipped)
	require.EqualValues(t, 3, stats.Partitions[0].Committed)
	j := newJoin(t, 1, 1)
	j.in.put("1="+goodNumber, "2=short", "3="+goodNumber)
	_, err = j.runToEnd(j.numbersIn(panicking{codec.Int64()}), stream.OnBadRecord(stream.Fail))
	isBadRecord(t, err)
	var inStream *stream.PanicError
	require.ErrorAs(t, err, &inStream)
	// The same in a table: the row gives an error, and the table goes on.
	w := fake(t, 1)
	w.put("bad=short", "good="+goodNumber)
	tb, err := globaltable.Open(w.topic, codec.String(), panicking{codec.Int64()}, w.opts(memory())...)
	require.NoError(t, err)
	runAny(t, tb)
	_, _, err = tb.Get("bad")
	var panicked *globaltable.PanicError
	require.ErrorAs(t, err, &panicked)
	n, _, err := tb.Get("good")
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
}

// Several streams may join one table, and one stream several.
func everyStreamSeesEveryTable(t *testing.T) {
	j := newJoin(t, 1, 1)
	more := j.rows.beside()
	j.rows.put("a=1", "b=2")
	more.put("a=x")
	first, second := j.table().table, more.ready(memory()).table
	j.reads("a", "b")
	keep := func(r reading, e entry) (string, error) { return r.Value, nil }
	j.mustRun(join.Left(join.Inner(j.source(), first, byValue, keep, join.Name("first")), second, byValue, show, join.Name("second")))
	require.Equal(t, []string{"a+x", "b+null"}, j.values())
	j.group += "-other"
	j.mustRun(join.Inner(j.source(), first, byValue, show))
	require.Equal(t, []string{"a+1", "b+2"}, j.values()[2:])
}
