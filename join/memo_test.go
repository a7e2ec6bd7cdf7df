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
	keys, at = distinct(&m, []string{"c", "d", "b"})
	require.Equal(t, []string{"d"}, keys, "the others are known")
	require.Equal(t, []int32{3, 4, 0}, at)
	m.forget()
	keys, at = distinct(&m, []string{"c"})
	require.Equal(t, []string{"c"}, keys)
	require.Equal(t, []int32{0}, at, "nothing is left of the batches before")
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
	var known []string
	for range 400 {
		if rng.IntN(8) == 0 {
			m.forget()
			known = nil
		}
		all := make([]string, rng.IntN(300))
		for i := range all {
			all[i] = fmt.Sprint("key-", rng.IntN(1+rng.IntN(2000)))
		}
		var want []string
		for _, k := range all {
			if !slices.Contains(known, k) {
				want, known = append(want, k), append(known, k)
			}
		}
		keys, at := distinct(&m, all)
		require.ElementsMatch(t, want, keys)
		require.Len(t, at, len(all))
		for i, k := range all {
			require.Equal(t, k, known[at[i]])
		}
	}
}

func TestDistinctMakesNoGarbage(t *testing.T) {
	var m memo
	all := make([]string, 1000)
	for i := range all {
		all[i] = fmt.Sprint("key-", i%77)
	}
	perRun := testing.AllocsPerRun(100, func() {
		distinct(&m, all)
		m.forget()
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
			for b.Loop() {
				distinct(&m, all)
				m.forget()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(all)), "ns/key")
		})
	}
}
