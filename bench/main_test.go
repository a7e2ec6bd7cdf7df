package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/globaltable/enrich/internal/kafkatest"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == childFlag {
		// A measurement of the tests runs in the test binary.
		os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(kafkatest.Main(m, goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick")))
}

// Every peer in Go fills its table from a real broker, finds the rows, and is in
// the table and in the file of results.
func TestASmallRun(t *testing.T) {
	b := kafkatest.Real(t)
	out := filepath.Join(t.TempDir(), "out.json")
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{
		"-brokers", b.Addrs()[0], "-rows", "2000", "-rounds", "2", "-lookups", "100",
		"-peers", "raw,enrich,gomap,goka", "-out", out,
	}, &stdout, &stderr)
	require.Zero(t, code, stderr.String())
	for _, want := range []string{"| raw |", "| enrich |", "| gomap |", "| goka |", "bootstrap_vs_raw ", "bootstrap_vs_goka "} {
		require.Contains(t, stdout.String(), want)
	}
	content, err := os.ReadFile(out)
	require.NoError(t, err)
	var r results
	require.NoError(t, json.Unmarshal(content, &r))
	for _, peer := range []string{"raw", "enrich", "gomap", "goka"} {
		require.Len(t, r.Samples[peer], 2, peer)
		require.Positive(t, r.Samples[peer][0].Seconds)
	}
	require.Positive(t, r.Samples["enrich"][0].LookupNs)
	require.Empty(t, r.Absent)
}

func TestBadArguments(t *testing.T) {
	for _, args := range [][]string{{"-rows", "0"}, {"-rounds", "0"}, {"-lookups", "-1"}, {"stray"}, {"-nonsense"}} {
		var stdout, stderr bytes.Buffer
		require.Equal(t, 2, run(t.Context(), args, &stdout, &stderr), args)
		require.NotEmpty(t, stderr.String())
		require.Empty(t, stdout.String())
	}
}

func TestRatiosAreOfOneRound(t *testing.T) {
	r := newResults(settings{rows: 10, peers: "enrich,other,gone"})
	for _, s := range [][2]float64{{1, 4}, {2, 4}, {1, 9}} {
		r.add("enrich", sample{Seconds: s[0]})
		r.add("other", sample{Seconds: s[1]})
	}
	r.leaveOut("gone", errors.New("no java"))
	require.True(t, r.absent("gone"))
	require.InDelta(t, 4, r.ratio("other"), 0.001)
	var out bytes.Buffer
	r.print(&out)
	require.Contains(t, out.String(), "bootstrap_vs_other 4.00 ratio")
	require.Contains(t, out.String(), "| gone | absent: no java |")
	require.Contains(t, out.String(), "| enrich | 1.00 s |")
}

// goka computes the partition of a key by this hash; it would not find the rows
// elsewhere.
func TestPartitionsAreThoseOfGoka(t *testing.T) {
	seen := map[int32]int{}
	for i := range 1000 {
		p := partitionOf(key(i))
		require.GreaterOrEqual(t, p, int32(0))
		require.Less(t, p, int32(devicePartitions))
		seen[p]++
	}
	require.Len(t, seen, devicePartitions)
}
