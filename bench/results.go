package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// A taken is one sample: what was measured, with which settings, and the figures.
type taken struct {
	Work    string `json:"work"`
	Data    string `json:"data"`
	Name    string `json:"name"`
	Values  string `json:"values,omitempty"`
	Round   int    `json:"round"`
	Job     job    `json:"settings"`
	Figures sample `json:"figures"`
}

// An absence is somebody who could not be measured, and why.
type absence struct {
	Work, Data, Name, Reason string
}

// results are all samples of a run.
type results struct {
	When     time.Time         `json:"when"`
	Machine  map[string]string `json:"machine"`
	Versions map[string]string `json:"versions"`
	Broker   string            `json:"broker"`
	Rounds   int               `json:"rounds"`
	Rows     int               `json:"rows"`
	Quick    bool              `json:"quick"`
	Samples  []taken           `json:"samples"`
	Absent   []absence         `json:"absent"`
}

func newResults(s settings, broker string) *results {
	return &results{
		When: time.Now().UTC(), Machine: machine(), Versions: versions(), Broker: broker,
		Rounds: s.rounds, Rows: s.rows, Quick: s.quick, Samples: []taken{}, Absent: []absence{},
	}
}

func (r *results) add(m measure, round int, j job, s sample) {
	r.Samples = append(r.Samples, taken{Work: m.Work, Data: m.dataName(), Name: m.Name, Values: m.Values, Round: round, Job: j, Figures: s})
}

func (r *results) leaveOut(m measure, why error) {
	r.Absent = append(r.Absent, absence{Work: m.Work, Data: m.dataName(), Name: m.Name, Reason: why.Error()})
}

func (r *results) isAbsent(m measure) bool {
	return slices.ContainsFunc(r.Absent, func(a absence) bool { return a.Work == m.Work && a.Data == m.dataName() && a.Name == m.Name })
}

// machine describes this machine.
func machine() map[string]string {
	out := map[string]string{"system": runtime.GOOS + "/" + runtime.GOARCH, "cores": fmt.Sprint(runtime.NumCPU())}
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		out["processor"] = procField(string(b), "model name")
	}
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		out["memory"] = procField(string(b), "MemTotal")
	}
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		out["kernel"] = strings.TrimSpace(string(b))
	}
	return out
}

// procField returns the value of the first line of a file in /proc that has a
// name.
func procField(text, name string) string {
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// versionsOf are the modules whose versions are in the results.
var versionsOf = []string{"github.com/twmb/franz-go", "github.com/cockroachdb/pebble/v2", "github.com/lovoo/goka", "github.com/twmb/franz-go/pkg/kfake"}

func versions() map[string]string {
	out := map[string]string{"go": runtime.Version(), "kafka": "4.3.1", "kafka-streams": "4.3.1"}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return out
	}
	for _, d := range info.Deps {
		if slices.Contains(versionsOf, d.Path) {
			out[d.Path] = d.Version
		}
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" || s.Key == "vcs.modified" {
			out[s.Key] = s.Value
		}
	}
	return out
}

// write writes the samples, the tables and the plots to the directory of the
// results, and prints the tables, or the key figures of a quick run.
func (r *results) write(s settings, stdout io.Writer) error {
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	err = os.WriteFile(filepath.Join(s.out, "results.json"), append(b, '\n'), 0o600)
	tables := r.report()
	err = errors.Join(err, os.WriteFile(filepath.Join(s.out, "results.md"), []byte(tables), 0o600), r.plots(s.out))
	if s.quick {
		tables = r.keyFigures()
	}
	fmt.Fprint(stdout, tables)
	return err
}
