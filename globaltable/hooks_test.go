package globaltable

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/internal/kafkatest"
)

// Types that implement one hook each.
type (
	onStatus struct{ n *[]string }
	onBatch  struct{ n *[]string }
	onReady  struct{ n *[]string }
	onBuild  struct{ n *[]string }
	onVerify struct{ n *[]string }
	onDrop   struct{ n *[]string }
)

func (h onStatus) OnStatus(s Status)            { *h.n = append(*h.n, "status "+s.String()) }
func (h onBatch) OnBatchApplied(b BatchApplied) { *h.n = append(*h.n, fmt.Sprint("batch ", b.Rows)) }
func (h onReady) OnReady(d Decision, r Reason)  { *h.n = append(*h.n, fmt.Sprintf("ready %s %s", d, r)) }
func (h onVerify) OnVerified(r Reason, rows int) {
	*h.n = append(*h.n, fmt.Sprintf("verified %s %d", r, rows))
}
func (h onBuild) OnRebuild(s RebuildStage, r Reason, err error) {
	*h.n = append(*h.n, fmt.Sprintf("rebuild %s %s %v", s, r, err))
}

func (h onDrop) OnDrop(topic string, p int32, o int64, r DropReason, err error) {
	*h.n = append(*h.n, fmt.Sprintf("drop %s/%d@%d %s %v", topic, p, o, r, err))
}

// Each hook gets what is its own, and hooks of one kind are called in the order in
// which they were given.
func TestEachHookGetsItsOwn(t *testing.T) {
	bad := errors.New("bad")
	all := []struct {
		hook func(*[]string) Hook
		call func(hooks)
		want string
	}{
		{func(n *[]string) Hook { return onStatus{n} }, func(h hooks) { h.status(Status{State: Ready}) }, "status ready"},
		{func(n *[]string) Hook { return onBatch{n} }, func(h hooks) { h.batch(BatchApplied{Rows: 3}) }, "batch 3"},
		{func(n *[]string) Hook { return onReady{n} }, func(h hooks) { h.ready(Verified, BelowLogStart) }, "ready verified BelowLogStart"},
		{func(n *[]string) Hook { return onBuild{n} }, func(h hooks) { h.rebuild(RebuildDropped, TopicRecreated, bad) }, "rebuild dropped TopicRecreated bad"},
		{func(n *[]string) Hook { return onVerify{n} }, func(h hooks) { h.verified(TombstonesExpired, 7) }, "verified TombstonesExpired 7"},
		{func(n *[]string) Hook { return onDrop{n} }, func(h hooks) { h.drop("t", 1, 2, DropRejected, bad) }, "drop t/1@2 rejected bad"},
	}
	for i := range all {
		var own, second, other []string
		hs := hooks{all[i].hook(&own), all[i].hook(&second)}
		for j := range all {
			if j != i {
				hs = append(hs, all[j].hook(&other))
			}
		}
		require.True(t, isHook(hs[0]))
		all[i].call(hs)
		require.Equal(t, []string{all[i].want}, own)
		require.Equal(t, own, second)
		require.Empty(t, other)
		// A value of all kinds gets it once.
		rec := &recorder{}
		all[i].call(hooks{rec})
		require.Equal(t, 1, len(rec.statuses)+len(rec.batches)+len(rec.readies)+len(rec.rebuilds)+len(rec.verified)+len(rec.drops))
	}
	require.False(t, isHook(struct{}{}))
	require.False(t, isHook(nil))
	var calls []string
	hooks{onStatus{&calls}, onStatus{&calls}}.status(Status{State: Stale})
	require.Len(t, calls, 2)
}

// The hooks of a table's life on a real log: every batch with its rows, every
// record that did not become a row with its place, and each stage once.
func TestHooksSeeEverything(t *testing.T) {
	each(t, 1, func(t *testing.T, e *env) {
		dir := t.TempDir()
		var drops []string
		h := &recorder{}
		hooked := Hooks(h, onDrop{&drops})
		e.put("a=1", "b=no", "c", "d=4")
		fn := func(en Entry[string, string]) (string, bool, error) {
			if en.Key == "bad" {
				return "", false, errors.New("bad key")
			}
			return en.Value, en.Value != "no", nil
		}
		r := e.ready(Dir(dir), hooked, Transform("v1", fn))
		rs := e.put("bad=5", "e=6")
		r.sees(rs)
		r.close() // a reader may be told before the hooks are
		rows := 0
		for _, b := range h.batches {
			require.Positive(t, b.Rows)
			require.Positive(t, b.Bytes)
			require.GreaterOrEqual(t, b.Took, time.Duration(0))
			require.EqualValues(t, 1, b.Generation)
			rows += b.Rows
		}
		require.Equal(t, 6, rows)
		require.Equal(t, []string{
			fmt.Sprintf("drop %s/0@1 filtered <nil>", e.topic),
			fmt.Sprintf("drop %s/0@%d rejected bad key", e.topic, rs[0].Offset),
		}, drops)
		require.Equal(t, []string{"bootstrapped"}, h.readies)
		require.Empty(t, h.rebuilds)

		// Another transform, in the second generation.
		h2 := &recorder{}
		r = e.ready(Dir(dir), Hooks(h2))
		require.Equal(t, []string{"begun TransformChanged", "swapped TransformChanged"}, h2.rebuilds)
		require.Equal(t, []string{"rebuilt TransformChanged"}, h2.readies)
		for _, b := range h2.batches {
			require.EqualValues(t, 2, b.Generation)
		}
		require.Empty(t, h2.dropped())
		e.holds(r)
	})
}

// A rebuild of rows that cannot be opened begins and ends as others do.
func TestHooksOfADamagedStore(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	e.put("a=1")
	dir := t.TempDir()
	e.ready(Dir(dir)).close()
	damage(t, dir+"/gen-000001")
	h := &recorder{}
	r := e.ready(Dir(dir), Hooks(h))
	require.Equal(t, []string{"begun StoreDamaged", "swapped StoreDamaged"}, h.list(func() []string { return h.rebuilds }))
	require.EqualValues(t, 1, r.Stats().Rebuilds)
	require.Equal(t, []string{"rebuilt StoreDamaged"}, h.list(func() []string { return h.readies }))
	e.holds(r)
}

// When a hook is told of a batch, a reader sees it.
func TestBatchIsVisibleWhenItsHookIsTold(t *testing.T) {
	for _, bulk := range []bool{false, true} {
		t.Run(fmt.Sprint("bulk=", bulk), func(t *testing.T) {
			h := &reader{}
			opts := []Opt{Hooks(h)}
			if bulk {
				opts = append(opts, bulkOf(5, 100))
			}
			f := alone(t, 1, opts...)
			h.f = f
			f.given(t, batchOf(0, 0, 10_000, numbered("k", 0, 100)...))
			require.NoError(t, f.applyPending())
			require.Equal(t, 100, h.rows)
			require.NoError(t, h.err)
		})
	}
}

// reader looks for the last row of each batch it is told of.
type reader struct {
	f    *follower
	rows int
	err  error
}

func (h *reader) OnBatchApplied(b BatchApplied) {
	h.rows += b.Rows
	next := h.f.gen.State().Get(0).Next
	v, ok, err := h.f.gen.Get([]byte(fmt.Sprint("k", next-1)))
	if !ok || err != nil || v.Offset != next-1 {
		h.err = fmt.Errorf("row of offset %d: %v %w", next-1, ok, err)
	}
	v.Close()
}

func TestHookThatIsNone(t *testing.T) {
	_, err := Open("devices", codec.String(), codec.String(), Brokers("127.0.0.1:1"), InMemory(), Hooks(&recorder{}, struct{}{}, nil))
	require.ErrorContains(t, err, "struct {} implements none of the Hook interfaces")
	require.ErrorContains(t, err, "<nil> implements none")
}
