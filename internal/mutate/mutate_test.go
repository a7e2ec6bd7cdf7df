package mutate

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A changed function makes the test of it red; without a change it is green.
func TestRed(t *testing.T) {
	run := Run{Package: "internal/mutate", Tests: "^TestOfTheExample$"}
	red, out, err := Try(t.Context(), t.TempDir(), run)
	require.NoError(t, err, out)
	require.False(t, red, out)
	Red(t, run, Change{"internal/mutate/mutate_test.go", "return a + " + "b", "return a - b"})
	Red(t, run, Change{"internal/mutate/mutate_test.go", "return a + " + "b", "panic(a)"})
}

func add(a, b int) int { return a + b }

func TestOfTheExample(t *testing.T) { require.Equal(t, 3, add(1, 2)) }

func TestWhatCannotBeTried(t *testing.T) {
	file := "internal/mutate/mutate_test.go"
	run := Run{Package: "internal/mutate", Tests: "^TestOfTheExample$"}
	for _, c := range []struct {
		run    Run
		change Change
		err    string
	}{
		{run, Change{file, "not " + "there", ""}, "has the text 0 times"},
		{run, Change{file, "func ", ""}, "times, and not once"},
		{run, Change{"internal/mutate/none.go", "a", "b"}, "none.go"},
		{run, Change{file, "return a + " + "b", "return x"}, "no test ran"},
		{Run{Package: run.Package, Tests: "^TestThatIsNot" + "There$"}, Change{file, "return a + " + "b", "return b"}, "no test ran"},
	} {
		_, out, err := Try(t.Context(), t.TempDir(), c.run, c.change)
		require.ErrorContains(t, err, c.err, out)
		if c.err != "no test ran" {
			require.ErrorContains(t, Check(c.change), c.err)
		} else {
			require.NoError(t, Check(c.change))
		}
	}
}
