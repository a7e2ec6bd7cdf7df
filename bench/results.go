package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// results are the samples of a run.
type results struct {
	When    time.Time           `json:"when"`
	Go      string              `json:"go"`
	System  string              `json:"system"`
	Cores   int                 `json:"cores"`
	Rows    int                 `json:"rows"`
	Lookups int                 `json:"lookups"`
	Samples map[string][]sample `json:"samples"`
	// Absent are the peers that could not be measured here, and why.
	Absent map[string]string `json:"absent,omitempty"`

	order []string
}

func newResults(s settings) *results {
	return &results{
		When: time.Now().UTC(), Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH, Cores: runtime.NumCPU(),
		Rows: s.rows, Lookups: s.lookups, Samples: map[string][]sample{}, Absent: map[string]string{},
		order: strings.Split(s.peers, ","),
	}
}

func (r *results) add(name string, s sample)        { r.Samples[name] = append(r.Samples[name], s) }
func (r *results) leaveOut(name string, why error)  { r.Absent[name] = why.Error() }
func (r *results) absent(name string) (absent bool) { _, absent = r.Absent[name]; return absent }

// print prints medians, and the medians of the ratios in each round.
func (r *results) print(w io.Writer) {
	fmt.Fprintf(w, "\n%d rows, %d cores, medians of %d rounds, values undecoded\n\n", r.Rows, r.Cores, len(r.Samples["enrich"]))
	fmt.Fprintf(w, "| peer | to ready | rows/s | uniform lookup | peak RSS |\n|---|---|---|---|---|\n")
	for _, name := range r.order {
		s := r.Samples[name]
		if len(s) == 0 {
			fmt.Fprintf(w, "| %s | absent: %s | | | |\n", name, r.Absent[name])
			continue
		}
		seconds := median(s, func(s sample) float64 { return s.Seconds })
		fmt.Fprintf(w, "| %s | %.2f s | %.0f k | %s | %.0f MB |\n", name, seconds, float64(r.Rows)/seconds/1000,
			lookupText(median(s, func(s sample) float64 { return float64(s.LookupNs) })), median(s, func(s sample) float64 { return float64(s.RSSKB) / 1024 }))
	}
	fmt.Fprintln(w)
	for _, name := range r.order {
		if name != "enrich" && len(r.Samples[name]) > 0 && len(r.Samples["enrich"]) == len(r.Samples[name]) {
			fmt.Fprintf(w, "bootstrap_vs_%s %.2f ratio\n", name, r.ratio(name))
		}
	}
}

func lookupText(ns float64) string {
	if ns == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f us", ns/1000)
}

// ratio is how many times the speed of a peer ours is: the median of the rounds.
func (r *results) ratio(name string) float64 {
	var all []float64
	for i, s := range r.Samples[name] {
		all = append(all, s.Seconds/r.Samples["enrich"][i].Seconds)
	}
	slices.Sort(all)
	return all[len(all)/2]
}

func median(all []sample, of func(sample) float64) float64 {
	var fs []float64
	for _, s := range all {
		fs = append(fs, of(s))
	}
	slices.Sort(fs)
	return fs[len(fs)/2]
}

// save writes all samples to a file.
func (r *results) save(name string) error {
	if name == "" {
		return nil
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(b, '\n'), 0o600)
}
