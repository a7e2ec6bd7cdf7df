package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// report is the tables of all workloads that were measured, as Markdown.
func (r *results) report() string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s, %s cores, %s, %s; broker: %s; %s. Medians of the rounds; ratios are medians of the ratios within a round.\n",
		r.Machine["system"], r.Machine["cores"], r.Machine["processor"], r.Machine["memory"], r.Broker, r.Versions["go"])
	for _, w := range workloads {
		if len(r.entries(w)) > 0 {
			r.section(&out, w)
		}
	}
	for _, a := range r.Absent {
		fmt.Fprintf(&out, "\nAbsent: %s, %s, %s: %s\n", a.Work, a.Data, a.Name, strings.ReplaceAll(a.Reason, "\n", " "))
	}
	return out.String()
}

func (r *results) section(out *strings.Builder, work string) {
	fmt.Fprintf(out, "\n## %s\n\n", work)
	switch work {
	case "lookup":
		r.lookupTable(out)
	case "join":
		r.table(out, work, []column{
			r.number(work, "readings/s", "readings_per_s", perSecond),
			{"of reading", func(e entry) string { return r.against(work, e, baseOf(e), "readings_per_s", e.name, baseOf(e)) }},
			{"enrich cached is", func(e entry) string {
				return r.against(work, e, "", "readings_per_s", ours(e, "enrich cached"), e.name)
			}},
			{"enrich cold is", func(e entry) string {
				return r.against(work, e, "", "readings_per_s", ours(e, "enrich cold 64 MB"), e.name)
			}},
			r.number(work, "peak RSS", "rss_mb", megabytes),
		})
	case "restart":
		r.table(out, work, []column{r.number(work, "to ready", "seconds", milliseconds), r.number(work, "peak RSS", "rss_mb", megabytes)})
	case "live":
		r.table(out, work, []column{
			r.number(work, "applied/s", "applied_per_s", perSecond), r.number(work, "written/s", "produced_per_s", perSecond),
			r.number(work, "visible p50", "p50_ms", oneMillisecond), r.number(work, "p99", "p99_ms", oneMillisecond), r.number(work, "p999", "p999_ms", oneMillisecond),
			r.number(work, "peak RSS", "rss_mb", megabytes),
		})
	case "rebuild":
		r.table(out, work, []column{
			r.number(work, "takes", "heal_seconds", seconds),
			r.number(work, "reads before p50", "before_p50_ms", oneMillisecond), r.number(work, "p99", "before_p99_ms", oneMillisecond),
			r.number(work, "during p50", "during_p50_ms", oneMillisecond), r.number(work, "p99", "during_p99_ms", oneMillisecond), r.number(work, "p999", "during_p999_ms", oneMillisecond),
			r.number(work, "disk before", "disk_before_mb", megabytes), r.number(work, "peak disk", "disk_peak_mb", megabytes), r.number(work, "peak RSS", "rss_mb", megabytes),
		})
	default:
		r.table(out, work, []column{
			r.number(work, "to ready", "seconds", seconds), r.number(work, "rows/s", "rows_per_s", perSecond),
			{"of raw", func(e entry) string { return r.against(work, e, peerRaw, "seconds", peerRaw, e.name) }},
			{"enrich is", func(e entry) string { return r.against(work, e, "", "seconds", e.name, peerEnrich) }},
			r.number(work, "peak RSS", "rss_mb", megabytes), r.number(work, "Go or Java heap", "heap_mb", megabytes), r.number(work, "disk", "disk_mb", megabytes),
		})
	}
}

// A column is one figure of a table.
type column struct {
	title string
	value func(entry) string
}

func (r *results) number(work, title, figure string, format func(float64) string) column {
	return column{title, func(e entry) string {
		if v, ok := r.median(work, e.data, e.name, figure); ok {
			return format(v)
		}
		return ""
	}}
}

// against is the ratio of a to b; nothing where they are the same, or where the
// row is the one that others are compared with.
func (r *results) against(work string, e entry, skip, figure, a, b string) string {
	if a == b || e.name == skip {
		return ""
	}
	if v, ok := r.ratio(work, e.data, a, b, figure); ok {
		return strconv.FormatFloat(v, 'f', 2, 64) + "x"
	}
	return ""
}

// outputSuffix ends the names of joins with an output topic.
const outputSuffix = ", output"

// baseOf is what a join is compared with: reading, or reading and writing.
func baseOf(e entry) string { return ours(e, peerRaw) }

func ours(e entry, name string) string {
	if strings.HasSuffix(e.name, outputSuffix) {
		return name + outputSuffix
	}
	return name
}

func (r *results) table(out *strings.Builder, work string, columns []column) {
	titles := []string{"data", "who", "values"}
	for _, c := range columns {
		titles = append(titles, c.title)
	}
	writeLine(out, titles)
	writeLine(out, slices.Repeat([]string{"---"}, len(titles)))
	for _, e := range r.entries(work) {
		line := []string{e.data, e.name, e.values}
		for _, c := range columns {
			line = append(line, c.value(e))
		}
		writeLine(out, line)
	}
}

func writeLine(out *strings.Builder, fields []string) {
	fmt.Fprintf(out, "| %s |\n", strings.Join(fields, " | "))
}

// lookupTable has a row for each kind of lookup.
func (r *results) lookupTable(out *strings.Builder) {
	titles := []string{"who", "values", "keys"}
	for _, n := range lookupGoroutines {
		titles = append(titles, fmt.Sprintf("%d goroutines", n))
	}
	writeLine(out, append(titles, "2 against 1", "allocations"))
	writeLine(out, slices.Repeat([]string{"---"}, len(titles)+2))
	for _, kind := range []string{"hot", "zipf", "uniform", "absent", "batch"} {
		for _, beside := range []bool{false, true} {
			for _, e := range r.entries("lookup") {
				r.lookupLine(out, e, kind, beside)
			}
		}
	}
}

func (r *results) lookupLine(out *strings.Builder, e entry, kind string, beside bool) {
	title := kind
	if beside {
		title += " beside updates"
	}
	line := []string{e.name, e.values, title}
	found := false
	var one, two float64
	for _, n := range lookupGoroutines {
		v, ok := r.median("lookup", e.data, e.name, lookupFigure(kind, n, beside))
		text := ""
		if ok {
			found, text = true, nanoseconds(v)
		}
		switch n {
		case 1:
			one = v
		case 2:
			two = v
		}
		line = append(line, text)
	}
	if !found {
		return
	}
	scaling, allocs := "", ""
	if one > 0 && two > 0 {
		scaling = strconv.FormatFloat(one/two, 'f', 2, 64) + "x"
	}
	if v, ok := r.median("lookup", e.data, e.name, kind+".1.allocs"); ok && !beside {
		allocs = strconv.FormatFloat(v, 'f', 2, 64)
	}
	writeLine(out, append(line, scaling, allocs))
}

func seconds(v float64) string        { return fmt.Sprintf("%.2f s", v) }
func milliseconds(v float64) string   { return fmt.Sprintf("%.0f ms", 1000*v) }
func oneMillisecond(v float64) string { return fmt.Sprintf("%.3g ms", v) }
func megabytes(v float64) string      { return fmt.Sprintf("%.0f MB", v) }

func perSecond(v float64) string {
	if v >= 1e6 {
		return fmt.Sprintf("%.2f M", v/1e6)
	}
	return fmt.Sprintf("%.0f k", v/1e3)
}

func nanoseconds(v float64) string {
	if v >= 10_000 {
		return fmt.Sprintf("%.1f us", v/1e3)
	}
	return fmt.Sprintf("%.0f ns", v)
}
