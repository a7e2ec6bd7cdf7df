package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
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
	if len(os.Args) == 3 && os.Args[1] == scriptFlag {
		os.Exit(runScript(os.Args[2]))
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

// figuresOf are those that every sample of a workload has.
var figuresOf = map[string][]string{
	"bootstrap": {"seconds", "rows_per_s", "heap_mb", "rss_mb"},
	"restart":   {"seconds", "rows_per_s", "heap_mb", "rss_mb", "disk_mb"},
	"memory":    {"seconds", "rows_per_s", "heap_mb", "rss_mb", "disk_mb", "disk_ready_mb"},
	"join":      {"readings_per_s", "rss_mb"},
	"live":      {"applied_per_s", "produced_per_s", "p50_ms", "p99_ms", "p999_ms", "rss_mb"},
	"rebuild": {
		"rows_per_s", "heal_seconds", "before_p50_ms", "before_p99_ms", "during_p50_ms", "during_p99_ms", "during_p999_ms",
		"disk_before_mb", "disk_peak_mb", "rss_mb",
	},
}

// Every workload gives every figure, for each peer in Go: a figure that was
// missing, or none at all, would go unnoticed in a table.
func TestEveryWorkload(t *testing.T) {
	for _, c := range []struct {
		workload string
		peers    []string
		// measures are how many take part.
		measures int
	}{
		{"bootstrap", []string{"raw", "enrich", "pebble", "gomap", "goka"}, 12},
		{"restart", []string{"enrich", "goka"}, 4},
		{"memory", []string{"enrich", "gomap"}, 8},
		{"live", []string{"enrich", "goka"}, 3},
		{"join", []string{"raw", "enrich"}, 6},
		{"rebuild", []string{"enrich"}, 4},
	} {
		t.Run(c.workload, func(t *testing.T) {
			out, r, dir := small(t, "-run", c.workload, "-peers", strings.Join(c.peers, ","))
			require.Empty(t, r.Absent)
			require.Len(t, r.Samples, c.measures)
			require.Contains(t, out, "## "+c.workload)
			for _, s := range r.Samples {
				require.Equal(t, c.workload, s.Work)
				for _, figure := range figuresOf[c.workload] {
					require.Contains(t, s.Figures, figure, s.Name)
					if !strings.HasPrefix(figure, "disk") {
						require.Positive(t, s.Figures[figure], "%s of %s", figure, s.Name)
					}
				}
			}
			tables, err := os.ReadFile(filepath.Join(dir, "results.md"))
			require.NoError(t, err)
			require.Equal(t, out, string(tables))
		})
	}
}

// Each kind of lookup has a figure for each number of goroutines, beside updates
// too.
func TestLookupWorkload(t *testing.T) {
	out, r, dir := small(t, "-run", "lookup", "-peers", "enrich,pebble,gomap,goka")
	require.Empty(t, r.Absent)
	require.Len(t, r.Samples, 7)
	for _, s := range r.Samples {
		require.Contains(t, out, "| "+s.Name+" | "+s.Values+" |")
		for _, n := range s.Job.Goroutines {
			for _, kind := range s.Job.Kinds {
				require.Positive(t, s.Figures[lookupFigure(kind, n, false)], "%s of %s", kind, s.Name)
			}
			for _, kind := range s.Job.Beside {
				require.Positive(t, s.Figures[lookupFigure(kind, n, true)], "%s of %s", kind, s.Name)
			}
		}
		require.Contains(t, s.Figures, s.Job.Kinds[0]+".1.allocs")
	}
	require.FileExists(t, filepath.Join(dir, "lookup.svg"))
	for _, name := range []string{"cores", "system"} {
		require.NotEmpty(t, r.Machine[name])
	}
	require.NotEmpty(t, r.Versions["go"])
	require.Equal(t, "kfake, in a process of its own", r.Broker)
}

// Kafka Streams does all that the others do, on a real broker.
func TestKafkaStreams(t *testing.T) {
	b := kafkatest.Real(t)
	if _, err := kstreamsJars(); err != nil {
		t.Skipf("the program in Java cannot be built here: %v", err)
	}
	for _, c := range []struct {
		m       measure
		figures []string
	}{
		{measure{Work: "bootstrap", Job: tuned(tableOf("fill", peerKStreams))}, []string{"seconds", "rows_per_s", "heap_mb", "rss_mb", "disk_mb"}},
		{measure{Work: "restart", Prepare: []job{{Work: "kill", Updates: 100}}, Job: tableOf("fill", peerKStreams)}, []string{"seconds"}},
		{measure{Work: "lookup", Job: job{
			Work: "lookup", Peer: peerKStreams, Kinds: []string{"hot", "zipf", "uniform", "absent"}, Beside: []string{"uniform"}, Goroutines: []int{1, 2}, Seconds: 0.02,
		}}, []string{"hot.1.ns", "zipf.2.ns", "uniform.2.ns", "absent.1.ns", "live.uniform.2.ns"}},
		{measure{Work: "live", Job: job{Work: "live", Peer: peerKStreams, Updates: 1000, Probes: 100}}, []string{"p50_ms", "p99_ms", "applied_per_s"}},
		{measure{Work: "join", Stream: 2000, Job: tableOf("join", peerKStreams)}, []string{"readings_per_s"}},
		{measure{Work: "join", Stream: 2000, Output: true, Job: tuned(tableOf("join", peerKStreams))}, []string{"readings_per_s"}},
	} {
		c.m.Data = rowsTopic{Rows: 2000}
		p := newProgress(io.Discard)
		su := &suite{settings: settings{dir: t.TempDir()}, broker: &broker{addrs: b.Addrs()}, data: newDatasets(b.Addrs(), p), progress: p}
		s, _, err := su.take(t.Context(), c.m, true)
		require.NoError(t, err, c.m.Work)
		for _, figure := range c.figures {
			require.Positive(t, s[figure], "%s of %s", figure, c.m.Work)
		}
	}
}
