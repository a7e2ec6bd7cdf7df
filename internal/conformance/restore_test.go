package conformance

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/globaltable"
	"github.com/globaltable/enrich/internal/kafkatest"
)

const gsm = "GlobalStateManagerImplTest."

// restoreRows are those of GlobalStateManagerImplTest about what is restored.
func restoreRows() []row {
	return []row{
		{ID: "GSM01", Kafka: gsm + "shouldReadCheckpointOffsets", Verdict: match, Ours: "The stored positions are what the table answers for before it has read anything.", Test: storedPositionsAreShown, Red: positionsAreLost()},
		{ID: "GSM02", Kafka: gsm + "shouldLogWarningMessageWhenIOExceptionInCheckPoint", Verdict: other, Ours: "There is no checkpoint besides the rows: a write that is refused ends Run with a WriteError, and the stored rows and positions stay those of one moment, from which the next Run goes on.", Test: refusedWritesLoseNothing, Red: writeErrorsAreWaitedOut()},
		{ID: "GSM03", Kafka: gsm + "shouldThrowStreamsExceptionForOldTopicPartitions", Verdict: better, Ours: "Positions of partitions that the topic does not have are those of an earlier topic: the rows are built anew, with the reason TopicRecreated.", Test: oldPartitionsAreRebuilt, Red: topicIDsAreIgnored()},
		{ID: "GSM04", Kafka: gsm + "shouldNotDeleteCheckpointFileAfterLoaded", Verdict: skip, Ours: "There is no checkpoint file: positions are in the store, with the rows."},
		{ID: "GSM05", Kafka: gsm + "shouldThrowStreamsExceptionIfFailedToReadCheckpointedOffsets", Verdict: better, Ours: "A store that cannot be read is built anew, with the reason StoreDamaged.", Test: damageIsHealed("MANIFEST-*", overwritten), Red: damageIsWaitedOut()},
		{ID: "GSM06", Kafka: gsm + "shouldInitializeStateStores", Verdict: match, Ours: "All tables of a process become ready, and answer then.", Test: allTablesBecomeReady, Red: neverServed()},
		{ID: "GSM07", Kafka: gsm + "shouldReturnInitializedStoreNames", Verdict: skip, Ours: "There is no manager of several tables: each is a variable."},
		{ID: "GSM08", Kafka: gsm + "shouldThrowIllegalArgumentIfTryingToRegisterStoreThatIsNotGlobal", Verdict: other, Ours: "A directory that belongs to another topic's table is refused with a WrongTableError, and left as it is.", Test: foreignTablesAreRefused, Red: anyTopicFits()},
		{ID: "GSM09", Kafka: gsm + "shouldThrowIllegalArgumentExceptionIfAttemptingToRegisterStoreTwice", Verdict: other, Ours: "A directory is open once (ErrLocked), and a table runs once (ErrRunTwice).", Test: nothingIsThereTwice, Red: locksAreNotTold()},
		{ID: "GSM10", Kafka: gsm + "shouldThrowStreamsExceptionIfNoPartitionsFoundForStore", Verdict: better, Ours: "A topic that is not there is waited for: Status says ErrTopicAbsent, and reads say not ready.", Test: absentTopicsAreWaitedFor, Red: troubleIsHidden()},
		{ID: "GSM11", Kafka: gsm + "shouldNotConvertValuesIfStoreDoesNotImplementTimestampedBytesStore", Verdict: other, Ours: "A value's bytes come back as they were written, of any length.", Test: valuesAreUnchanged, Red: valuesAreChanged()},
		{ID: "GSM12", Kafka: gsm + "shouldNotConvertValuesIfInnerStoreDoesNotImplementTimestampedBytesStore", Verdict: skip, Ours: "There are no stores around stores."},
		{ID: "GSM13", Kafka: gsm + "shouldConvertValuesIfStoreImplementsTimestampedBytesStore", Verdict: other, Ours: "Each row keeps its record's timestamp, which an entry shows; the value is apart from it.", Test: timestampsAreKept, Red: timesAreLost()},
		{ID: "GSM14", Kafka: gsm + "shouldConvertValuesIfInnerStoreImplementsTimestampedBytesStore", Verdict: skip, Ours: "There are no stores around stores."},
		{ID: "GSM15", Kafka: gsm + "shouldRestoreRecordsUpToHighwatermark", Verdict: match, Ours: "Ready means that everything was read that the topic held when Run began, and not before.", Test: readyMeansComplete, Red: targetsAreZero()},
		{ID: "GSM16", Kafka: gsm + "shouldListenForRestoreEvents", Verdict: match, Ours: "Hooks tell the beginning, each batch and the end of a bootstrap, also where the log starts above 0.", Test: bootstrapsAreTold, Red: batchesAreNotTold()},
		{ID: "GSM17", Kafka: gsm + "shouldRestoreRecordsFromCheckpointToHighWatermark", Verdict: match, Ours: "A restart reads from the stored positions, and no record twice.", Test: restartsReadTheRest, Red: startsAtTheLogStart()},
		{ID: "GSM27", Kafka: gsm + "shouldSkipNullKeysWhenRestoring", Verdict: match, Ours: "Records without a key are dropped and counted, and the next ones are applied; an empty key is a key.", Test: nullKeysAreDropped, Red: nullKeysAreRows()},
	}
}

func storedPositionsAreShown(t *testing.T) {
	w := fake(t, 3)
	fs := vfs.NewMem()
	w.put(numbered("k", 20)...)
	r := w.ready(on(fs)...)
	at := offsets(r.table)
	require.Len(t, at, 3)
	var records int64
	for _, o := range at {
		records += o
	}
	require.EqualValues(t, 20, records, "each position is behind the last record")
	r.stop()
	has, rows, ok := stored(t, w.topic, on(fs)...)
	require.True(t, ok)
	require.Equal(t, at, has)
	require.Equal(t, w.want, rows)
}

func refusedWritesLoseNothing(t *testing.T) {
	w := fake(t, 2)
	fs, disk := vfs.NewMem(), &fullDisk{}
	w.put(numbered("k", 50)...)
	w.ready(on(disk.on(fs))...).stop()
	r := w.ready(on(disk.on(fs), shortFlush())...)
	disk.full.Store(true)
	w.put("k1=changed", "k2", "new=1")
	err := r.runErr()
	var refused *globaltable.WriteError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, globaltable.Failed, r.Status().State)
	_, _, err = r.Get("k3")
	var failed *globaltable.RunError
	require.ErrorAs(t, err, &failed, "a table that will not change any more says so")
	_ = r.Close() // its error is for another row

	disk.full.Store(false)
	r = w.ready(on(disk.on(fs))...)
	require.Equal(t, globaltable.Resumed, r.Stats().Decision)
	w.holds(r)
}

func oldPartitionsAreRebuilt(t *testing.T) {
	w := fake(t, 3)
	fs := vfs.NewMem()
	w.put(numbered("old", 20)...)
	w.ready(on(fs)...).stop()
	w.recreate()
	w.put("new=1")
	r := w.ready(on(fs)...)
	require.Equal(t, globaltable.Rebuilt, r.Stats().Decision)
	require.Equal(t, globaltable.TopicRecreated, r.Stats().Reason)
	w.holds(r)
	require.Len(t, r.Positions(), 1)
}

// What is done to a file.
func overwritten(t *testing.T, file string) {
	require.NoError(t, os.WriteFile(file, []byte("not what it was"), 0o600))
}

func truncated(t *testing.T, file string) { require.NoError(t, os.Truncate(file, 100)) }

func missing(t *testing.T, file string) { require.NoError(t, os.Remove(file)) }

// damageIsHealed damages the files of a closed table, and opens it.
func damageIsHealed(pattern string, damage func(*testing.T, string)) func(*testing.T) {
	return func(t *testing.T) {
		w := fake(t, 1)
		dir := t.TempDir()
		w.put(numbered("k", 100)...)
		w.ready(globaltable.Dir(dir)).stop()
		files, err := filepath.Glob(filepath.Join(dir, "gen-*", pattern))
		require.NoError(t, err)
		require.NotEmpty(t, files, pattern)
		for _, f := range files {
			damage(t, f)
		}
		r := w.ready(globaltable.Dir(dir))
		w.holds(r)
		require.Equal(t, globaltable.Rebuilt, r.Stats().Decision)
		require.Equal(t, globaltable.StoreDamaged, r.Stats().Reason)
		r.stop()
		r = w.ready(globaltable.Dir(dir))
		require.Equal(t, globaltable.Resumed, r.Stats().Decision, "it is whole again")
		w.holds(r)
	}
}

func allTablesBecomeReady(t *testing.T) {
	first := fake(t, 2)
	second := first.beside()
	first.put("a=1", "b=2")
	second.put("a=other")
	r, s := first.open(memory()), second.open(memory())
	r.waitReady()
	s.waitReady()
	first.holds(r)
	second.holds(s)
}

func foreignTablesAreRefused(t *testing.T) {
	w := fake(t, 1)
	dir := t.TempDir()
	w.put("a=1")
	w.ready(globaltable.Dir(dir)).stop()
	_, err := globaltable.Open("another", codec.String(), codec.String(), w.opts(globaltable.Dir(dir))...)
	var wrong *globaltable.WrongTableError
	require.ErrorAs(t, err, &wrong)
	require.Equal(t, w.topic, wrong.Has)
	require.Equal(t, "another", wrong.Want)
	r := w.ready(globaltable.Dir(dir))
	require.Equal(t, globaltable.Resumed, r.Stats().Decision)
	w.holds(r)
}

func nothingIsThereTwice(t *testing.T) {
	w := fake(t, 1)
	dir := t.TempDir()
	r := w.ready(globaltable.Dir(dir))
	_, err := globaltable.Open(w.topic, codec.String(), codec.String(), w.opts(globaltable.Dir(dir))...)
	require.ErrorIs(t, err, globaltable.ErrLocked)
	require.ErrorContains(t, err, dir)
	require.ErrorIs(t, r.Run(ctxOf(t)), globaltable.ErrRunTwice)
	require.Equal(t, globaltable.Ready, r.Status().State, "the first one goes on")
}

func absentTopicsAreWaitedFor(t *testing.T) {
	w := fake(t, 1)
	w.deleteTopic()
	r := w.open(memory())
	r.until("it says what it waits for", func() bool { return r.Status().Err != nil })
	require.ErrorIs(t, r.Status().Err, globaltable.ErrTopicAbsent)
	require.Equal(t, globaltable.Starting, r.Status().State)
	_, _, err := r.Get("a")
	require.ErrorIs(t, err, globaltable.ErrNotReady)
	w.createAgain()
	r.waitReady()
	r.sees(w.put("a=1"))
	w.holds(r)
}

func valuesAreUnchanged(t *testing.T) {
	w := fake(t, 1)
	values := []string{"", "\x00", "12345", "\xff\xff\xff\xff\xff\xff\xff\xff\xff"}
	for _, v := range values {
		w.put("k" + v + "=" + v)
	}
	tb, err := globaltable.Open(w.topic, codec.Bytes(), codec.Bytes(), w.opts(memory())...)
	require.NoError(t, err)
	runAny(t, tb)
	for _, v := range values {
		got, ok, err := tb.Get([]byte("k" + v))
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, v, string(got))
	}
}

// runAny runs a table of any types until the test ends, and waits for it.
func runAny[K, V any](t *testing.T, tb *globaltable.Table[K, V]) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = tb.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		_ = tb.Close()
	})
	require.NoError(t, tb.WaitReady(ctxOf(t)))
}

func timestampsAreKept(t *testing.T) {
	w := fake(t, 1)
	at := time.UnixMilli(1_234_567_890_123)
	w.broker.Produce(t, &kgo.Record{Topic: w.topic, Key: []byte("a"), Value: []byte("12345"), Timestamp: at})
	r := w.ready(memory())
	e, ok, err := r.GetEntry("a")
	require.NoError(t, err)
	require.True(t, ok)
	require.True(t, e.Timestamp.Equal(at), "%v", e.Timestamp)
	require.Equal(t, "12345", e.Value)
	require.EqualValues(t, 0, e.Offset)
}

func readyMeansComplete(t *testing.T) {
	w := fake(t, 1)
	w.put(numbered("k", 5)...)
	h := &hold{key: "k2"}
	r := w.open(memory(), h.opt())
	// What comes before it was applied when it is tried again.
	r.until("the record was tried again", func() bool { return h.asked.Load() >= 3 })
	select {
	case <-r.Ready():
		t.Fatal("ready, and a record is missing")
	default:
	}
	_, _, err := r.Get("k0")
	require.ErrorIs(t, err, globaltable.ErrNotReady)
	h.over.Store(true)
	r.waitReady()
	w.holds(r)
	require.EqualValues(t, 5, r.Stats().Records)
}

func bootstrapsAreTold(t *testing.T) {
	w := deletable(t)
	w.put("gone=1", "a=1", "b=2", "c=3", "d=4", "e=5")
	w.deleteRecords(1, "gone")
	r := w.ready(memory())
	w.holds(r)
	e := r.events
	require.Equal(t, []string{"bootstrapping", "ready"}, e.list(func() []string { return e.states }))
	require.Equal(t, []string{"bootstrapped"}, e.list(func() []string { return e.readies }))
	require.Equal(t, 5, e.rows(), "what the log has, from its start at 1 to its end at 6")
	require.Equal(t, map[int32]int64{0: 6}, offsets(r.table))
}

func restartsReadTheRest(t *testing.T) {
	w := fake(t, 1)
	fs := vfs.NewMem()
	w.put(numbered("first", 5)...)
	w.ready(on(fs)...).stop()
	w.put(numbered("second", 5)...)
	r := w.ready(on(fs)...)
	require.Equal(t, globaltable.Resumed, r.Stats().Decision)
	require.Equal(t, 5, r.events.rows())
	require.EqualValues(t, 10, r.Stats().Records, "over both runs")
	w.holds(r)
}

func nullKeysAreDropped(t *testing.T) {
	// Kafka refuses them in a topic that is compacted.
	w := newWorld(t, kafkatest.Fake(t), 1, map[string]string{"cleanup.policy": "delete"})
	w.put("a=1")
	w.broker.Produce(t, &kgo.Record{Topic: w.topic, Value: []byte("no key")}, &kgo.Record{Topic: w.topic})
	w.put("b=2")
	r := w.ready(memory(), globaltable.AcceptUncompacted())
	w.holds(r)
	require.NotContains(t, r.rows(), "")
	require.EqualValues(t, 2, r.Stats().NullKeys)
	require.Equal(t, map[globaltable.DropReason]int{globaltable.DropNullKey: 2}, r.events.dropped())
	r.sees(w.put("=empty"))
	require.Equal(t, "empty", r.rows()[""])
}
