package conformance

import (
	"os"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/globaltable"
	"github.com/globaltable/enrich/join"
	"github.com/globaltable/enrich/stream"
)

// checkpointRows are those of GlobalStateManagerImplTest about what becomes
// durable, and what is closed.
func checkpointRows() []row {
	return []row{
		{ID: "GSM18", Kafka: gsm + "shouldFlushStateStores", Verdict: match, Ours: "Rows and positions of every table become durable after FlushInterval.", Test: tablesAreFlushed, Red: neverFlushedByTime()},
		{ID: "GSM19", Kafka: gsm + "shouldThrowProcessorStateStoreExceptionIfStoreFlushFailed", Verdict: match, Ours: "A flush that fails ends Run with a WriteError.", Test: refusedWritesLoseNothing, Red: writeErrorsAreWaitedOut()},
		{ID: "GSM20", Kafka: gsm + "shouldCloseStateStores", Verdict: match, Ours: "Close closes the store and gives its directory back.", Test: closeClosesTheStore, Red: storeIsNotClosed()},
		{ID: "GSM21", Kafka: gsm + "shouldThrowProcessorStateStoreExceptionIfStoreCloseFailed", Verdict: match, Ours: "Close returns the WriteError of what could not be made durable.", Test: closeErrorsAreReturned, Red: closeErrorsAreLost()},
		{ID: "GSM22", Kafka: gsm + "shouldThrowIllegalArgumentExceptionIfCallbackIsNull", Verdict: skip, Ours: "There is no restore callback."},
		{ID: "GSM23", Kafka: gsm + "shouldNotCloseStoresIfCloseAlreadyCalled", Verdict: match, Ours: "Close may be called again and returns nil.", Test: closeIsIdempotent, Red: secondCloseIsAnError()},
		{ID: "GSM24", Kafka: gsm + "shouldAttemptToCloseAllStoresEvenWhenSomeException", Verdict: match, Ours: "A Close that fails closes all the same, and keeps no lock and no other table.", Test: failingClosesClose, Red: lockIsKeptAfterAnError()},
		{ID: "GSM25", Kafka: gsm + "shouldCheckpointOffsets", Verdict: match, Ours: "The positions that are stored are those that the table had.", Test: storedPositionsAreShown, Red: storedPositionsAreWrong()},
		{ID: "GSM26", Kafka: gsm + "shouldNotRemoveOffsetsOfUnUpdatedTablesDuringCheckpoint", Verdict: match, Ours: "The positions of partitions, and of tables, that rest stay as they are.", Test: restingPositionsStay, Red: storedPositionsAreWrong()},
		{ID: "GSM28", Kafka: gsm + "shouldCheckpointRestoredOffsetsToFile", Verdict: match, Ours: "What a table has read when it becomes ready is made durable then, without waiting for FlushInterval.", Test: readyIsDurable, Red: notFlushedWhenReady()},
		{ID: "GSM29", Kafka: gsm + "shouldSkipGlobalInMemoryStoreOffsetsToFile", Verdict: match, Ours: "A table in memory writes no file, and reads its topic again.", Test: memoryLeavesNothing, Red: memoryIsOnDisk()},
	}
}

// eventuallyDurable waits until a crash would leave the rows of the world and the
// positions of the table.
func eventuallyDurable(t *testing.T, w *world, r *replica, disk crashable) {
	t.Helper()
	want := offsets(r.table)
	require.Eventually(t, func() bool {
		at, rows, ok := stored(t, w.topic, on(disk.crash())...)
		return ok && mapsEqual(at, want) && mapsEqual(rows, w.want)
	}, patience(), 5*time.Millisecond)
}

func mapsEqual[K, V comparable](a, b map[K]V) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if w, ok := b[k]; !ok || w != v {
			return false
		}
	}
	return true
}

func tablesAreFlushed(t *testing.T) {
	first := fake(t, 2)
	second := first.beside()
	soon := globaltable.FlushInterval(10 * time.Millisecond)
	disks := []crashable{newCrashable(), newCrashable()}
	r, s := first.ready(on(disks[0], soon)...), second.ready(on(disks[1], soon)...)
	r.sees(first.put("a=1", "b=2"))
	s.sees(second.put("c=3"))
	eventuallyDurable(t, first, r, disks[0])
	eventuallyDurable(t, second, s, disks[1])
}

func closeClosesTheStore(t *testing.T) {
	first := fake(t, 1)
	second := first.beside()
	dirs := []string{t.TempDir(), t.TempDir()}
	for i, w := range []*world{first, second} {
		w.put("a=1")
		r := w.ready(globaltable.Dir(dirs[i]))
		snap, err := r.Snapshot()
		require.NoError(t, err)
		require.NoError(t, r.Close())
		require.ErrorIs(t, r.runErr(), globaltable.ErrClosed, "Close ends Run")
		_, _, err = r.Get("a")
		require.ErrorIs(t, err, globaltable.ErrClosed)
		_, err = r.GetMany([]string{"a"})
		require.ErrorIs(t, err, globaltable.ErrClosed)
		_, _, err = snap.Get("a")
		require.ErrorIs(t, err, globaltable.ErrClosed, "a snapshot ends with its table")
		snap.Close()
		require.Equal(t, globaltable.Closed, r.Status().State)
		// The directory is free.
		w.holds(w.ready(globaltable.Dir(dirs[i])))
	}
}

func closeErrorsAreReturned(t *testing.T) {
	w := fake(t, 1)
	disk := &fullDisk{}
	r := w.ready(on(disk.on(vfs.NewMem()), globaltable.FlushInterval(time.Hour))...)
	r.sees(w.put("a=1"))
	disk.full.Store(true)
	var refused *globaltable.WriteError
	require.ErrorAs(t, r.Close(), &refused)
	disk.full.Store(false)
}

func closeIsIdempotent(t *testing.T) {
	w := fake(t, 1)
	r := w.ready(memory())
	r.stop()
	require.NoError(t, r.Close())
	require.NoError(t, r.Close())
	require.Equal(t, globaltable.Closed, r.Status().State)
}

func failingClosesClose(t *testing.T) {
	w := fake(t, 1)
	well := w.beside()
	disk, fs := &fullDisk{}, vfs.NewMem()
	r := w.ready(on(disk.on(fs), globaltable.FlushInterval(time.Hour))...)
	dir := globaltable.Dir(t.TempDir())
	s := well.ready(dir)
	r.sees(w.put("a=1"))
	s.sees(well.put("b=2"))
	disk.full.Store(true)
	require.Error(t, r.Close())
	_, _, err := r.Get("a")
	require.ErrorIs(t, err, globaltable.ErrClosed)
	s.stop()
	disk.full.Store(false)
	// Both directories are free, and nothing is lost.
	w.holds(w.ready(on(disk.on(fs))...))
	well.holds(well.ready(dir))
}

func restingPositionsStay(t *testing.T) {
	w := fake(t, 2)
	rests := w.beside()
	fs, other := vfs.NewMem(), vfs.NewMem()
	w.putTo(0, "a=1", "b=2")
	w.putTo(1, numbered("k", 5)...)
	rests.put("c=3")
	r, s := w.ready(on(fs)...), rests.ready(on(other)...)
	require.Equal(t, map[int32]int64{0: 2, 1: 5}, offsets(r.table))
	r.stop()
	s.stop()
	r = w.ready(on(fs)...)
	r.sees(w.putTo(0, "a=2"))
	r.stop()
	at, rows, ok := stored(t, w.topic, on(fs)...)
	require.True(t, ok)
	require.Equal(t, map[int32]int64{0: 3, 1: 5}, at)
	require.Equal(t, w.want, rows)
	at, _, ok = stored(t, rests.topic, on(other)...)
	require.True(t, ok)
	require.Equal(t, map[int32]int64{0: 1}, at)
}

func readyIsDurable(t *testing.T) {
	w := fake(t, 1)
	disk := newCrashable()
	w.put(numbered("k", 10)...)
	r := w.ready(on(disk, globaltable.FlushInterval(time.Hour))...)
	eventuallyDurable(t, w, r, disk)
	at, _, _ := stored(t, w.topic, on(disk.crash())...)
	require.Equal(t, map[int32]int64{0: 10}, at)
}

func memoryLeavesNothing(t *testing.T) {
	here := t.TempDir()
	t.Chdir(here)
	w := fake(t, 1)
	w.put("a=1", "b=2")
	for range 2 {
		r := w.ready(memory())
		w.holds(r)
		require.Equal(t, globaltable.Bootstrapped, r.Stats().Decision)
		require.EqualValues(t, 2, r.Stats().Records, "all is read again")
		r.stop()
	}
	files, err := os.ReadDir(here)
	require.NoError(t, err)
	require.Empty(t, files)
}

// troubleRows are those of GlobalStateManagerImplTest about brokers that do not
// answer, and about records that cannot be decoded.
func troubleRows() []row {
	const visible = "It is waited for, however long it takes: Run does not end, Status says what it waits for, and the table becomes ready when the broker is well."
	rows := []row{}
	add := func(id, test string, verdict verdict, ours string, fn func(*testing.T)) {
		red := troubleIsHidden()
		if ours != visible {
			red = troubleEndsRun()
		}
		rows = append(rows, row{ID: id, Kafka: gsm + test, Verdict: verdict, Ours: ours, Test: fn, Red: red})
	}
	const passing = "A question that fails twice is asked again, and the table becomes ready."
	add("GSM30", "shouldNotRetryWhenEndOffsetsThrowsTimeoutExceptionAndTaskTimeoutIsZero", better, visible, troubleIsVisible(listOffsets, 2))
	add("GSM31", "shouldRetryAtLeastOnceWhenEndOffsetsThrowsTimeoutException", better, visible, troubleIsVisible(listOffsets, 3))
	add("GSM32", "shouldRetryWhenEndOffsetsThrowsTimeoutExceptionUntilTaskTimeoutExpired", better, visible, troubleIsVisible(listOffsets, 4))
	add("GSM33", "shouldNotFailOnSlowProgressWhenEndOffsetsThrowsTimeoutException", match, passing, troublePasses(listOffsets))
	add("GSM34", "shouldNotRetryWhenPartitionsForThrowsTimeoutExceptionAndTaskTimeoutIsZero", better, visible, troubleIsVisible(metadata, 2))
	add("GSM35", "shouldRetryAtLeastOnceWhenPartitionsForThrowsTimeoutException", better, visible, troubleIsVisible(metadata, 3))
	add("GSM36", "shouldRetryWhenPartitionsForThrowsTimeoutExceptionUntilTaskTimeoutExpires", better, visible, troubleIsVisible(metadata, 4))
	add("GSM37", "shouldNotFailOnSlowProgressWhenPartitionForThrowsTimeoutException", better, passing, troublePasses(metadata))
	add("GSM38", "shouldNotRetryWhenPositionThrowsTimeoutExceptionAndTaskTimeoutIsZero", better, visible, troubleIsVisible(fetch, 2))
	add("GSM39", "shouldRetryAtLeastOnceWhenPositionThrowsTimeoutException", better, visible, troubleIsVisible(fetch, 3))
	add("GSM40", "shouldRetryWhenPositionThrowsTimeoutExceptionUntilTaskTimeoutExpired", better, visible, troubleIsVisible(fetch, 4))
	add("GSM41", "shouldNotFailOnSlowProgressWhenPositionThrowsTimeoutException", better, passing, troublePasses(fetch))
	add("GSM42", "shouldUsePollMsPlusRequestTimeoutInPollDuringRestoreAndTimeoutWhenNoProgressDuringRestore", better, visible, troubleIsVisible(fetch, 4))
	return append(rows,
		row{ID: "GSM43", Kafka: gsm + "shouldFailOnDeserializationErrorsWhenReprocessing", Verdict: other, Ours: "With BadRecords(Fail) a record that cannot be decoded ends Run, with its place, and nothing behind it is applied. Without, its row gives a DecodeError to who reads it, and ends a join under stream.Fail.", Test: badRecordsFail, Red: badRecordsDoNotFail()},
		row{ID: "GSM44", Kafka: gsm + "shouldSkipOnDeserializationErrorsWhenReprocessing", Verdict: other, Ours: "With BadRecords(Skip), or a Transform, one that cannot be decoded is counted, and Run goes on. A join under stream.Skip goes on too.", Test: badRecordsAreSkipped, Red: rejectedIsNotCounted()})
}

// troubled is a table that has rows, is behind, and meets brokers that refuse a
// kind of request.
func troubled(t *testing.T, kind func() int16, times int64) (*world, *replica, *refusal) {
	t.Helper()
	w := fake(t, 1)
	fs := vfs.NewMem()
	w.put(numbered("k", 5)...)
	w.ready(on(fs)...).stop()
	w.put("k1=changed", "k2", "new=1")
	refused := w.refuse(kind, kerr.RequestTimedOut, times)
	return w, w.open(on(fs)...), refused
}

func troubleIsVisible(kind func() int16, atLeast int64) func(*testing.T) {
	return func(t *testing.T) {
		const forEver = 1 << 40
		w, r, refused := troubled(t, kind, forEver)
		r.until("it asks again and again, and says why", func() bool {
			return refused.asked.Load() >= atLeast && r.Status().Err != nil
		})
		require.ErrorIs(t, r.Status().Err, kerr.RequestTimedOut)
		select {
		case <-r.done:
			t.Fatalf("Run has ended: %v", r.err)
		case <-r.Ready():
			t.Fatal("it is ready, and lacks records")
		default:
		}
		_, _, err := r.Get("k0")
		require.ErrorIs(t, err, globaltable.ErrNotReady)
		refused.left.Store(0)
		r.waitReady()
		r.until("the trouble is over", func() bool { return r.Status().Err == nil })
		require.Equal(t, globaltable.Ready, r.Status().State)
		w.holds(r)
	}
}

func troublePasses(kind func() int16) func(*testing.T) {
	return func(t *testing.T) {
		w, r, refused := troubled(t, kind, 2)
		r.waitReady()
		require.EqualValues(t, 2, refused.asked.Load())
		w.holds(r)
	}
}

// badRow is a table of numbers in which one value is none, and a stream that is
// joined with it.
func badRow(t *testing.T, policy stream.BadRecordPolicy) (*globaltable.Table[string, int64], stream.Stats, error) {
	t.Helper()
	j := newJoin(t, 1, 1)
	j.rows.put("bad=no number", "good="+goodNumber)
	tb, err := globaltable.Open(j.rows.topic, codec.String(), codec.Int64(), j.rows.opts(memory())...)
	require.NoError(t, err)
	runAny(t, tb)
	j.in.put("1=good", "2=bad", "3=good")
	out := join.Inner(j.source(), tb, byValue, func(_ reading, e globaltable.Entry[string, int64]) (string, error) { return e.Key, nil })
	stats, err := j.runToEnd(out, stream.OnBadRecord(policy))
	return tb, stats, err
}

func badRecordsFail(t *testing.T) {
	t.Run("in the table", badRecordsEndRun(goodNumber+"=short"))
	t.Run("in a join", badRowsFailTheirReaders)
}

func badRowsFailTheirReaders(t *testing.T) {
	tb, stats, err := badRow(t, stream.Fail)
	var bad *stream.RecordError
	require.ErrorAs(t, err, &bad)
	require.EqualValues(t, 1, bad.Offset, "the reading that met the row")
	var decode *globaltable.DecodeError
	require.ErrorAs(t, err, &decode)
	require.EqualValues(t, 1, stats.BadRecords.Failed)

	_, ok, err := tb.Get("bad")
	require.ErrorAs(t, err, &decode)
	require.False(t, ok)
	require.EqualValues(t, 0, decode.Offset)
	n, ok, err := tb.Get("good")
	require.NoError(t, err)
	require.True(t, ok)
	require.EqualValues(t, 1, n)
	require.Equal(t, globaltable.Ready, tb.Status().State, "the table goes on")
}

func badRecordsAreSkipped(t *testing.T) {
	t.Run("in the table", badRecordsAreRejected(goodNumber+"=short"))
	t.Run("in a join", func(t *testing.T) {
		_, stats, err := badRow(t, stream.Skip)
		require.NoError(t, err)
		require.EqualValues(t, 1, stats.BadRecords.Skipped)
		require.EqualValues(t, 2, stats.Outputs)
	})
}
