package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMiddle(t *testing.T) {
	_, ok := middle(nil)
	require.False(t, ok)
	for _, c := range []struct {
		want float64
		of   []float64
	}{{1, []float64{1}}, {2, []float64{3, 1, 2}}, {2.5, []float64{4, 1, 2, 3}}} {
		v, ok := middle(c.of)
		require.True(t, ok)
		require.Equal(t, c.want, v)
	}
}

// sampled are results with these figures of some measures, one for each round.
func sampled(data rowsTopic, by map[string][]float64) *results {
	r := newResults(settings{}, "a broker")
	for _, name := range []string{"raw", "enrich", "enrich 64 MB", "enrich decoded", "goka"} {
		for i, v := range by[name] {
			m := measure{Work: "bootstrap", Name: name, Data: data}
			r.add(m, i+1, job{Rows: data.Rows}, sample{"seconds": v})
		}
	}
	return r
}

// The ratio is the median of those within a round: not the ratio of the medians,
// which a machine that gets slower would change.
func TestRatiosAreTakenWithinARound(t *testing.T) {
	data := rowsTopic{Rows: 1000}
	r := sampled(data, map[string][]float64{"raw": {1, 10, 100}, "enrich": {2, 20, 400}})
	v, ok := r.ratio("bootstrap", data.String(), "raw", "enrich", "seconds")
	require.True(t, ok)
	require.Equal(t, 0.5, v)
	v, ok = r.median("bootstrap", data.String(), "enrich", "seconds")
	require.True(t, ok)
	require.Equal(t, 20.0, v)
	_, ok = r.ratio("bootstrap", data.String(), "raw", "goka", "seconds")
	require.False(t, ok)
}

// A ratio needs both in the same round.
func TestRatiosLeaveRoundsOut(t *testing.T) {
	data := rowsTopic{Rows: 1000}
	r := sampled(data, map[string][]float64{"raw": {1, 9}, "enrich": {2}})
	v, ok := r.ratio("bootstrap", data.String(), "raw", "enrich", "seconds")
	require.True(t, ok)
	require.Equal(t, 0.5, v)
}

func TestKeyFiguresOfNothingAreAbsent(t *testing.T) {
	out := newResults(settings{}, "").keyFigures()
	require.Len(t, keyFigureList, strings.Count(out, "\n"))
	require.Equal(t, len(keyFigureList), strings.Count(out, " absent "))
}

func TestKeyFigures(t *testing.T) {
	data := rowsTopic{Rows: 1000}
	r := sampled(data, map[string][]float64{"raw": {1}, "enrich": {2}, "goka": {12}})
	require.Contains(t, r.keyFigures(), "bootstrap_vs_raw 0.5 ratio\nbootstrap_vs_goka 6 ratio\nbootstrap_vs_kstreams absent ratio\n")
	r = newResults(settings{}, "")
	r.add(measure{Work: "lookup", Name: "enrich decoded"}, 1, job{}, sample{"hot.1.ns": 120, "hot.2.ns": 60})
	require.Contains(t, r.keyFigures(), "lookup_hot_ns 120 ns\nlookup_hot_scaling_2 2 ratio\n")
}

// The tables have a row for everybody, with the ratios that the goals name.
func TestReport(t *testing.T) {
	data := rowsTopic{Rows: 2_000_000}
	r := sampled(data, map[string][]float64{"raw": {1}, "enrich": {2}, "goka": {12}})
	r.leaveOut(measure{Work: "bootstrap", Name: "kstreams", Data: data}, errors.New("no\njava"))
	for _, add := range []struct {
		work, name string
		s          sample
	}{
		{"join", "raw", sample{"readings_per_s": 4e6}},
		{"join", "enrich cached", sample{"readings_per_s": 2e6}},
		{"join", "raw, output", sample{"readings_per_s": 1e6}},
		{"join", "enrich cached, output", sample{"readings_per_s": 8e5}},
		{"lookup", "enrich", sample{"hot.1.ns": 100, "hot.2.ns": 50, "hot.1.allocs": 0, "live.hot.1.ns": 150}},
		{"restart", "enrich, clean", sample{"seconds": 0.02}},
		{"live", "enrich", sample{"applied_per_s": 3e5, "p99_ms": 12}},
		{"rebuild", "rebuild", sample{"heal_seconds": 3, "before_p99_ms": 0.02, "disk_peak_mb": 400}},
		{"memory", "enrich", sample{"seconds": 1, "rows_per_s": 2e6, "rss_mb": 200}},
	} {
		r.add(measure{Work: add.work, Name: add.name, Data: data}, 1, job{Rows: data.Rows}, add.s)
	}
	out := r.report()
	for _, want := range []string{
		"| devices 2 M | enrich |  | 2.00 s |  | 0.50x |  |",
		"| devices 2 M | goka |  | 12.00 s |  | 0.08x | 6.00x |",
		"Absent: bootstrap, devices 2 M, kstreams: no java",
		"| devices 2 M | enrich cached |  | 2.00 M | 0.50x |",
		"| devices 2 M | enrich cached, output |  | 800 k | 0.80x |",
		"| enrich |  | hot | 100 ns | 50 ns |  |  | 2.00x | 0.00 |",
		"| enrich |  | hot beside updates | 150 ns |",
		"| devices 2 M | enrich, clean |  | 20 ms |",
		"| devices 2 M | enrich |  | 300 k |  |  | 12 ms |",
		"| devices 2 M | rebuild |  | 3.00 s |  | 0.02 ms |",
		"| devices 2 M | enrich |  | 1.00 s | 2.00 M |  |  | 200 MB |",
	} {
		require.Contains(t, out, want)
	}
}

// Each plot is written in both formats; without figures there is none.
func TestPlots(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, newResults(settings{}, "").plots(dir))
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, files)

	r := newResults(settings{}, "")
	for _, rows := range []int{10_000, 100_000, 1_000_000} {
		for _, name := range []string{"enrich", "gomap"} {
			r.add(measure{Work: "memory", Name: name, Data: rowsTopic{Rows: rows}}, 1, job{Rows: rows}, sample{"rss_mb": 200})
		}
	}
	r.add(measure{Work: "bootstrap", Name: "raw", Data: rowsTopic{Rows: 10}}, 1, job{}, sample{"rows_per_s": 1e6})
	r.add(measure{Work: "lookup", Name: "enrich", Values: "bytes", Data: rowsTopic{Rows: 10}}, 1, job{}, sample{"hot.1.ns": 1e2, "absent.1.ns": 5})
	require.NoError(t, r.plots(dir))
	for _, name := range []string{"memory", "bootstrap", "lookup"} {
		svg, err := os.ReadFile(filepath.Join(dir, name+".svg"))
		require.NoError(t, err)
		require.Contains(t, string(svg), "<svg")
		png, err := os.ReadFile(filepath.Join(dir, name+".png"))
		require.NoError(t, err)
		require.Contains(t, string(png[:8]), "PNG")
	}
}

func TestUnits(t *testing.T) {
	require.Equal(t, "1.25 M", perSecond(1.25e6))
	require.Equal(t, "250 k", perSecond(250_000))
	require.Equal(t, "85 ns", nanoseconds(85))
	require.Equal(t, "12.5 us", nanoseconds(12_500))
	require.Equal(t, []string{"10 ns", "1 us", "1 ms"}, []string{nanosecondLabel(10), nanosecondLabel(1000), nanosecondLabel(1e6)})
	require.Equal(t, "a=1 b=2.5", sample{"b": 2.5, "a": 1}.brief())
}
