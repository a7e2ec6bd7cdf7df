package stream

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestCommitStaysBelowAnOutputThatIsHeldBack(t *testing.T) {
	e := onFake(t)
	in, out := e.topic("in", 1), e.topic("out", 2)
	hold := e.holdProduce(out, 1)
	free, held := keysFor(0, 30), keysFor(1, 1)
	for i, k := range free {
		if i == 10 {
			e.put(in, 0, held[0], "held")
		}
		e.put(in, 0, k, "free")
	}
	r := e.start(toStrs(strs(in), out))
	receive(t, hold.holding)
	r.until("all others are acknowledged", func(s Stats) bool { return s.Outputs == 30 && s.Partitions[0].Committed == 10 })
	require.NoError(t, r.commit(e.ctx(), r.allParts()), "there is nothing more to commit")
	require.EqualValues(t, 10, e.committed(e.group(), in, 0))
	require.EqualValues(t, 1, r.Stats().Partitions[0].InFlight)
	require.EqualValues(t, 31, r.Stats().Partitions[0].Position)

	hold.letGo()
	r.until("committed", func(s Stats) bool { return s.Partitions[0].Committed == 31 })
	require.NoError(t, r.stop())
	require.EqualValues(t, 31, e.committed(e.group(), in, 0))
}

func TestInFlightIsBounded(t *testing.T) {
	e := onFake(t)
	in, out := e.topic("in", 2), e.topic("out", 2)
	hold := e.holdProduce(out, 1)
	e.put(in, 0, keysFor(1, 1)[0], "held")
	for range 5 {
		e.putN(in, 0, 0, 20)
	}
	const limit = 10
	r := e.start(toStrs(strs(in), out), MaxInFlight(limit))
	receive(t, hold.holding)
	paused := func(s Stats) bool {
		for _, p := range s.Partitions {
			if p.Partition == 0 && p.Paused && p.Position == limit {
				return true
			}
		}
		return false
	}
	r.until("the partition is full", paused)
	e.put(in, 1, keysFor(0, 1)[0], "other partition")
	r.until("the other one goes on", func(s Stats) bool {
		return s.Partitions[1].Committed == 1
	})
	require.True(t, paused(r.Stats()), "and this one still waits: %s", r.Stats())
	hold.letGo()
	r.until("done", func(s Stats) bool { return s.Partitions[0].Committed == 101 })
	require.NoError(t, r.stop())
	require.Len(t, e.read(out), 102)
}

func TestBeforeCommitSeesWhatIsCommitted(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		in := e.topic("in", 1)
		var done, durable, overlapping atomic.Int64
		var hook commitHook
		r := e.start(ForEach(strs(in), func(context.Context, Record[string, string]) error {
			done.Add(1)
			return nil
		}), Hooks(&hook), BeforeCommit(func(context.Context) error {
			if overlapping.Add(1) != 1 {
				return errors.New("calls overlap")
			}
			durable.Store(done.Load())
			overlapping.Add(-1)
			return nil
		}))
		hook.before(func(offsets []Offset) {
			if offsets[0].Offset > durable.Load() {
				t.Errorf("%v is committed, but only %d records are durable", offsets, durable.Load())
			}
		})
		for i := range 20 {
			e.putN(in, 0, i, i+1)
		}
		r.until("done", func(s Stats) bool { return s.Records == 20 })
		require.NoError(t, r.stop())
		require.EqualValues(t, 20, durable.Load(), "the last commit, too, is announced")
		require.EqualValues(t, 20, e.committed(e.group(), in, 0))
		require.NotEmpty(t, hook.all())
	})
}

func TestBeforeCommitErrorEndsTheRunUncommitted(t *testing.T) {
	bad := errors.New("disk full")
	for name, fn := range map[string]func(context.Context) error{
		"error": func(context.Context) error { return bad },
		"panic": func(context.Context) error { panic(bad.Error()) },
	} {
		t.Run(name, func(t *testing.T) {
			e := onFake(t)
			in := e.topic("in", 1)
			e.putN(in, 0, 0, 3)
			var calls atomic.Int32
			r := e.start(ForEach(strs(in), new(collector).add), BeforeCommit(func(ctx context.Context) error {
				calls.Add(1)
				return fn(ctx)
			}))
			err := r.wait()
			require.ErrorContains(t, err, "before commit: ")
			require.ErrorContains(t, err, "disk full")
			require.EqualValues(t, 1, calls.Load(), "there is no second attempt")
			require.EqualValues(t, -1, e.committed(e.group(), in, 0))
		})
	}
}

func TestCommitErrors(t *testing.T) {
	for _, tc := range []struct {
		err   *kerr.Error
		fatal bool
	}{
		{kerr.FencedInstanceID, true},
		{kerr.GroupAuthorizationFailed, true},
		{kerr.RebalanceInProgress, false},
		{kerr.UnknownTopicOrPartition, false},
	} {
		t.Run(tc.err.Message, func(t *testing.T) {
			e := onFake(t)
			in := e.topic("in", 1)
			e.putN(in, 0, 0, 3)
			var hook commitHook
			e.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: tc.err, Count: 2})
			r := e.start(ForEach(strs(in), new(collector).add), Hooks(&hook))
			if tc.fatal {
				require.ErrorIs(t, r.wait(), tc.err)
				require.EqualValues(t, -1, e.committed(e.group(), in, 0), "a worker that was fenced commits nothing more")
				require.ErrorIs(t, hook.firstErr(), tc.err)
				return
			}
			r.until("committed after all", func(s Stats) bool { return s.Commits > 0 })
			require.NoError(t, r.stop())
			require.EqualValues(t, 3, e.committed(e.group(), in, 0))
		})
	}
}

func TestLastCommitGivesUpInTime(t *testing.T) {
	e := onFake(t)
	in := e.topic("in", 1)
	e.putN(in, 0, 0, 3)
	e.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.UnknownTopicOrPartition, Count: -1})
	var c collector
	r := e.start(ForEach(strs(in), c.add), ShutdownTimeout(300*time.Millisecond))
	r.until("done", func(Stats) bool { return len(c.values()) == 3 })
	require.ErrorIs(t, r.stop(), ErrShutdownTimeout)
	require.ErrorIs(t, r.err, kerr.UnknownTopicOrPartition)
}

func TestMemberThatIsGoneDoesNotTryForEver(t *testing.T) {
	for _, err := range []error{kerr.UnknownMemberID, kerr.IllegalGeneration, kerr.StaleMemberEpoch} {
		require.True(t, gone(err))
		require.False(t, fatalCommit(err))
	}
	require.False(t, gone(kerr.RebalanceInProgress))
}

// commitHook keeps commits.
type commitHook struct {
	mu      sync.Mutex
	commits [][]Offset
	errs    []error
	check   func([]Offset)
}

func (h *commitHook) OnCommit(offsets []Offset, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.check != nil && err == nil {
		h.check(offsets)
	}
	h.commits = append(h.commits, offsets)
	if err != nil {
		h.errs = append(h.errs, err)
	}
}

func (h *commitHook) before(check func([]Offset)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.check = check
}

func (h *commitHook) all() [][]Offset {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.commits
}

func (h *commitHook) firstErr() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.errs) == 0 {
		return nil
	}
	return h.errs[0]
}
