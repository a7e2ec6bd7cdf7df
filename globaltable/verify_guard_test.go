package globaltable

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/globaltable/enrich/internal/kafkatest"
)

// stopAt is a hook that holds the table where it begins to verify.
type stopAt struct {
	recorder
	once        sync.Once
	begun, goOn chan struct{}
}

func (h *stopAt) OnStatus(s Status) {
	if s.State == Verifying {
		h.once.Do(func() {
			close(h.begun)
			<-h.goOn
		})
	}
}

// A row whose record is gone because a later one is there may not be deleted before
// the tail has come to the later one: there would be no row for a while.
func TestVerificationWaitsForTheTail(t *testing.T) {
	e := compactSoon(t, kafkatest.Fake(t))
	e.put(keepRow)
	row := e.put("dev1=old")[0]
	h := &stopAt{begun: make(chan struct{}), goOn: make(chan struct{})}
	held, gate := make(chan struct{}), make(chan struct{})
	release, holds := sync.OnceFunc(func() { close(gate) }), sync.OnceFunc(func() { close(held) })
	goOn := sync.OnceFunc(func() { close(h.goOn) })
	r := e.ready(DeleteRetention(24*time.Hour), Hooks(h), Transform("v1", func(en Entry[string, string]) (string, bool, error) {
		if en.Value == "hold" {
			holds()
			<-gate
		}
		return en.Value, true, nil
	}))
	t.Cleanup(release)
	t.Cleanup(goOn)
	f := r.e.follower.Load()
	f.mu.Lock()
	f.wantVerify(TombstonesExpired)
	f.mu.Unlock()
	<-h.begun
	e.put("holder=hold")
	e.put("dev1=new")
	kafkatest.ForceCompaction(t, e.broker, e.topic, 0, row.Offset, row.Offset, e.filler)
	<-held // the tail stands before dev1=new
	goOn()
	r.until("the pass is over", func() bool {
		f.endsMu.Lock()
		defer f.endsMu.Unlock()
		return f.checks != nil || len(h.list(func() []string { return h.verified })) > 0
	})
	v, ok, err := r.Get("dev1")
	require.NoError(t, err)
	require.True(t, ok, "its record is gone, and it has another one")
	require.Equal(t, "old", v)
	release()
	r.until("it is verified", func() bool { return len(h.list(func() []string { return h.verified })) > 0 })
	require.Equal(t, []string{"TombstonesExpired 0"}, h.verified)
	r.sees(e.put("last=1"))
	e.holds(r)
}

// After a verification the rows are as if they had been at the end when it began,
// also where the tail never was: the next start need not verify them again.
func TestVerifiedRowsWereAtTheEnd(t *testing.T) {
	f := alone(t, 2)
	began := time.Now()
	behind := batchOf(0, 0, 100, "a=1")
	behind.Asked = began.Add(-48 * time.Hour)
	f.given(t, behind)
	since := batchOf(1, 0, 1, "b=1")
	since.Asked = began.Add(time.Minute)
	f.given(t, since)
	pend(f.next, TombstonesExpired)
	require.NoError(t, f.verified(began))
	state := f.gen.State()
	require.Equal(t, began.UnixMilli(), state.Get(0).AtEnd.UnixMilli())
	require.Equal(t, since.Asked.UnixMilli(), state.Get(1).AtEnd.UnixMilli())
	require.Empty(t, state.PendingVerify)
}

// A partition was at its end when that was asked, and not when the broker answered,
// which may be much later.
func TestAtTheEndIsWhenItWasAsked(t *testing.T) {
	f := alone(t, 1)
	b := batchOf(0, 0, 1, "a=1")
	b.Asked = time.Now().Add(-time.Minute)
	f.given(t, b)
	require.Equal(t, b.Asked, f.next.Get(0).AtEnd)
	f.endsMu.Lock()
	defer f.endsMu.Unlock()
	require.Equal(t, b.Asked, f.ends[0].seen)
}

// A rebuild of the same topic does not answer before it is where the old rows are:
// no reader goes back in time.
func TestSwapIsNotBehindTheOldRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := alone(t, 2)
		e, old := f.e, f.gen
		f.given(t, batchOf(0, 0, 2, "a=1", "b=2"))
		e.serve(old)
		gen, err := e.root.Create(old.Identity())
		require.NoError(t, err)
		next := newFollower(e, nil, topicOf(2), plan{decision: Rebuilt, reason: StoreDamaged, gen: gen, beside: true, state: gen.State().Clone()}, time.Hour)
		done := make(chan error, 1)
		go func() { done <- next.promote(t.Context()) }()
		next.given(t, batchOf(0, 0, 1, "a=1"))
		next.given(t, batchOf(1, 0, 1, "c=1"))
		synctest.Wait()
		require.Equal(t, old, e.served(), "the new rows lack b")
		next.given(t, batchOf(0, 1, 2, "b=2"))
		require.NoError(t, <-done)
		require.Equal(t, gen, e.served())
		require.NoError(t, e.close())
	})
}

// A rebuild that has waited for its place may have missed deletions meanwhile: it is
// verified before it answers.
func TestSwapThatWaitedIsVerifiedFirst(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	e.put(numbered("old", 0, 20)...)
	h := &recorder{}
	swap := &atSwap{of: h, swaps: make(chan []string, 3)}
	r := e.ready(ShrinkGuard(10, 0.5), Hooks(h, swap))
	e.recreate(1)
	e.put("new=1")
	waits := func() {
		t.Helper()
		r.until("it waits", func() bool { _, ok := errors.AsType[*ShrinkError](r.Status().Err); return ok })
	}
	waits()
	require.NoError(t, r.AcceptShrink())
	require.Empty(t, <-swap.swaps)

	e.recreate(1)
	e.put(numbered("more", 0, 20)...)
	require.Empty(t, <-swap.swaps)
	e.recreate(1)
	e.put("new=2")
	waits()
	f := r.e.follower.Load()
	f.mu.Lock()
	f.wantVerify(TombstonesExpired)
	f.mu.Unlock()
	require.NoError(t, r.AcceptShrink())
	require.Equal(t, []string{"TombstonesExpired 0"}, <-swap.swaps)
	e.holds(r)
}

// atSwap tells what was verified when each swap came.
type atSwap struct {
	of    *recorder
	swaps chan []string
}

func (s *atSwap) OnRebuild(stage RebuildStage, _ Reason, _ error) {
	if stage == RebuildSwapped {
		s.swaps <- s.of.list(func() []string { return s.of.verified })
	}
}
