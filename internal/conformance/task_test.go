package conformance

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/globaltable"
	"github.com/globaltable/enrich/internal/kafkatest"
)

const gst = "GlobalStateTaskTest."

func taskRows() []row {
	return []row{
		{ID: "GST01", Kafka: gst + "shouldInitializeStateManager", Verdict: match, Ours: "The positions from which a run begins are shown by Positions.", Test: storedPositionsAreShown, Red: positionsAreLost()},
		{ID: "GST02", Kafka: gst + "shouldInitializeContext", Verdict: skip, Ours: "There is no processor context."},
		{ID: "GST03", Kafka: gst + "shouldInitializeProcessorTopology", Verdict: skip, Ours: "There is no topology."},
		{ID: "GST04", Kafka: gst + "shouldProcessRecordsForTopic", Verdict: match, Ours: "A record becomes a row of its topic's table, and of no other.", Test: recordsGoToTheirTable(0), Red: nothingIsPut()},
		{ID: "GST05", Kafka: gst + "shouldProcessRecordsForOtherTopic", Verdict: match, Ours: "The same for a second table of the process.", Test: recordsGoToTheirTable(1), Red: nothingIsPut()},
		{ID: "GST06", Kafka: gst + "shouldThrowStreamsExceptionWhenKeyDeserializationFails", Verdict: match, Ours: "With BadRecords(Fail) a record whose key cannot be decoded ends Run. Without, a scan gives a DecodeError in its row's place.", Test: in(map[string]func(*testing.T){"when it arrives": badRecordsEndRun("short=" + goodNumber), "when it is read": badKeysAreErrors}), Red: badRecordsDoNotFail()},
		{ID: "GST07", Kafka: gst + "shouldThrowStreamsExceptionWhenValueDeserializationFails", Verdict: match, Ours: "With BadRecords(Fail) a record whose value cannot be decoded ends Run. Without, who reads its row gets a DecodeError.", Test: in(map[string]func(*testing.T){"when it arrives": badRecordsEndRun(goodNumber + "=short"), "when it is read": badValuesAreErrors}), Red: badRecordsDoNotFail()},
		{ID: "GST08", Kafka: gst + "shouldNotThrowStreamsExceptionWhenKeyDeserializationFailsWithSkipHandler", Verdict: match, Ours: "With BadRecords(Skip), or a Transform, a record whose key cannot be decoded is counted, and Run goes on.", Test: badRecordsAreRejected("short=" + goodNumber), Red: badRecordsAreKept()},
		{ID: "GST09", Kafka: gst + "shouldNotThrowStreamsExceptionWhenValueDeserializationFails", Verdict: match, Ours: "The same for a value: its key has no row then.", Test: badRecordsAreRejected("\x00\x00\x00\x00\x00\x00\x00\x09=short"), Red: badRecordsAreKept()},
		{ID: "GST10", Kafka: gst + "shouldFlushStateManagerWithOffsets", Verdict: match, Ours: "What is stored with the rows is the offset behind the last record, of each partition.", Test: restingPositionsStay, Red: storedPositionsAreWrong()},
		{ID: "GST11", Kafka: gst + "shouldCheckpointOffsetsWhenStateIsFlushed", Verdict: match, Ours: "A flush makes rows durable and, with them, the offset behind the last record.", Test: tablesAreFlushed, Red: neverFlushedByTime()},
		{ID: "GST12", Kafka: gst + "shouldNotCheckpointIfNotReceivedEnoughRecords", Verdict: better, Ours: "The interval alone counts: one record becomes durable after it.", Test: oneRecordBecomesDurable, Red: neverFlushedByTime()},
		{ID: "GST13", Kafka: gst + "shouldNotCheckpointWhenFlushIntervalHasNotLapsed", Verdict: better, Ours: "Before the interval nothing need be durable, and nothing is lost by a crash: the next run reads on from the stored positions.", Test: beforeTheInterval, Red: flushedAtOnce()},
		{ID: "GST14", Kafka: gst + "shouldCheckpointIfReceivedEnoughRecordsAndFlushIntervalHasElapsed", Verdict: better, Ours: "After the interval all that was applied is durable, however much it is.", Test: manyRecordsBecomeDurable, Red: neverFlushedByTime()},
		{ID: "GST15", Kafka: gst + "shouldCheckpointIfReceivedEnoughRecordsFromMultipleTopicsAndFlushIntervalElapsed", Verdict: better, Ours: "One flush is of all partitions, and each table has its own.", Test: tablesAreFlushed, Red: neverFlushedByTime()},
		{ID: "GST16", Kafka: gst + "shouldWipeGlobalStateDirectory", Verdict: other, Ours: "globaltable.Remove deletes one closed table, and never a file that is not the table's.", Test: removeDeletesTheTable, Red: removeLeavesFiles()},
		{ID: "GST17", Kafka: gst + "shouldCheckpointDuringInitialization (later)", Verdict: match, Ours: "What a table has read when it becomes ready is made durable then, without waiting for FlushInterval.", Test: readyIsDurable, Red: notFlushedWhenReady()},
		{ID: "GST18", Kafka: gst + "shouldCheckpointDuringClose (later)", Verdict: match, Ours: "A table that is ended makes durable what it applied.", Test: closeIsDurable, Red: notFlushedByClose()},
	}
}

func recordsGoToTheirTable(which int) func(*testing.T) {
	return func(t *testing.T) {
		first := fake(t, 2)
		worlds := []*world{first, first.beside()}
		tables := []*replica{worlds[0].ready(memory()), worlds[1].ready(memory())}
		tables[which].sees(worlds[which].put("a=1"))
		for i, w := range worlds {
			w.holds(tables[i])
			require.Equal(t, map[bool]int{true: 1, false: 0}[i == which], tables[i].events.rows())
		}
	}
}

const goodNumber = "\x00\x00\x00\x00\x00\x00\x00\x01"

// numbersOf is a table of numbers.
func numbersOf(t *testing.T, w *world, more ...globaltable.Opt) *globaltable.Table[int64, int64] {
	t.Helper()
	tb, err := globaltable.Open(w.topic, codec.Int64(), codec.Int64(), w.opts(append(more, memory())...)...)
	require.NoError(t, err)
	runAny(t, tb)
	return tb
}

func badKeysAreErrors(t *testing.T) {
	w := fake(t, 1)
	w.put(goodNumber+"="+goodNumber, "short="+goodNumber)
	tb := numbersOf(t, w)
	snap, err := tb.Snapshot()
	require.NoError(t, err)
	defer snap.Close()
	var rows []int64
	var errs []error
	for e, err := range snap.All() {
		if err != nil {
			errs = append(errs, err)
			continue
		}
		rows = append(rows, e.Key)
	}
	require.Equal(t, []int64{1}, rows, "the others follow")
	require.Len(t, errs, 1)
	var bad *globaltable.DecodeError
	require.ErrorAs(t, errs[0], &bad)
	require.EqualValues(t, 1, bad.Offset)
	require.Equal(t, w.topic, bad.Topic)
}

func badValuesAreErrors(t *testing.T) {
	w := fake(t, 1)
	w.put(goodNumber+"=short", "\x00\x00\x00\x00\x00\x00\x00\x02="+goodNumber)
	tb := numbersOf(t, w)
	_, ok, err := tb.Get(1)
	require.False(t, ok)
	var bad *globaltable.DecodeError
	require.ErrorAs(t, err, &bad)
	require.EqualValues(t, 0, bad.Offset)
	n, ok, err := tb.Get(2)
	require.NoError(t, err)
	require.True(t, ok)
	require.EqualValues(t, 1, n)
}

// badRecordsEndRun has a bad record between two good ones.
func badRecordsEndRun(bad string) func(*testing.T) {
	return func(t *testing.T) {
		w := fake(t, 1)
		fs := vfs.NewMem()
		const two = "\x00\x00\x00\x00\x00\x00\x00\x02"
		w.put(goodNumber+"="+goodNumber, bad, two+"="+goodNumber)
		tb, err := globaltable.Open(w.topic, codec.Int64(), codec.Int64(), w.opts(on(fs, globaltable.BadRecords(globaltable.Fail))...)...)
		require.NoError(t, err)
		var failed *globaltable.BadRecordError
		require.ErrorAs(t, tb.Run(ctxOf(t)), &failed)
		require.EqualValues(t, 1, failed.Offset)
		require.Equal(t, w.topic, failed.Topic)
		require.Equal(t, globaltable.Failed, tb.Status().State)
		require.NoError(t, tb.Close())
		// Who accepts it goes on from there.
		tb, err = globaltable.Open(w.topic, codec.Int64(), codec.Int64(), w.opts(on(fs, globaltable.BadRecords(globaltable.Skip))...)...)
		require.NoError(t, err)
		runAny(t, tb)
		require.NotEqual(t, globaltable.Rebuilt, tb.Stats().Decision)
		require.EqualValues(t, 1, tb.Stats().Rejected)
		n, ok, err := tb.Get(2)
		require.NoError(t, err)
		require.True(t, ok)
		require.EqualValues(t, 1, n)
	}
}

// in runs several tests as one.
func in(tests map[string]func(*testing.T)) func(*testing.T) {
	return func(t *testing.T) {
		for name, test := range tests {
			t.Run(name, test)
		}
	}
}

func badRecordsAreRejected(bad string) func(*testing.T) {
	skips := func(how globaltable.Opt) func(*testing.T) {
		return func(t *testing.T) {
			w := fake(t, 1)
			w.put(bad, goodNumber+"="+goodNumber)
			seen := &events{}
			tb := numbersOf(t, w, globaltable.Hooks(seen), how)
			require.EqualValues(t, 1, tb.Stats().Rejected)
			require.Equal(t, map[globaltable.DropReason]int{globaltable.DropRejected: 1}, seen.dropped())
			n, ok, err := tb.Get(1)
			require.NoError(t, err)
			require.True(t, ok)
			require.EqualValues(t, 1, n)
			require.Equal(t, globaltable.Ready, tb.Status().State)
		}
	}
	return in(map[string]func(*testing.T){
		"policy": skips(globaltable.BadRecords(globaltable.Skip)),
		"transform": skips(globaltable.Transform("v1",
			func(e globaltable.Entry[int64, int64]) (int64, bool, error) { return e.Value, true, nil })),
	})
}

func oneRecordBecomesDurable(t *testing.T) {
	w := fake(t, 1)
	disk := newCrashable()
	r := w.ready(on(disk, globaltable.FlushInterval(10*time.Millisecond))...)
	r.sees(w.put("a=1"))
	eventuallyDurable(t, w, r, disk)
}

func manyRecordsBecomeDurable(t *testing.T) {
	w := fake(t, 1)
	disk := newCrashable()
	r := w.ready(on(disk, globaltable.FlushInterval(10*time.Millisecond))...)
	rs := w.put(numbered("k", 10_001)...)
	r.sees(rs[len(rs)-1:])
	eventuallyDurable(t, w, r, disk)
}

func beforeTheInterval(t *testing.T) {
	w := fake(t, 1)
	disk, clock := newCrashable(), newCrashable()
	w.put("a=1")
	r := w.ready(on(disk, globaltable.FlushInterval(time.Hour))...)
	eventuallyDurable(t, w, r, disk) // it has become ready
	r.sees(w.put("a=2", "b=2"))
	// Another table of the topic flushes often: when it has, a time has passed
	// within which this one could have done so by mistake.
	other := w.ready(on(clock, globaltable.FlushInterval(20*time.Millisecond))...)
	for i := range 3 {
		rs := w.put("c=" + string(rune('0'+i)))
		other.sees(rs)
		r.sees(rs)
		eventuallyDurable(t, w, other, clock)
	}
	crashed := disk.crash()
	at, rows, ok := stored(t, w.topic, on(crashed)...)
	require.True(t, ok)
	require.Equal(t, map[int32]int64{0: 1}, at)
	require.Equal(t, map[string]string{"a": "1"}, rows, "rows and positions of one moment")
	again := w.ready(on(crashed)...)
	require.Equal(t, globaltable.Resumed, again.Stats().Decision)
	w.holds(again)
}

func closeIsDurable(t *testing.T) {
	w := fake(t, 1)
	disk := newCrashable()
	r := w.ready(on(disk, globaltable.FlushInterval(time.Hour))...)
	r.sees(w.put("a=1", "b=2"))
	r.stop()
	at, rows, ok := stored(t, w.topic, on(disk.crash())...)
	require.True(t, ok)
	require.Equal(t, map[int32]int64{0: 2}, at)
	require.Equal(t, w.want, rows)
}

const gth = "GlobalStreamThreadTest."

func threadRows() []row {
	const telemetry = "There are no telemetry ids of the client."
	const sc = "StateConsumerTest."
	return []row{
		{ID: "GTH01", Kafka: gth + "shouldThrowStreamsExceptionOnStartupIfThereIsAStreamsException", Verdict: match, Ours: "What waiting does not cure ends Run with an error that says what to do; readers and waiters get it.", Test: uncompactedTopicsAreRefused, Red: uncompactedIsAccepted()},
		{ID: "GTH02", Kafka: gth + "shouldThrowStreamsExceptionOnStartupIfExceptionOccurred", Verdict: match, Ours: "The error of Run wraps what the broker said.", Test: deniedAccessEndsRun, Red: deniedIsWaitedOut()},
		{ID: "GTH03", Kafka: gth + "shouldBeRunningAfterSuccessfulStart", Verdict: match, Ours: "Once it has caught up Status is Ready.", Test: statesOfARun, Red: readyIsNotPublished()},
		{ID: "GTH04", Kafka: gth + "shouldStopRunningWhenClosedByUser", Verdict: match, Ours: "When its context ends Run returns nil and Status is Stopped.", Test: statesOfARun, Red: stoppedIsNotPublished()},
		{ID: "GTH05", Kafka: gth + "shouldCloseStateStoresOnClose", Verdict: match, Ours: "Close closes the store.", Test: closeClosesTheStore, Red: storeIsNotClosed()},
		{ID: "GTH06", Kafka: gth + "shouldStayDeadAfterTwoCloses", Verdict: match, Ours: "Close may be called again.", Test: closeIsIdempotent, Red: secondCloseIsAnError()},
		{ID: "GTH07", Kafka: gth + "shouldTransitionToRunningOnStart", Verdict: match, Ours: "Status and its hook go from bootstrapping to ready.", Test: statesOfARun, Red: readyIsNotPublished()},
		{ID: "GTH08", Kafka: gth + "shouldDieOnInvalidOffsetExceptionDuringStartup", Verdict: better, Ours: "A position below the log's start is verified against the log; rows whose records are gone go too.", Test: positionsBelowTheLogAreVerified, Red: belowLogStartIsNotSeen()},
		{ID: "GTH09", Kafka: gth + "shouldDieOnInvalidOffsetExceptionWhileRunning", Verdict: better, Ours: "The old rows answer until the new ones are complete.", Test: rebuildsAnswerMeanwhile, Red: topicIDsAreIgnored()},
		{ID: "GTH10", Kafka: gth + "shouldGetGlobalConsumerClientInstanceId", Verdict: skip, Ours: telemetry},
		{ID: "GTH11", Kafka: gth + "shouldGetGlobalConsumerClientInstanceIdWithInternalTimeoutException", Verdict: skip, Ours: telemetry},
		{ID: "GTH12", Kafka: gth + "shouldReturnNullIfTelemetryDisabled", Verdict: skip, Ours: telemetry},
		{ID: "GTH13", Kafka: gth + "shouldReturnErrorIfInstanceIdNotInitialized", Verdict: skip, Ours: telemetry},
		{ID: "GTH14", Kafka: gth + "shouldTimeOutOnGlobalConsumerInstanceId", Verdict: skip, Ours: telemetry},
		{ID: "SC1", Kafka: sc + "shouldAssignPartitionsToConsumer", Verdict: match, Ours: "Every partition of the topic is read.", Test: everyPartitionIsRead, Red: nothingIsPut()},
		{ID: "SC2", Kafka: sc + "shouldSeekToInitialOffsets", Verdict: match, Ours: "Each partition is read from its stored position.", Test: restartsReadTheRest, Red: startsAtTheLogStart()},
		{ID: "SC3", Kafka: sc + "shouldUpdateStateWithReceivedRecordsForPartition", Verdict: match, Ours: "Records of a partition become rows, and its position moves with them.", Test: partitionsMove(0), Red: positionsAreLost()},
		{ID: "SC4", Kafka: sc + "shouldUpdateStateWithReceivedRecordsForAllTopicPartition", Verdict: match, Ours: "The same for all partitions at once.", Test: partitionsMove(0, 1), Red: positionsAreLost()},
		{ID: "SC5", Kafka: sc + "shouldCloseConsumer", Verdict: match, Ours: "No connection is left when Run has ended.", Test: connectionsAreClosed, Red: clientIsNotClosed()},
		{ID: "SC6", Kafka: sc + "shouldCloseStateMaintainer", Verdict: match, Ours: "Close ends what keeps the table up to date, and closes its store.", Test: closeClosesTheStore, Red: storeIsNotClosed()},
		{ID: "SC7", Kafka: sc + "shouldWipeStoreOnClose", Verdict: other, Ours: "globaltable.Remove deletes a closed table.", Test: removeDeletesTheTable, Red: removeLeavesFiles()},
	}
}

func uncompactedTopicsAreRefused(t *testing.T) {
	w := newWorld(t, kafkatest.Fake(t), 1, map[string]string{"cleanup.policy": "delete"})
	w.put("a=1")
	r := w.open(memory())
	err := r.runErr()
	var refused *globaltable.NotCompactedError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, "delete", refused.Policy)
	require.Equal(t, globaltable.Failed, r.Status().State)
	var failed *globaltable.RunError
	require.ErrorAs(t, r.WaitReady(t.Context()), &failed)
	_, _, err = r.Get("a")
	require.ErrorAs(t, err, &failed)
	require.ErrorAs(t, err, &refused)
	require.NotErrorIs(t, err, globaltable.ErrNotReady, "waiting would not help")
}

func deniedAccessEndsRun(t *testing.T) {
	w := fake(t, 1)
	w.refuse(metadata, kerr.TopicAuthorizationFailed, 1<<40)
	r := w.open(memory())
	err := r.runErr()
	require.ErrorIs(t, err, kerr.TopicAuthorizationFailed)
	require.ErrorContains(t, err, w.topic)
	_, err = r.Snapshot()
	require.ErrorIs(t, err, kerr.TopicAuthorizationFailed)
	require.NoError(t, r.Close())
}

func statesOfARun(t *testing.T) {
	w := fake(t, 1)
	w.put("a=1")
	r := w.open(memory())
	<-r.Ready()
	r.until("ready", func() bool { return r.Status().State == globaltable.Ready })
	r.cancel()
	require.NoError(t, r.runErr())
	require.Equal(t, globaltable.Stopped, r.Status().State)
	require.NoError(t, r.Close())
	require.Equal(t, []string{"bootstrapping", "ready", "stopped", "closed"}, r.events.list(func() []string { return r.events.states }))
}

func positionsBelowTheLogAreVerified(t *testing.T) {
	w := deletable(t)
	fs := vfs.NewMem()
	w.put("a=1", "b=2")
	w.ready(on(fs)...).stop()
	rs := w.put("c=3", "d=4")
	w.deleteRecords(rs[1].Offset, "a", "b", "c")
	r := w.ready(on(fs)...)
	require.Equal(t, globaltable.Verified, r.Stats().Decision)
	require.Equal(t, globaltable.BelowLogStart, r.Stats().Reason)
	w.holds(r)
}

func rebuildsAnswerMeanwhile(t *testing.T) {
	w := fake(t, 1)
	h := &hold{key: "last"}
	w.put("old=1")
	r := w.ready(memory(), h.opt())
	w.recreate()
	w.put("new=1", "last=1")
	r.until("it rebuilds", func() bool { return r.Status().State == globaltable.Rebuilding })
	require.Equal(t, globaltable.TopicRecreated, r.Status().Reason)
	r.until("the rebuild waits", func() bool { return h.asked.Load() >= 2 })
	require.Equal(t, map[string]string{"old": "1"}, r.rows())
	h.over.Store(true)
	r.until("the swap", func() bool { return r.Stats().Rebuilds == 1 })
	w.holds(r)
	require.Equal(t, []string{"begun TopicRecreated", "swapped TopicRecreated"}, r.events.list(func() []string { return r.events.rebuilds }))
}

func everyPartitionIsRead(t *testing.T) {
	w := fake(t, 4)
	for p := range int32(4) {
		w.putTo(p, numbered("in"+string('a'+p), 3)...)
	}
	r := w.ready(memory())
	w.holds(r)
	require.Equal(t, []int32{0, 1, 2, 3}, slices.Sorted(maps.Keys(offsets(r.table))))
}

func partitionsMove(partitions ...int32) func(*testing.T) {
	return func(t *testing.T) {
		w := fake(t, 2)
		w.putTo(0, numbered("a", 4)...)
		w.putTo(1, numbered("b", 6)...)
		r := w.ready(memory())
		before := offsets(r.table)
		for _, p := range partitions {
			r.sees(w.putTo(p, "new"+string('a'+p)+"=1", "newer"+string('a'+p)+"=1"))
			before[p] += 2
		}
		w.holds(r)
		require.Equal(t, before, offsets(r.table))
		require.Equal(t, 10+2*len(partitions), r.events.rows())
	}
}

func connectionsAreClosed(t *testing.T) {
	w := fake(t, 1)
	n := &network{}
	r := w.ready(memory(), n.opt())
	require.Positive(t, n.open.Load())
	r.cancel()
	require.NoError(t, r.runErr())
	r.until("no connection is left", func() bool { return n.open.Load() == 0 })
	require.NoError(t, r.Close())
}
