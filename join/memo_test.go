package join

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDistinctKeysInTheOrderOfTheirFirst(t *testing.T) {
	var m memo
	keys, at := distinct(&m, []string{"b", "a", "b", "", "c", "a", ""})
	require.Equal(t, []string{"b", "a", "", "c"}, keys)
	require.Equal(t, []int32{0, 1, 0, 2, 3, 1, 2}, at)
	keys, at = distinct(&m, []string{"c"})
	require.Equal(t, []string{"c"}, keys)
	require.Equal(t, []int32{0}, at, "nothing is left of the batch before")
	keys, at = distinct(&m, []string{})
	require.Empty(t, keys)
	require.Empty(t, at)
}

func TestDistinctLeavesOtherKeysAlone(t *testing.T) {
	type named string
	ints, at := distinct(new(memo), []int{1, 1})
	require.Equal(t, []int{1, 1}, ints)
	require.Nil(t, at)
	texts, at := distinct(new(memo), []named{"a", "a"})
	require.Equal(t, []named{"a", "a"}, texts)
	require.Nil(t, at)
}

func TestDistinctAgainstModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var m memo
	for range 200 {
		all := make([]string, rng.IntN(300))
		for i := range all {
			all[i] = fmt.Sprint("key-", rng.IntN(1+rng.IntN(400)))
		}
		want := make(map[string]bool)
		for _, k := range all {
			want[k] = true
		}
		keys, at := distinct(&m, slices.Clone(all))
		require.Len(t, keys, len(want))
		require.Len(t, at, len(all))
		for i, k := range all {
			require.Equal(t, k, keys[at[i]])
		}
	}
}

func TestDistinctMakesNoGarbage(t *testing.T) {
	var m memo
	all := make([]string, 1000)
	for i := range all {
		all[i] = fmt.Sprint("key-", i%77)
	}
	keys := make([]string, len(all))
	perRun := testing.AllocsPerRun(100, func() {
		copy(keys, all)
		distinct(&m, keys)
	})
	require.LessOrEqual(t, perRun, 1.0, "of a thousand keys")
}

func BenchmarkDistinct(b *testing.B) {
	for _, different := range []int{10, 300, 1000} {
		b.Run(fmt.Sprint("keys=", different), func(b *testing.B) {
			all := make([]string, 1000)
			for i := range all {
				all[i] = fmt.Sprintf("dev-%08d", i%different)
			}
			var m memo
			keys := make([]string, len(all))
			for b.Loop() {
				copy(keys, all)
				distinct(&m, keys)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(all)), "ns/key")
		})
	}
}
