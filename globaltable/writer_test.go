package globaltable

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/globaltable/enrich/internal/kafkatest"
)

// A table that is far behind loads in bulk, and what it holds is the same: newer
// records win, deletions delete, in whichever chunk they are.
func TestBulkLoadHoldsTheSame(t *testing.T) {
	each(t, 3, func(t *testing.T, e *env) {
		for round := range 3 {
			pairs := append(numbered("k", 0, 2000), numbered(fmt.Sprint("round-", round, "-"), 0, 500)...)
			for i := range 300 {
				pairs = append(pairs, fmt.Sprint("k", i*7), fmt.Sprint("k", i*5, "=again", round))
			}
			e.put(pairs...)
		}
		dir := t.TempDir()
		h := &recorder{}
		r := e.ready(Dir(dir), Hooks(h), smallBulk())
		e.holds(r)
		require.NotZero(t, r.Stats().BulkLoads)
		require.EqualValues(t, 3*(2500+600), r.Stats().Records)
		rows := 0
		for _, b := range h.batches {
			rows += b.Rows
		}
		require.Equal(t, 3*(2500+600), rows)

		// Live behind it, and a catch-up in bulk after a restart.
		r.sees(e.put("k1=live", "k2"))
		e.holds(r)
		r.close()
		e.put(numbered("k", 1000, 3000)...)
		e.put("k5", "k6=6")
		r = e.ready(Dir(dir), smallBulk())
		require.Equal(t, Resumed, r.Stats().Decision)
		require.NotZero(t, r.Stats().BulkLoads)
		e.holds(r)
		r.close()
		e.holds(e.ready(Dir(dir)))
	})
}

// A bulk load that is stopped keeps what it has taken in.
func TestBulkLoadIsStopped(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	e.put(numbered("k", 0, 5000)...)
	dir := t.TempDir()
	stuck := Transform("v1", func(en Entry[string, string]) (string, bool, error) {
		if en.Offset >= 3000 {
			return "", false, errAway
		}
		return en.Value, true, nil
	})
	r := e.open(Dir(dir), smallBulk(), stuck)
	r.until("it waits", func() bool { return r.Status().Err != nil })
	require.NotZero(t, r.Stats().BulkLoads)
	r.close()
	r = e.ready(Dir(dir), Transform("v1", func(en Entry[string, string]) (string, bool, error) { return en.Value, true, nil }))
	require.Equal(t, Resumed, r.Stats().Decision)
	require.EqualValues(t, 5000, r.Stats().Records, "each record was read once over both runs")
	e.holds(r)
}

// A topic whose partitions end at different times becomes ready all the same.
func TestBulkLoadOfUnevenPartitions(t *testing.T) {
	each(t, 4, func(t *testing.T, e *env) {
		for p, n := range []int{0, 10, 100, 4000} {
			rs := records(e.topic, numbered(fmt.Sprint("p", p, "-"), 0, n)...)
			if n > 0 {
				e.broker.ProduceTo(t, int32(p), rs...)
			}
			fold(e.want, rs)
		}
		r := e.ready(smallBulk())
		require.NotZero(t, r.Stats().BulkLoads)
		e.holds(r)
	})
}
