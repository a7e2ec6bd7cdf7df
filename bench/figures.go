package main

import (
	"fmt"
	"slices"
	"strings"
)

// find returns the samples of somebody, by round.
func (r *results) find(work, data, name string) map[int]sample {
	out := map[int]sample{}
	for _, t := range r.Samples {
		if t.Work == work && t.Data == data && t.Name == name {
			out[t.Round] = t.Figures
		}
	}
	return out
}

// median is that of a figure over the rounds. ok is false where nobody has it.
func (r *results) median(work, data, name, figure string) (value float64, ok bool) {
	var all []float64
	for _, s := range r.find(work, data, name) {
		if v, has := s[figure]; has {
			all = append(all, v)
		}
	}
	return middle(all)
}

// ratio is the median over the rounds of a figure of a, divided by that of b in
// the same round.
func (r *results) ratio(work, data, a, b, figure string) (value float64, ok bool) {
	var all []float64
	of := r.find(work, data, b)
	for round, s := range r.find(work, data, a) {
		x, hasX := s[figure]
		y, hasY := of[round][figure]
		if hasX && hasY && y > 0 {
			all = append(all, x/y)
		}
	}
	return middle(all)
}

// middle is the median; of an even number, the mean of the two in the middle.
func middle(all []float64) (value float64, ok bool) {
	if len(all) == 0 {
		return 0, false
	}
	slices.Sort(all)
	n := len(all)
	return (all[(n-1)/2] + all[n/2]) / 2, true
}

// An entry is one row of a table of results.
type entry struct{ data, name, values string }

// entries are the data and names of a workload that were measured, in their
// order; of one data those that were absent come last.
func (r *results) entries(work string) []entry {
	var out []entry
	for _, t := range r.Samples {
		e := entry{t.Data, t.Name, t.Values}
		if t.Work == work && !slices.Contains(out, e) {
			out = append(out, e)
		}
	}
	return out
}

// dataOf are the data of a workload, in their order.
func (r *results) dataOf(work string) []string {
	var out []string
	for _, e := range r.entries(work) {
		if !slices.Contains(out, e.data) {
			out = append(out, e.data)
		}
	}
	return out
}

// brief is a sample on one line: its first figures by name.
func (s sample) brief() string {
	var names []string
	for name := range s {
		names = append(names, name)
	}
	slices.Sort(names)
	var out []string
	for _, name := range names {
		out = append(out, fmt.Sprintf("%s=%.5g", name, s[name]))
	}
	return strings.Join(out, " ")
}

// A keyFigure is a line of a quick run.
type keyFigure struct {
	name, unit string
	value      func(r *results) (float64, bool)
}

// keyFigures are the lines of a quick run, one for each key figure.
func (r *results) keyFigures() string {
	var out strings.Builder
	for _, k := range keyFigureList {
		if v, ok := k.value(r); ok {
			fmt.Fprintf(&out, "%s %.4g %s\n", k.name, v, k.unit)
		} else {
			fmt.Fprintf(&out, "%s absent %s\n", k.name, k.unit)
		}
	}
	return out.String()
}

// keyFigureList are the key figures. Ratios say how many times our speed is that
// of the other.
var keyFigureList = []keyFigure{
	{"bootstrap_vs_raw", "ratio", bootstrapAgainst("raw")},
	{"bootstrap_vs_goka", "ratio", bootstrapAgainst("goka")},
	{"bootstrap_vs_kstreams", "ratio", bootstrapAgainst("kstreams")},
	{"lookup_hot_ns", "ns", lookupKey("enrich decoded", "hot.1.ns")},
	{"lookup_hot_scaling_2", "ratio", func(r *results) (float64, bool) {
		one, ok1 := lookupKey("enrich decoded", "hot.1.ns")(r)
		two, ok2 := lookupKey("enrich decoded", "hot.2.ns")(r)
		return one / max(1e-9, two), ok1 && ok2
	}},
	{"lookup_uniform_ns", "ns", lookupKey("enrich 64 MB", "uniform.1.ns")},
	{"lookup_absent_ns", "ns", lookupKey("enrich 64 MB", "absent.1.ns")},
	{"batch_ns_per_key", "ns", lookupKey("enrich 64 MB", "batch.1.ns")},
	{"join_cached_vs_read", "ratio", joinAgainstReading("enrich cached")},
	{"join_cold_vs_read", "ratio", joinAgainstReading("enrich cold 64 MB")},
	{"rss_mb_100k", "MB", peakOf(0)},
	{"rss_mb_1m", "MB", peakOf(1)},
	{"restart_ms", "ms", func(r *results) (float64, bool) {
		v, ok := r.first("restart", "enrich, clean", "seconds")
		return 1000 * v, ok
	}},
}

// first is the median of a figure in the first data that a workload has.
func (r *results) first(work, name, figure string) (float64, bool) {
	data := r.dataOf(work)
	if len(data) == 0 {
		return 0, false
	}
	return r.median(work, data[0], name, figure)
}

func bootstrapAgainst(peer string) func(*results) (float64, bool) {
	return func(r *results) (float64, bool) {
		data := r.dataOf("bootstrap")
		if len(data) == 0 {
			return 0, false
		}
		return r.ratio("bootstrap", data[0], peer, peerEnrich, "seconds")
	}
}

func lookupKey(name, figure string) func(*results) (float64, bool) {
	return func(r *results) (float64, bool) { return r.first("lookup", name, figure) }
}

func joinAgainstReading(name string) func(*results) (float64, bool) {
	return func(r *results) (float64, bool) {
		data := r.dataOf("join")
		if len(data) == 0 {
			return 0, false
		}
		return r.ratio("join", data[0], name, peerRaw, "readings_per_s")
	}
}

// peakOf is the peak of the memory at the i-th size.
func peakOf(i int) func(*results) (float64, bool) {
	return func(r *results) (float64, bool) {
		data := r.dataOf("memory")
		if i >= len(data) {
			return 0, false
		}
		return r.median("memory", data[i], peerEnrich, "rss_mb")
	}
}
