package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// aboveBudget is what a process takes besides a table's budget, in MB.
const aboveBudget = 96

// A table's process stays within its budget and what the runtime takes, while it
// is filled, while readers and updates go on, while all of it is verified, and
// while a recreated topic makes it build its rows again. The rows take more than
// the smaller budget leaves for them.
func TestMemoryStaysWithinTheBudget(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector takes several times the memory")
	}
	if peakRSS() == 0 {
		t.Skip("this system does not tell the memory of a process")
	}
	_, r, _ := small(t, "-run", "bootstrap,live,rebuild", "-peers", peerEnrich, "-rows", "300000")
	for _, s := range r.Samples {
		bound := float64(max(s.Job.Budget, largeBudget))/mb + aboveBudget
		if s.Job.Budget == smallBudget {
			bound = smallBudget/mb + aboveBudget
		}
		t.Logf("%s, %s: %.0f MB of %.0f", s.Work, s.Name, s.Figures["rss_mb"], bound)
		require.Positive(t, s.Figures["rss_mb"], s.Name)
		require.LessOrEqual(t, s.Figures["rss_mb"], bound, "%s, %s", s.Work, s.Name)
	}
	require.GreaterOrEqual(t, len(r.Samples), 9)
}
