package main

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestUpdatesOfOtherRowsSpareTheProbes(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		n := otherRow(rng, probeRows+10)
		require.GreaterOrEqual(t, n, probeRows)
		require.Less(t, n, probeRows+10)
	}
	require.Less(t, otherRow(rng, probeRows), probeRows)
}
