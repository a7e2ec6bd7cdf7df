package main

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Percentiles are at most a 16th above what sorting all durations gives.
func TestHistogramAgreesWithSorting(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	h := new(histogram)
	var all []time.Duration
	for range 20_000 {
		d := time.Duration(1) << rng.IntN(40)
		d += time.Duration(rng.Int64N(int64(d)))
		all = append(all, d)
		h.add(d)
	}
	slices.Sort(all)
	for _, q := range []float64{0, 0.5, 0.9, 0.99, 0.999} {
		exact := float64(all[int(q*float64(len(all)))])
		require.GreaterOrEqual(t, float64(h.at(q)), exact, q)
		require.LessOrEqual(t, float64(h.at(q)), exact*(1+1.0/histogramParts)+1, q)
	}
}

func TestHistogramBucketsFollowEachOther(t *testing.T) {
	for _, ns := range []uint64{0, 1, 15, 16, 17, 31, 32, 33, 1000, 1 << 20, 1<<20 - 1, 1<<40 + 12345} {
		i := bucketOf(ns)
		require.Less(t, ns, bucketEnd(i), ns)
		if i > 0 {
			require.GreaterOrEqual(t, ns, bucketEnd(i-1), ns)
		}
	}
}

func TestHistogramsMerge(t *testing.T) {
	a, b := new(histogram), new(histogram)
	a.add(time.Millisecond)
	b.add(time.Second)
	b.add(-time.Second)
	a.merge(b)
	require.Equal(t, 3, a.n)
	p := a.percentiles()
	require.InDelta(t, 1, p["p50_ms"], 0.1)
	require.InDelta(t, 1000, p["p99_ms"], 70)
	require.Zero(t, new(histogram).at(0.5))
}
