package globaltable

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/internal/feed"
	"github.com/globaltable/enrich/internal/store"
)

func stringCache(bytes int64) forgetter { return newRowCache[string](bytes) }

// alone is a follower without brokers: it is given batches one by one.
func alone(t *testing.T, partitions int32, opts ...Opt) *follower {
	t.Helper()
	cfg := newConfig(append([]Opt{InMemory(), Logger(testLog(t))}, opts...))
	shape, err := shaperOf("devices", stringKey, stringKey, &cfg.transform)
	require.NoError(t, err)
	e := newEngine("devices", cfg, shape, stringCache)
	require.NoError(t, e.open())
	t.Cleanup(func() { _ = e.close() })
	gen, err := e.root.Create(store.Identity{Topic: "devices", TopicID: TopicID{1}})
	require.NoError(t, err)
	f := newFollower(e, nil, topicOf(partitions), plan{decision: Bootstrapped, gen: gen, state: gen.State().Clone()}, time.Hour)
	e.follower.Store(f)
	t.Cleanup(func() { _ = f.stopWriting() })
	return f
}

// batchOf makes a batch of pairs as of put, which begins at an offset.
func batchOf(partition int32, from, end int64, pairs ...string) *feed.Batch {
	rs := records("devices", pairs...)
	for i, r := range rs {
		r.Partition, r.Offset, r.LeaderEpoch = partition, from+int64(i), 5
	}
	return &feed.Batch{Partition: partition, Records: rs, From: from, Next: from + int64(len(rs)), Epoch: 5, End: end, Asked: time.Now()}
}

func (f *follower) given(t *testing.T, b *feed.Batch) {
	t.Helper()
	require.NoError(t, f.deliver(t.Context(), b))
}

func (f *follower) rows(t *testing.T) map[string]string {
	t.Helper()
	return rowsOf(t, f.gen)
}

func TestFirstBatchOfAPartition(t *testing.T) {
	f := alone(t, 1)
	b := batchOf(0, 7, 100, "a=1")
	b.LogStart, b.Asked = 6, time.UnixMilli(5000)
	f.given(t, b)
	require.Equal(t, store.Partition{Known: true, Next: 8, Epoch: 5, LogStart: 6, AtEnd: b.Asked}, f.next.Get(0))
	require.Equal(t, store.Partition{Epoch: -1}, f.gen.State().Get(0), "the end is not reached: nothing is applied yet")
	require.Empty(t, f.rows(t))
}

func TestBatchesAreAppliedAtTheEnd(t *testing.T) {
	h := &recorder{}
	f := alone(t, 2, Hooks(h))
	f.given(t, batchOf(0, 0, 5, "a=1", "b=2"))
	f.given(t, batchOf(0, 2, 5, "a=3"))
	require.Empty(t, h.batches)
	// What was collected of all partitions goes together.
	f.given(t, batchOf(1, 0, 1, "c=4"))
	require.Equal(t, map[string]string{"a": "3", "b": "2", "c": "4"}, f.rows(t))
	require.Equal(t, map[int32]int64{0: 3, 1: 1}, nextOf(f.gen.State()))
	require.Len(t, h.batches, 1)
	require.Equal(t, 4, h.batches[0].Rows)
	require.NotZero(t, h.batches[0].Bytes)
	require.Equal(t, f.gen.Number(), h.batches[0].Generation)
	require.False(t, f.targets.isReached())
	f.given(t, batchOf(0, 3, 5, "b", "d=5"))
	require.Equal(t, map[string]string{"a": "3", "c": "4", "d": "5"}, f.rows(t))
	require.True(t, f.targets.isReached())
}

func TestBatchesAreAppliedWhenTheyAreLarge(t *testing.T) {
	h := &recorder{}
	f := alone(t, 1, Hooks(h))
	big := string(bytes.Repeat([]byte("x"), batchBytes/4))
	for i := range int64(5) {
		f.given(t, batchOf(0, i, 1000, fmt.Sprint("k", i, "=", big)))
	}
	require.Len(t, h.batches, 1)
	require.Equal(t, 4, h.batches[0].Rows)
	require.EqualValues(t, 4, f.gen.State().Get(0).Next)
}

// Positions move also where there is no record: over markers, over what was
// compacted away, and when the log start rises.
func TestPositionsMoveWithoutRecords(t *testing.T) {
	h := &recorder{}
	f := alone(t, 1, Hooks(h))
	f.given(t, batchOf(0, 0, 10, "a=1", "b=2"))
	f.given(t, &feed.Batch{From: 2, Next: 10, End: 10, Epoch: 6, Asked: time.Now()})
	require.EqualValues(t, 10, f.gen.State().Get(0).Next)
	require.EqualValues(t, 6, f.gen.State().Get(0).Epoch)
	require.EqualValues(t, 2, f.gen.State().Counters.Records)

	f.given(t, &feed.Batch{From: 10, Next: 10, End: 10, Epoch: 6, LogStart: 1, Asked: time.Now()})
	require.EqualValues(t, 1, f.gen.State().Get(0).LogStart)
	_, ok, err := f.gen.Get([]byte("a"))
	require.NoError(t, err)
	require.False(t, ok, "it is below the log start")
	f.given(t, &feed.Batch{From: 10, Next: 10, End: 10, Epoch: 6, Asked: time.Now()})
	require.EqualValues(t, 1, f.gen.State().Get(0).LogStart, "a log start does not fall")
	require.Len(t, h.batches, 1, "only what has rows is told")
}

// A batch that does not fit to the position would leave a hole or be applied
// twice: it is refused, and nothing of it is kept.
func TestBatchThatDoesNotFitIsRefused(t *testing.T) {
	for name, from := range map[string]int64{"a hole": 3, "twice": 1} {
		t.Run(name, func(t *testing.T) {
			f := alone(t, 1)
			f.given(t, batchOf(0, 0, 2, "a=1", "b=2"))
			err := f.deliver(t.Context(), batchOf(0, from, 10, "c=3"))
			require.ErrorIs(t, err, errInternal)
			require.ErrorContains(t, err, fmt.Sprintf("partition 0 is at offset 2 and was given a batch from %d", from))
			require.Error(t, fatalError(err), "Run ends")
			require.NoError(t, f.applyPending())
			require.Equal(t, map[string]string{"a": "1", "b": "2"}, f.rows(t))
			require.EqualValues(t, 2, f.gen.State().Get(0).Next)
		})
	}
}

// Once a batch could not be applied nothing is, whoever brings it.
func TestNothingIsAppliedOnTopOfAFailure(t *testing.T) {
	for _, bulk := range []bool{false, true} {
		t.Run(fmt.Sprint("bulk=", bulk), func(t *testing.T) {
			disk := &fullDisk{}
			opts := []Opt{disk.on(vfs.NewMem())}
			if bulk {
				opts = append(opts, bulkOf(5, 1000))
			}
			f := alone(t, 1, opts...)
			f.given(t, batchOf(0, 0, 1, "a=1"))
			require.NoError(t, f.gen.Flush())
			disk.full.Store(true)
			require.ErrorIs(t, f.flushed(), syscall.ENOSPC)
			err := errors.Join(f.deliver(t.Context(), batchOf(0, 1, 10_000, "b=2")), f.applyPending())
			require.ErrorIs(t, err, syscall.ENOSPC)
			disk.full.Store(false)
			require.ErrorIs(t, f.deliver(t.Context(), batchOf(0, 2, 3, "c=3")), syscall.ENOSPC)
			require.ErrorIs(t, f.stopWriting(), syscall.ENOSPC)
			require.EqualValues(t, 1, f.gen.State().Get(0).Next)
		})
	}
}

// flushed makes the store meet its disk.
func (f *follower) flushed() error {
	f.mu.Lock()
	f.changed = true
	f.mu.Unlock()
	return errors.Join(f.applyPending(), f.gen.Flush())
}

// Every record is counted by what became of it, in batches and in bulk alike, and
// what is not kept takes the place of what was there before.
func TestWhatBecomesOfRecords(t *testing.T) {
	for _, bulk := range []bool{false, true} {
		t.Run(fmt.Sprint("bulk=", bulk), func(t *testing.T) {
			h := &recorder{}
			opts := []Opt{Hooks(h), Transform("v1", func(en Entry[string, string]) (string, bool, error) {
				switch en.Value {
				case "panic":
					panic("at " + en.Key)
				case "bad":
					return "", false, errors.New("bad value")
				case "empty":
					return "", true, nil
				}
				return strings.ToUpper(en.Value), en.Value != "no", nil
			})}
			if bulk {
				opts = append(opts, bulkOf(5, 1000))
			}
			f := alone(t, 1, opts...)
			b := batchOf(0, 0, 10_000, "a=x", "b=x", "c=x", "d=x", "e=x", "f=x",
				"a=no", "b=bad", "c=panic", "d", "e=empty", "f=y", "g=no", "g=z", "h")
			b.Records = append(b.Records,
				&kgo.Record{Topic: "devices", Offset: 15, Value: []byte("no key")},
				&kgo.Record{Topic: "devices", Offset: 16},
				&kgo.Record{Topic: "devices", Offset: 17, Key: []byte{}, Value: []byte{}})
			b.Next = 18
			f.given(t, b)
			require.Equal(t, bulk, f.bulk != nil)
			require.NoError(t, f.applyPending())
			require.Equal(t, map[string]string{"e": "", "f": "Y", "g": "Z", "": ""}, f.rows(t))
			require.Equal(t, store.Counters{Records: 18, Tombstones: 2, NullKeys: 2, Rejected: 2, Filtered: 2}, f.gen.State().Counters)
			require.Equal(t, map[DropReason]int{DropNullKey: 2, DropRejected: 2, DropFiltered: 2}, h.dropped())
			require.Len(t, h.dropErrs, 2, "only what was rejected has an error")
			rows := 0
			for _, b := range h.batches {
				rows += b.Rows
			}
			require.Equal(t, 16, rows, "puts and deletions")
			require.Equal(t, bulk, f.e.stats().BulkLoads == 1)
		})
	}
}

// A record that has to wait cuts its batch: what comes before it is applied at
// once, with the position before it and the epoch of what was taken.
func TestRecordThatHasToWaitCutsItsBatch(t *testing.T) {
	away := true
	f := alone(t, 1, Transform("v1", func(en Entry[string, string]) (string, bool, error) {
		if en.Value == "wait" && away {
			return "", false, codec.Retryable(errors.New("registry is away"))
		}
		return en.Value, true, nil
	}))
	batch := func(from int64, pairs ...string) *feed.Batch {
		b := batchOf(0, from, 100, pairs...)
		for _, r := range b.Records {
			r.LeaderEpoch = int32(r.Offset / 2) // two records an epoch
		}
		b.Epoch = b.Records[len(b.Records)-1].LeaderEpoch
		return b
	}
	later := &feed.LaterError{}
	require.ErrorAs(t, f.deliver(t.Context(), batch(0, "a=1", "b=2", "c=3", "d=wait", "e=5", "f=wait", "g=7")), &later)
	require.EqualValues(t, 3, later.Next)
	require.ErrorContains(t, later, "partition 0 offset 3 waits: registry is away")
	require.Equal(t, map[string]string{"a": "1", "b": "2", "c": "3"}, f.rows(t))
	require.EqualValues(t, 3, f.gen.State().Get(0).Next)
	require.EqualValues(t, 1, f.gen.State().Get(0).Epoch, "that of offset 2")
	require.EqualValues(t, 3, f.gen.State().Counters.Records)

	// It is given again, and waits at the first of the batch.
	require.ErrorAs(t, f.deliver(t.Context(), batch(3, "d=wait", "e=5", "f=wait", "g=7")), &later)
	require.EqualValues(t, 3, later.Next)
	require.EqualValues(t, 1, f.gen.State().Get(0).Epoch)
	// Behind a gap: the position moves to the record, the epoch stays.
	gap := batch(5, "f=wait", "g=7")
	gap.From = 3
	require.ErrorAs(t, f.deliver(t.Context(), gap), &later)
	require.EqualValues(t, 5, f.gen.State().Get(0).Next)
	require.EqualValues(t, 1, f.gen.State().Get(0).Epoch)
	require.EqualValues(t, 3, f.gen.State().Counters.Records)

	away = false
	f.given(t, batch(5, "f=wait", "g=7"))
	require.NoError(t, f.applyPending())
	require.Equal(t, map[string]string{"a": "1", "b": "2", "c": "3", "f": "wait", "g": "7"}, f.rows(t))
	require.EqualValues(t, 3, f.gen.State().Get(0).Epoch)
	require.EqualValues(t, 5, f.gen.State().Counters.Records)
}

// The time at the end, and when a deletion may have been missed. Time is virtual:
// it moves as the cases say.
func TestTimeAtTheEnd(t *testing.T) {
	const retention = time.Minute
	for _, c := range []struct {
		name      string
		retention time.Duration
		away      time.Duration
		batch     func() *feed.Batch
		verify    Reason
	}{
		{"something, in time", retention, retention, func() *feed.Batch { return batchOf(0, 1, 3, "b=2") }, ""},
		{"something, late", retention, retention + 1, func() *feed.Batch { return batchOf(0, 1, 3, "b=2") }, TombstonesExpired},
		{"something, late and up to the end", retention, retention + 1, func() *feed.Batch { return batchOf(0, 1, 2, "b=2") }, TombstonesExpired},
		{"markers only, late", retention, retention + 1, func() *feed.Batch { return &feed.Batch{From: 1, Next: 3, End: 3, Asked: time.Now()} }, TombstonesExpired},
		{"nothing, late", retention, 100 * retention, func() *feed.Batch { return batchOf(0, 1, 1) }, ""},
		{"a retention that nothing can be proved with", minProvable - 1, time.Hour, func() *feed.Batch { return batchOf(0, 1, 3, "b=2") }, ""},
		{"the shortest one that is good", minProvable, minProvable + 1, func() *feed.Batch { return batchOf(0, 1, 3, "b=2") }, TombstonesExpired},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := alone(t, 1)
				defer func() { require.NoError(t, f.e.close()) }()
				f.retention = c.retention
				first := batchOf(0, 0, 1, "a=1")
				f.given(t, first)
				time.Sleep(c.away) // virtual
				b := c.batch()
				f.given(t, b)
				require.NoError(t, f.applyPending())
				require.Equal(t, string(c.verify), f.gen.State().PendingVerify, "it is stored with the rows")
				require.Equal(t, c.verify != "", len(f.verifyWanted) == 1)
				want := first.Asked
				if b.Next >= b.End {
					want = b.Asked
				}
				require.Equal(t, want, f.next.Get(0).AtEnd)
				require.Equal(t, end{b.End, want}, f.ends[0])

				// Once is enough, and the first reason stays.
				time.Sleep(c.away)
				f.given(t, batchOf(0, b.Next, b.Next+3, "c=3"))
				require.NoError(t, f.applyPending())
				require.LessOrEqual(t, len(f.verifyWanted), 1)
			})
		})
	}
}

// A time that came from the store has no reading of the monotonic clock; one that
// was taken here has.
func TestAgeOfBothKindsOfTime(t *testing.T) {
	taken := time.Now().Add(-time.Hour)
	for _, at := range []time.Time{taken, taken.Round(0)} {
		require.InDelta(t, time.Hour, age(at), float64(time.Minute))
		require.Negative(t, age(at.Add(2*time.Hour)))
	}
}
