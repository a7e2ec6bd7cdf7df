package main

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// turns is a table whose probes are updated in turn, one in a millisecond; each
// is visible after two.
type turns struct {
	goMap
	rows  map[string]int
	began time.Time
	first uint64 // of a row that was never updated
	hides int    // the probe that another update hides in the first turn
}

func (u *turns) serial(k string) (uint64, error) {
	i := u.rows[k]
	done := int(time.Since(u.began).Milliseconds()) - 2 // updates that are visible
	turn := (done - i) / probeRows
	if done < i || turn == 0 && i == u.hides {
		return u.first, nil
	}
	return uint64(u.began.Add(time.Duration(turn*probeRows+i) * time.Millisecond).UnixNano()), nil
}

// A measurement that begins in the middle of a turn, beside rows that have random
// serials, waits for each probe's own update.
func TestProbesAreFollowedFromWhereTheyAre(t *testing.T) {
	rows := map[string]int{}
	for i := range probeRows {
		rows[key(i)] = i
	}
	for _, under := range []time.Duration{0, 300 * time.Millisecond, 2 * time.Second} {
		for _, first := range []uint64{0, 1 << 61, 1<<63 - 1, 1 << 63} {
			synctest.Test(t, func(t *testing.T) {
				u := &turns{rows: rows, began: time.Now(), first: first, hides: 400}
				time.Sleep(under) // virtual
				h, err := probe(t.Context(), u, probeRows, 2*probeRows)
				require.NoError(t, err)
				require.Equal(t, 2*probeRows, h.n)
				require.Less(t, h.at(1), 4*time.Millisecond)
			})
		}
	}
}
