package main

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// underWay is a table whose probes are written in turn: when it is first looked
// at, it is some probe's turn.
type underWay struct {
	goMap
	began   time.Time
	written int
	asked   map[string]int
}

func (u *underWay) serial(k string) (uint64, error) {
	u.asked[k]++
	for i := range probeRows {
		if key(i) != k {
			continue
		}
		switch {
		case i < u.written:
			return uint64(u.began.Add(time.Duration(i-u.written) * time.Millisecond).UnixNano()), nil
		case u.asked[k] > 1:
			return uint64(time.Now().UnixNano()), nil
		case i%2 == 0: // as a row has it that was never updated
			return 1<<63 - 1, nil
		}
		return uint64(u.began.Add(time.Duration(i-u.written-probeRows) * time.Millisecond).UnixNano()), nil
	}
	return 0, errNoSerial
}

func TestProbesAreFollowedFromWhereTheyAre(t *testing.T) {
	for _, written := range []int{1, 300, 999} {
		u := &underWay{began: time.Now(), written: written, asked: map[string]int{}}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		h, err := probe(ctx, u, probeRows, 1)
		cancel()
		require.NoError(t, err)
		require.Equal(t, 1, h.n)
		require.Less(t, h.percentiles()["p99_ms"], 900.0, "not what was written a turn ago")
		require.Equal(t, 2, u.asked[key(written)])
	}
}
