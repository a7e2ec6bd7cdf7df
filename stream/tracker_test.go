package stream

import (
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

func raws(offsets ...int64) []*kgo.Record {
	var rs []*kgo.Record
	for _, o := range offsets {
		rs = append(rs, &kgo.Record{Offset: o, LeaderEpoch: 7})
	}
	return rs
}

// control returns a record as a transaction's end leaves it: found by reading
// one, since its attributes cannot be set from outside.
func control(t *testing.T) *kgo.Record {
	t.Helper()
	e := onFake(t)
	topic := e.topic("control", 1)
	e.txn(topic, true, "v")
	cl, err := kgo.NewClient(append(e.broker.Opts(), kgo.ConsumeTopics(topic), kgo.KeepControlRecords())...)
	require.NoError(t, err)
	defer cl.Close()
	for {
		fs := cl.PollFetches(e.ctx())
		require.NoError(t, fs.Err())
		for _, r := range fs.Records() {
			if r.Attrs.IsControl() {
				return r
			}
		}
	}
}

func TestTrackerCommitsTheLowestUnfinished(t *testing.T) {
	tr := newTracker()
	require.EqualValues(t, -1, tr.advance().Offset)
	ins := tr.add(raws(10, 11, 12, 15))
	require.Len(t, ins, 4)
	require.EqualValues(t, -1, tr.advance().Offset)
	require.Equal(t, 4, tr.size)
	require.Equal(t, 4, tr.unfinished())

	ins[1].release()
	ins[3].release()
	require.EqualValues(t, -1, tr.advance().Offset, "10 is not done")
	require.Equal(t, 4, tr.size, "the window begins at the first unfinished record")
	require.Equal(t, 2, tr.unfinished())

	ins[0].release()
	require.Equal(t, kgo.EpochOffset{Epoch: 7, Offset: 12}, tr.advance())
	require.Equal(t, 2, tr.size)
	ins[2].release()
	require.EqualValues(t, 16, tr.advance().Offset)
	require.Zero(t, tr.size)
	require.Zero(t, tr.unfinished())
}

func TestTrackerWaitsForEveryReference(t *testing.T) {
	tr := newTracker()
	in := tr.add(raws(1))[0]
	in.retain()
	in.retain()
	in.release()
	in.release()
	require.EqualValues(t, -1, tr.advance().Offset)
	in.release()
	require.EqualValues(t, 2, tr.advance().Offset)
}

func TestTrackerPassesControlRecords(t *testing.T) {
	marker := control(t)
	tr := newTracker()
	ins := tr.add(append(raws(0), marker)) // the marker is at offset 1
	require.Len(t, ins, 1, "control records are not shown")
	require.EqualValues(t, -1, tr.advance().Offset)
	ins[0].release()
	require.EqualValues(t, 2, tr.advance().Offset)
	require.Empty(t, tr.add(nil))
}

func TestTrackerSkips(t *testing.T) {
	tr := newTracker()
	in := tr.add(raws(0))[0]
	require.False(t, tr.skip(5, 9), "not where the position is")
	require.False(t, tr.skip(1, 1))
	require.True(t, tr.skip(1, 9))
	require.EqualValues(t, -1, tr.advance().Offset, "record 0 is not done")
	in.release()
	require.EqualValues(t, 9, tr.advance().Offset)
	require.Len(t, tr.add(raws(9)), 1)
	require.EqualValues(t, 9, tr.advance().Offset)
}

// The tracker against the obvious definition, with records finished in random
// order by other goroutines.
func TestTrackerAgainstModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	tr := newTracker()
	var offset int64
	var all []*input
	var at []int64
	done := make(map[int]bool)
	check := func() {
		want := int64(-1)
		for i := range all {
			if !done[i] {
				break
			}
			want = at[i] + 1
		}
		require.Equal(t, want, tr.advance().Offset)
	}
	for range 300 {
		var rs []int64
		for range rng.IntN(20) {
			offset += 1 + int64(rng.IntN(3))
			rs = append(rs, offset)
		}
		all = append(all, tr.add(raws(rs...))...)
		at = append(at, rs...)
		var wg sync.WaitGroup
		for i := range all {
			if !done[i] && rng.IntN(3) == 0 {
				done[i] = true
				wg.Go(all[i].release)
			}
		}
		wg.Wait()
		check()
	}
	for i := range all {
		if !done[i] {
			done[i] = true
			all[i].release()
		}
	}
	check()
	require.Empty(t, tr.segments, "nothing is kept")
}
