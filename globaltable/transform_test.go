package globaltable

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/internal/kafkatest"
)

func TestTransformChangesFiltersAndRejects(t *testing.T) {
	each(t, 1, func(t *testing.T, e *env) {
		fn := func(en Entry[string, int]) (int, bool, error) {
			switch {
			case en.Value == 666:
				return 0, false, errors.New("not that one")
			case en.Value == 7777:
				panic("seven")
			case en.Value < 0:
				return 0, false, nil
			}
			return en.Value * 2, true, nil
		}
		// Rows that were good before are replaced by what is not kept.
		e.put("changed=1", "filtered=5", "rejected=5", "panicked=5", "bad=5", "deleted=5")
		e.put("filtered=-1", "rejected=666", "panicked=7777", "bad=no number", "deleted")
		h := &recorder{}
		tb, err := Open(e.topic, codec.String(), codec.JSON[int](), e.opts(InMemory(), Hooks(h), Transform("v1", fn))...)
		require.NoError(t, err)
		defer func() { require.NoError(t, tb.Close()) }()
		done := make(chan error, 1)
		go func() { done <- tb.Run(t.Context()) }()
		require.NoError(t, tb.WaitReady(e.ctx()))

		check := func() {
			t.Helper()
			v, ok, err := tb.Get("changed")
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, 2, v)
			for _, k := range []string{"filtered", "rejected", "panicked", "bad", "deleted"} {
				_, ok, err := tb.Get(k)
				require.NoError(t, err, k)
				require.False(t, ok, k)
			}
		}
		check()
		st := tb.Stats()
		require.EqualValues(t, 3, st.Rejected)
		require.EqualValues(t, 1, st.Filtered)
		require.EqualValues(t, 1, st.Tombstones)
		require.Equal(t, map[DropReason]int{DropRejected: 3, DropFiltered: 1}, h.dropped())
		var panicked *PanicError
		require.ErrorAs(t, errors.Join(h.dropErrs...), &panicked)
		require.Contains(t, fmt.Sprint(h.dropErrs), "json")

		// Live it is the same.
		rs := e.put("live=21", "changed=1", "filtered=-3", "rejected=666", "panicked=7777", "bad=x")
		require.NoError(t, tb.WaitFor(e.ctx(), After(rs[len(rs)-1])))
		v, ok, err := tb.Get("live")
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, 42, v)
		check()
	})
}

// A record that has to wait holds its position, is visible, and is lost by
// nothing.
func TestRetryableErrorOfATransformWaits(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 2)
	first, other := records(e.topic, "a=1", "b=2", "c=3"), records(e.topic, "d=4")
	e.broker.ProduceTo(t, 0, first...)
	fold(e.want, first)
	var away atomic.Bool
	away.Store(true)
	r := e.open(Transform("v1", func(en Entry[string, string]) (string, bool, error) {
		if en.Key == "b" && away.Load() {
			return "", false, errAway
		}
		return en.Value, true, nil
	}))
	r.until("it says why it waits", func() bool { return r.Status().Err != nil })
	require.ErrorContains(t, r.Status().Err, "registry is away")
	require.Zero(t, r.Stats().Rejected)
	// The partition stands before it, the other one goes on.
	e.broker.ProduceTo(t, 1, other...)
	fold(e.want, other)
	r.until("the other partition goes on", func() bool { return r.e.follower.Load().gen.State().Get(1).Next == 1 })
	require.EqualValues(t, 1, r.e.follower.Load().gen.State().Get(0).Next)
	away.Store(false)
	r.waitReady()
	e.holds(r)
	require.NoError(t, r.Status().Err)
}
