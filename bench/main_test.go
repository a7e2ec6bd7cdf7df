package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/globaltable/enrich/internal/kafkatest"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == childFlag {
		// A measurement of the tests runs in the test binary.
		os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(kafkatest.Main(m, goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick")))
}

// small runs the program with little of everything on the fake broker, and
// returns what it printed and the results that it wrote.
func small(t *testing.T, args ...string) (stdout string, r results, dir string) {
	t.Helper()
	dir = t.TempDir()
	var out, errs bytes.Buffer
	args = append([]string{"-small", "-fake", "-rows", "2000", "-rounds", "1", "-out", dir}, args...)
	require.Zero(t, run(t.Context(), args, strings.NewReader(""), &out, &errs), errs.String())
	content, err := os.ReadFile(filepath.Join(dir, "results.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(content, &r))
	return out.String(), r, dir
}

// Every key figure of a quick run is a line of its own, and nothing else is
// printed. Each is there but that of Kafka Streams, which the fake broker cannot
// serve.
func TestQuickPrintsEachKeyFigureOnce(t *testing.T) {
	out, r, _ := small(t, "-quick")
	var names []string
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		require.Len(t, fields, 3, line)
		names = append(names, fields[0])
		if fields[0] == "bootstrap_vs_kstreams" {
			require.Equal(t, "absent", fields[1])
			continue
		}
		var value float64
		_, err := fmt.Sscan(fields[1], &value)
		require.NoError(t, err, line)
		require.Positive(t, value, line)
	}
	require.Equal(t, []string{
		"bootstrap_vs_raw", "bootstrap_vs_goka", "bootstrap_vs_kstreams", "lookup_hot_ns", "lookup_hot_scaling_2", "lookup_uniform_ns",
		"lookup_absent_ns", "batch_ns_per_key", "join_cached_vs_read", "join_cold_vs_read", "rss_mb_100k", "rss_mb_1m", "restart_ms",
	}, names)
	require.Len(t, r.Absent, 1)
	require.Equal(t, peerKStreams, r.Absent[0].Name)
}
