package stream

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

func offsetsOf(rs []*kgo.Record) (offsets []int64) {
	for _, r := range rs {
		offsets = append(offsets, r.Offset)
	}
	return offsets
}

func TestQueueKeepsTheOrderOfFetches(t *testing.T) {
	var q queue
	require.Empty(t, q.pop(5))
	q.push(raws(0, 1, 2))
	q.push(raws(3, 4))
	require.Equal(t, 5, q.n)
	require.EqualValues(t, 4, q.last().Offset)
	require.Equal(t, []int64{0, 1}, offsetsOf(q.pop(2)))
	require.Equal(t, []int64{2}, offsetsOf(q.pop(9)), "no more than what is left of a fetch")
	q.push(raws(5))
	require.Equal(t, []int64{3, 4}, offsetsOf(q.pop(2)))
	require.EqualValues(t, 5, q.last().Offset)
	require.Equal(t, []int64{5}, offsetsOf(q.pop(1)))
	require.Zero(t, q.n)
	require.Empty(t, q.fetches, "nothing is kept")
}

func TestTakeHandsOutWhatFits(t *testing.T) {
	p := bare(t, MaxInFlight(4))
	require.True(t, p.deliver(raws(0, 1, 2, 3, 4, 5), 6))
	p.pause()
	require.True(t, p.paused)
	first, ok := p.take()
	first = slices.Clone(first)
	require.True(t, ok)
	require.Len(t, first, 4, "no more than the window")
	require.False(t, p.paused, "there is room in the queue again")
	require.True(t, p.busy)

	type taken struct {
		ins []*input
		ok  bool
	}
	next := make(chan taken)
	go func() { ins, ok := p.take(); next <- taken{ins, ok} }()
	require.Eventually(t, p.waiting.Load, patience, time.Millisecond)
	first[1].release()
	wake(p.room)
	first[0].release()
	wake(p.room)
	got := receive(t, next)
	require.True(t, got.ok)
	require.Len(t, got.ins, 2)
	require.EqualValues(t, 4, got.ins[0].rec.Offset)

	go func() { ins, ok := p.take(); next <- taken{ins, ok} }()
	p.halt()
	require.False(t, receive(t, next).ok, "a halted partition takes nothing")
	require.False(t, p.busy)
}

func TestTakeWaitsForAFairShareOfTheWindow(t *testing.T) {
	p := bare(t, MaxInFlight(10))
	p.deliver(raws(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19), 20)
	first, _ := p.take()
	first = slices.Clone(first)
	require.Len(t, first, 10)
	next := make(chan []*input)
	go func() { ins, _ := p.take(); next <- ins }()
	for i, in := range first[:5] {
		select {
		case ins := <-next:
			t.Fatalf("a batch of %d after %d acknowledgements", len(ins), i)
		default:
		}
		in.release()
		wake(p.room)
	}
	require.Len(t, receive(t, next), 5)
}

func TestTakeHandsOutChunks(t *testing.T) {
	p := bare(t)
	var offsets []int64
	for i := range int64(2*chunk + 1) {
		offsets = append(offsets, i)
	}
	require.False(t, p.deliver(raws(offsets...), 2*chunk+1))
	for _, want := range []int{chunk, chunk, 1} {
		ins, ok := p.take()
		require.True(t, ok)
		require.Len(t, ins, want)
		for _, in := range ins {
			in.release()
		}
	}
	require.EqualValues(t, 2*chunk+1, p.frontier().Offset)
	require.Empty(t, p.track.segments)
	require.Len(t, p.track.free, 1, "the memory of a chunk is used for the next ones")
}

// fullParts returns a worker with partitions whose queues hold four records and
// may hold two.
func fullParts(t *testing.T, n int) (*Worker, []*partition) {
	t.Helper()
	p := bare(t, MaxInFlight(2))
	w := p.w
	w.parts = map[topicPartition]*partition{{p.topic, p.id}: p}
	parts := []*partition{p}
	for i := range n - 1 {
		q := newPartition(w, "topic", int32(i+1))
		t.Cleanup(q.cancel)
		w.parts[topicPartition{q.topic, q.id}] = q
		parts = append(parts, q)
	}
	for _, p := range parts {
		require.True(t, p.deliver(raws(0, 1, 2, 3), 4))
	}
	return w, parts
}

// finish takes what there is and finishes it.
func finish(t *testing.T, p *partition) {
	t.Helper()
	ins, ok := p.take()
	require.True(t, ok)
	for _, in := range ins {
		in.release()
	}
}

func TestFullQueuesAreGivenTimeBeforeTheyPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, parts := fullParts(t, 2)
		defer w.client.Close()
		began := time.Now()
		done := make(chan struct{})
		go func() { defer close(done); w.awaitRoom(t.Context(), parts) }()
		synctest.Wait()
		finish(t, parts[1])
		finish(t, parts[1])
		synctest.Wait()
		select {
		case <-done:
			t.Fatal("one is still full")
		default:
		}
		finish(t, parts[0])
		finish(t, parts[0])
		<-done
		require.Zero(t, time.Since(began))
		require.False(t, parts[0].paused || parts[1].paused)
	})
}

func TestFullQueuesPauseInTheEnd(t *testing.T) {
	for name, tc := range map[string]struct {
		others int64 // where the log of an idle partition ends
		after  time.Duration
	}{
		"others are at their end": {0, pauseAfter},
		"another one waits":       {7, pauseAfterOthers},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, parts := fullParts(t, 3)
				defer w.client.Close()
				for range 2 {
					finish(t, parts[1])
					finish(t, parts[2])
				}
				parts[2].frontier()
				parts[2].mu.Lock()
				parts[2].busy, parts[2].end = false, max(4, tc.others)
				parts[2].mu.Unlock()
				began := time.Now()
				w.awaitRoom(t.Context(), parts[:2])
				require.Equal(t, tc.after, time.Since(began))
				require.True(t, parts[0].paused)
				require.False(t, parts[1].paused, "this one has room")
				require.Equal(t, map[string][]int32{"topic": {0}}, w.client.PauseFetchPartitions(nil))
				finish(t, parts[0])
				require.True(t, parts[0].paused == (parts[0].queue.n > 1))
				finish(t, parts[0])
				require.False(t, parts[0].paused)
				require.Empty(t, w.client.PauseFetchPartitions(nil))
			})
		})
	}
}

func TestWaitingForRoomEnds(t *testing.T) {
	for name, end := range map[string]func(*partition, context.CancelFunc){
		"with the run":       func(_ *partition, cancel context.CancelFunc) { cancel() },
		"with the partition": func(p *partition, _ context.CancelFunc) { p.halt() },
	} {
		t.Run(name, func(t *testing.T) {
			w, parts := fullParts(t, 1)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			end(parts[0], cancel)
			w.awaitRoom(ctx, parts)
			w.awaitRoom(ctx, nil)
			if parts[0].stopping() {
				require.Empty(t, w.client.PauseFetchPartitions(nil), "what is given away is not left paused")
			}
		})
	}
}

// A fetch that finds nothing, because all that could be read is in partitions that
// are paused, is not answered for as long as the consumer lets it.
func TestShortPausesDoNotWaitForIdlePartitions(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		in := e.topic("in", 2)
		const n, batches = 50, 20
		for i := range batches {
			e.putN(in, 0, i*n, i*n+n)
		}
		e.put(in, 1, "k", "v")
		var c collector
		began := time.Now()
		stats, err := e.runToEnd(ForEach(strs(in), c.add), MaxInFlight(n), Kafka(kgo.FetchMaxWait(patience), kgo.FetchMaxPartitionBytes(500)))
		require.NoError(t, err)
		require.EqualValues(t, n*batches+1, stats.Records)
		require.Less(t, time.Since(began), patience)
	})
}

func TestPausedPartitionsGoOn(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		in := e.topic("in", 2)
		const n, batches = 50, 4
		for i := range batches {
			e.putN(in, 0, i*n, i*n+n)
		}
		var c collector
		goOn := make(chan struct{})
		r := e.start(ForEach(strs(in), func(ctx context.Context, rec Record[string, string]) error {
			select {
			case <-goOn:
				return c.add(ctx, rec)
			case <-ctx.Done():
				return errors.New("not let go on")
			}
		}), MaxInFlight(n/2), Kafka(kgo.FetchMaxPartitionBytes(500)))
		r.until("paused", func(s Stats) bool {
			return slices.ContainsFunc(s.Partitions, func(p PartitionStats) bool { return p.Partition == 0 && p.Paused })
		})
		close(goOn)
		r.until("all of it", func(s Stats) bool { return s.Records == n*batches })
		require.NoError(t, r.stop())
		require.Equal(t, numbered("v", 0, n*batches), c.values())
	})
}
