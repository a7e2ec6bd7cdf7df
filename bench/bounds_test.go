package main

import (
	"bytes"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/internal/kafkatest"
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

// It does so with rows that are small beside what is kept of each record while it
// is read, and with many brokers, each of which sends.
func TestMemoryStaysWithinTheBudgetWhateverIsRead(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector takes several times the memory")
	}
	if peakRSS() == 0 {
		t.Skip("this system does not tell the memory of a process")
	}
	for name, c := range map[string]struct{ brokers, partitions, rows, bytes int }{
		"small rows":   {1, 4, 2_000_000, 8},
		"many brokers": {8, 16, 600_000, 160},
	} {
		t.Run(name, func(t *testing.T) {
			b := kafkatest.Fake(t, kfake.NumBrokers(c.brokers))
			topic := b.CreateTopic(t, "bounds", int32(c.partitions), 1, kafkatest.Compacted())
			cl := b.Client(t, kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedRecords(200_000))
			value := bytes.Repeat([]byte("v"), c.bytes)
			for i := range c.rows {
				cl.Produce(t.Context(), &kgo.Record{Topic: topic, Key: fmt.Appendf(nil, "%08d", i*7919%c.rows), Value: value}, func(_ *kgo.Record, err error) {
					if err != nil {
						t.Error(err)
					}
				})
			}
			require.NoError(t, cl.Flush(t.Context()))
			for _, budget := range []int64{smallBudget, largeBudget} {
				j := enrichJob("fill", budget)
				j.Brokers, j.Topic, j.Rows, j.Dir = b.Addrs(), topic, c.rows, filepath.Join(t.TempDir(), "table")
				s, err := measureProcess(t.Context(), j, 0)
				require.NoError(t, err)
				t.Logf("budget of %d MB: %.0f MB", budget/mb, s["rss_mb"])
				require.LessOrEqual(t, s["rss_mb"], float64(budget/mb+aboveBudget))
			}
		})
	}
}
