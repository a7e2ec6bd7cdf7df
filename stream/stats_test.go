package stream

import (
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestStatsString(t *testing.T) {
	require.Equal(t,
		"state=new records=0 outputs=0 dropped=0 failed=0 skipped=0 dead-lettered=0 dead-letters=0 retries=0 commits=0 partitions=[]",
		Stats{}.String())
	s := Stats{
		State: StateRunning, Records: 10, Outputs: 9,
		Dropped:     map[string]int64{"no match": 2, "filtered": 1, "null key": 3},
		BadRecords:  BadRecords{Failed: 1, Skipped: 2, DeadLettered: 3},
		DeadLetters: 4, Retries: 5, Commits: 6,
		Partitions: []PartitionStats{
			{Topic: "a", Partition: 0, Committed: -1, Position: -1},
			{Topic: "a", Partition: 1, Committed: 5, Position: 9, Queued: 7, InFlight: 2, Paused: true},
		},
		LastError: errors.New(`says "no"`),
	}
	want := `state=running records=10 outputs=9 dropped=6{filtered=1 no match=2 null key=3} failed=1 skipped=2 dead-lettered=3` +
		` dead-letters=4 retries=5 commits=6 partitions=[a/0:committed=-1,position=-1,queued=0,in-flight=0` +
		` a/1:committed=5,position=9,queued=7,in-flight=2,paused] last-error="says \"no\""`
	for range 10 {
		require.Equal(t, want, s.String())
	}
}

func TestStateNames(t *testing.T) {
	require.Equal(t, "new", StateNew.String())
	require.Equal(t, "waiting-for-dependencies", StateWaitingForDependencies.String())
	require.Equal(t, "waiting-for-topics", StateWaitingForTopics.String())
	require.Equal(t, "running", StateRunning.String())
	require.Equal(t, "stopping", StateStopping.String())
	require.Equal(t, "stopped", StateStopped.String())
	require.Equal(t, "state-99", State(99).String())
}

func TestStatsDuringAndAfterARun(t *testing.T) {
	e := onFake(t)
	in, out := e.topic("in", 2), e.topic("out", 1)
	e.putN(in, 0, 0, 4)
	e.putN(in, 1, 0, 6)
	some := Filter(strs(in), func(r Record[string, string]) (bool, error) { return r.Value != "v0", nil })
	states := new(stateHook)
	r := e.start(toStrs(some, out), Hooks(states))
	r.until("all is committed", func(s Stats) bool {
		return len(s.Partitions) == 2 && s.Partitions[0].Committed == 4 && s.Partitions[1].Committed == 6
	})
	running := r.Stats()
	require.Equal(t, StateRunning, running.State)
	require.NoError(t, r.stop())
	after := r.Stats()
	require.Equal(t, StateStopped, after.State)
	require.Equal(t, running.Partitions, after.Partitions, "the last figures stay readable")
	require.EqualValues(t, 10, after.Records)
	require.EqualValues(t, 8, after.Outputs)
	require.Equal(t, map[string]int64{DropFiltered: 2}, after.Dropped)
	require.Positive(t, after.Commits)
	require.Equal(t, []State{StateWaitingForTopics, StateRunning, StateStopping, StateStopped}, states.seen)

	after.Partitions[0].Committed = 99
	after.Dropped["x"] = 1
	require.EqualValues(t, 4, r.Stats().Partitions[0].Committed, "the caller has a copy")
	require.NotContains(t, r.Stats().Dropped, "x")
}

func TestDropsAreCountedFromManyGoroutines(t *testing.T) {
	var c counters
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				c.drop("a")
				c.drop("b")
			}
		})
	}
	wg.Wait()
	w := &Worker{}
	w.count.drop("a")
	require.Equal(t, map[string]int64{"a": 1}, w.Stats().Dropped)
	n, _ := c.dropped.Load("a")
	require.NotNil(t, n)
}

func TestTheSameErrorIsLoggedOnceInAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		w := &Worker{log: slog.New(slog.NewTextHandler(&log, nil))}
		lines := func() int { return strings.Count(log.String(), "\n") }
		for range 100 {
			w.note(errors.New("broker away"))
		}
		require.Equal(t, 1, lines())
		w.note(errors.New("something else"))
		require.Equal(t, 2, lines())
		time.Sleep(noteEvery + time.Second)
		w.note(errors.New("something else"))
		require.Equal(t, 3, lines())
		require.Equal(t, time.Now(), w.Stats().LastErrorAt)
		require.EqualError(t, w.Stats().LastError, "something else")
	})
}

func TestPartitionStatsAreSorted(t *testing.T) {
	w := &Worker{sink: Sink{open: func(*partition) rawHandler { return nil }}, base: t.Context()}
	var parts []*partition
	for _, at := range []topicPartition{{"b", 0}, {"a", 10}, {"a", 2}} {
		p := newPartition(w, at.topic, at.partition)
		defer p.cancel()
		parts = append(parts, p)
	}
	parts[1].track.add([]*kgo.Record{{Offset: 4}, {Offset: 5}})
	require.Equal(t, []PartitionStats{
		{Topic: "a", Partition: 2, Committed: -1, Position: -1},
		{Topic: "a", Partition: 10, Committed: -1, Position: 6, InFlight: 2},
		{Topic: "b", Partition: 0, Committed: -1, Position: -1},
	}, partitionStats(parts))
}

// stateHook keeps states.
type stateHook struct{ seen []State }

func (h *stateHook) OnState(s State) { h.seen = append(h.seen, s) }
