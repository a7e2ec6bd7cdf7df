package stream

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestTwoWorkersShareAStream(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		const partitions, n = 4, 300
		in, out := e.topic("in", partitions), e.topic("out", 2)
		var hookA, hookB rebalanceHook
		a := e.start(toStrs(strs(in), out), Hooks(&hookA))
		a.until("it has everything", func(s Stats) bool { return len(s.Partitions) == partitions })
		for p := range int32(partitions) {
			e.putN(in, p, 0, n)
		}
		b := e.start(toStrs(strs(in), out), Hooks(&hookB))
		b.until("it has its share", func(s Stats) bool { return len(s.Partitions) == partitions/2 })
		a.until("it has given some away", func(s Stats) bool { return len(s.Partitions) == partitions/2 })
		for p := range int32(partitions) {
			e.putN(in, p, n, 2*n)
		}
		require.Eventually(t, func() bool {
			for p := range int32(partitions) {
				if e.committed(e.group(), in, p) < 2*n {
					return false
				}
			}
			return true
		}, patience, 20*time.Millisecond)
		require.NoError(t, b.stop())
		a.until("it has everything again", func(s Stats) bool { return len(s.Partitions) == partitions })
		require.NoError(t, a.stop())

		require.Len(t, e.read(out), partitions*2*n, "a rebalance between live workers repeats nothing")
		require.Equal(t, partitions/2, hookA.count(&hookA.revoked))
		require.Zero(t, hookA.count(&hookA.lost))
		require.Equal(t, partitions/2, hookB.count(&hookB.assigned))
	})
}

// rebalanceHook counts partitions.
type rebalanceHook struct {
	mu                      sync.Mutex
	assigned, revoked, lost int
}

func (h *rebalanceHook) OnAssigned(m map[string][]int32) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, ps := range m {
		h.assigned += len(ps)
	}
}

func (h *rebalanceHook) OnRevoked(m map[string][]int32, lost bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, ps := range m {
		if lost {
			h.lost += len(ps)
		} else if h.assigned > len(ps) { // not the one at the end
			h.revoked += len(ps)
		}
	}
}

func (h *rebalanceHook) count(n *int) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return *n
}

func TestRevokeFinishesAndCommitsFirst(t *testing.T) {
	e := onFake(t)
	in := e.topic("in", 1)
	e.putN(in, 0, 0, 5)
	begun, finish := make(chan struct{}, 5), make(chan struct{})
	a := e.start(ForEach(strs(in), func(context.Context, Record[string, string]) error {
		begun <- struct{}{}
		<-finish
		return nil
	}), CommitInterval(time.Hour))
	receive(t, begun)
	part := a.allParts()[0]
	revoked := make(chan struct{})
	go func() {
		defer close(revoked)
		a.revoked(context.Background(), a.client, map[string][]int32{in: {0}})
	}()
	require.Eventually(t, part.stopping, patience, time.Millisecond)
	require.EqualValues(t, -1, e.committed(e.group(), in, 0))
	close(finish)
	receive(t, revoked)
	require.EqualValues(t, 1, e.committed(e.group(), in, 0), "the record that had begun is committed, the rest is the next owner's")
	require.Empty(t, a.Stats().Partitions)
}

func TestLostPartitionsAreNotCommitted(t *testing.T) {
	e := onFake(t)
	in := e.topic("in", 1)
	e.putN(in, 0, 0, 5)
	var c collector
	a := e.start(ForEach(strs(in), c.add), CommitInterval(time.Hour))
	a.until("done", func(Stats) bool { return len(c.values()) == 5 })
	a.lost(context.Background(), a.client, map[string][]int32{in: {0}, "unknown": {7}})
	require.Empty(t, a.Stats().Partitions)
	require.NoError(t, a.stop())
	require.EqualValues(t, -1, e.committed(e.group(), in, 0))
}

func TestStaticMemberTakesOver(t *testing.T) {
	e := onFake(t)
	in := e.topic("in", 2)
	a := e.start(ForEach(strs(in), new(collector).add), InstanceID("one"))
	a.until("assigned", func(s Stats) bool { return len(s.Partitions) == 2 })
	b := e.start(ForEach(strs(in), new(collector).add), InstanceID("one"))
	require.ErrorIs(t, a.wait(), kerr.FencedInstanceID, "of two workers with one id, the older one ends")
	b.until("assigned", func(s Stats) bool { return len(s.Partitions) == 2 })
	require.NoError(t, b.stop())
}

func TestRevokeWaitsForAcknowledgements(t *testing.T) {
	e := onFake(t)
	in, out := e.topic("in", 1), e.topic("out", 1)
	hold := e.holdProduce(out, 0)
	e.putN(in, 0, 0, 5)
	a := e.start(toStrs(strs(in), out), CommitInterval(time.Hour))
	receive(t, hold.holding)
	part := a.allParts()[0]
	revoked := make(chan struct{})
	go func() {
		defer close(revoked)
		a.revoked(context.Background(), a.client, map[string][]int32{in: {0}})
	}()
	require.Eventually(t, part.waiting.Load, patience, time.Millisecond, "it waits for outputs")
	require.EqualValues(t, -1, e.committed(e.group(), in, 0))
	hold.letGo()
	receive(t, revoked)
	require.EqualValues(t, part.track.next.Offset, e.committed(e.group(), in, 0))
	require.Positive(t, e.committed(e.group(), in, 0))
}

func TestPartitionsThatAreGivenAwayAreNotLeftPaused(t *testing.T) {
	for name, lose := range map[string]func(*Worker, string){
		"revoked": func(w *Worker, in string) { w.revoked(context.Background(), w.client, map[string][]int32{in: {0}}) },
		"lost":    func(w *Worker, in string) { w.lost(context.Background(), w.client, map[string][]int32{in: {0}}) },
	} {
		t.Run(name, func(t *testing.T) {
			e := onFake(t)
			in := e.topic("in", 1)
			for i := range 10 {
				e.putN(in, 0, 10*i, 10*i+10)
			}
			goOn := make(chan struct{})
			a := e.start(ForEach(strs(in), func(context.Context, Record[string, string]) error {
				<-goOn
				return nil
			}), MaxInFlight(5))
			a.until("paused", func(s Stats) bool { return len(s.Partitions) == 1 && s.Partitions[0].Paused })
			require.Equal(t, map[string][]int32{in: {0}}, a.client.PauseFetchPartitions(nil))
			close(goOn)
			lose(a.Worker, in)
			require.Empty(t, a.client.PauseFetchPartitions(nil), "it may be assigned again")
		})
	}
}

func TestFetchErrors(t *testing.T) {
	e := onFake(t)
	in := e.topic("in", 1)
	r := e.start(ForEach(strs(in), new(collector).add))
	r.until("assigned", func(s Stats) bool { return len(s.Partitions) == 1 })
	failed := func(topic string, err error) kgo.Fetches {
		return kgo.Fetches{{Topics: []kgo.FetchTopic{{Topic: topic, Partitions: []kgo.FetchPartition{{Err: err}}}}}}
	}
	for name, tc := range map[string]struct {
		err   error
		fatal bool
	}{
		"fenced":       {&kgo.ErrGroupSession{Err: kerr.FencedInstanceID}, true},
		"group denied": {&kgo.ErrGroupSession{Err: kerr.GroupAuthorizationFailed}, true},
		"topic denied": {kerr.TopicAuthorizationFailed, true},
		"out of range": {kerr.OffsetOutOfRange, true},
		"lost":         {&kgo.ErrDataLoss{Topic: in, ConsumedTo: 5}, true},
		"session over": {&kgo.ErrGroupSession{Err: kerr.UnknownMemberID}, false},
		"deleted":      {kerr.UnknownTopicOrPartition, false},
		"odd":          {errors.New("odd"), false},
	} {
		t.Run(name, func(t *testing.T) {
			err := r.fetchErrors(e.ctx(), failed(in, tc.err))
			if tc.fatal {
				require.ErrorIs(t, err, tc.err)
				return
			}
			require.NoError(t, err)
			require.ErrorIs(t, r.Stats().LastError, tc.err)
		})
	}
	require.NoError(t, r.fetchErrors(e.ctx(), failed("", errors.New("of the group"))))
	require.EqualError(t, r.Stats().LastError, "of the group", "no topic is made up")
	require.NoError(t, r.fetchErrors(e.ctx(), nil))
}

func TestNoPartitionIsTakenWhileStopping(t *testing.T) {
	e := onFake(t)
	in := e.topic("in", 1)
	r := e.start(ForEach(strs(in), new(collector).add))
	r.until("assigned", func(s Stats) bool { return len(s.Partitions) == 1 })
	require.NoError(t, r.stop())
	r.assigned(context.Background(), r.client, map[string][]int32{in: {7}})
	r.assigned(context.Background(), r.client, nil)
	for _, p := range r.allParts() {
		require.NotEqualValues(t, 7, p.id)
	}
}

func TestOffsetsFetchedAreWherePartitionsStart(t *testing.T) {
	e := onFake(t)
	in := e.topic("in", 2)
	e.putN(in, 0, 0, 5)
	e.commitAt(in, 3, -1)
	r := e.start(ForEach(strs(in), new(collector).add), CommitInterval(time.Hour))
	r.until("the rest is read", func(s Stats) bool { return s.Records == 2 })
	s := r.Stats()
	require.EqualValues(t, 3, s.Partitions[0].Committed, "found committed")
	require.EqualValues(t, -1, s.Partitions[1].Committed)
	r.mu.Lock()
	p0, p1 := r.parts[topicPartition{in, 0}], r.parts[topicPartition{in, 1}]
	r.mu.Unlock()
	require.EqualValues(t, 5, p0.fetchPosition())
	require.EqualValues(t, -1, p1.fetchPosition())
	position, idle := p1.position()
	require.EqualValues(t, -1, position)
	require.True(t, idle)
}
