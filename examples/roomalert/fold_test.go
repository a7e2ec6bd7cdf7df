package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The expectation of the tests below: a fold over the files that shares no code
// with the program.

type foldRow struct{ limit, clear float64 }

type foldEpisode struct {
	device, from, to string // times as in the file; to is empty while it is open
}

type folded struct {
	readings, joined, unmatched int
	episodes                    []foldEpisode // by device and time
}

func foldFiles(devicesCSV string, files ...string) folded {
	rows := make(map[string]foldRow)
	for i, line := range strings.Split(strings.TrimSpace(devicesCSV), "\n") {
		if f := strings.Split(line, ","); i > 0 {
			rows[f[0]] = foldRow{number(f[4]), number(f[5])}
		}
	}
	byDevice := make(map[string][][]string)
	var out folded
	for _, file := range files {
		for _, line := range strings.Split(strings.TrimSpace(file), "\n") {
			f := strings.Split(line, ",")
			byDevice[f[1]] = append(byDevice[f[1]], f)
			out.readings++
		}
	}
	var devices []string
	for d := range byDevice {
		devices = append(devices, d)
	}
	slices.Sort(devices)
	for _, d := range devices {
		lines := byDevice[d]
		row, ok := rows[d]
		if !ok {
			out.unmatched += len(lines)
			continue
		}
		out.joined += len(lines)
		slices.SortStableFunc(lines, func(a, b []string) int { return strings.Compare(a[0], b[0]) })
		open := false
		for _, f := range lines {
			c := (number(f[2]) - 32) * 5 / 9
			switch {
			case !open && c > row.limit:
				open = true
				out.episodes = append(out.episodes, foldEpisode{device: d, from: f[0]})
			case open && c < row.clear:
				open = false
				out.episodes[len(out.episodes)-1].to = f[0]
			}
		}
	}
	return out
}

func number(text string) float64 {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		panic(err)
	}
	return f
}

func (f *folded) resolved() (n int) {
	for _, e := range f.episodes {
		if e.to != "" {
			n++
		}
	}
	return n
}

// last is the summary's last line.
func (f *folded) last() string {
	return fmt.Sprintf("readings=%d joined=%d unmatched=%d dropped=0 alerts=%d resolved=%d mails=%d",
		f.readings, f.joined, f.unmatched, len(f.episodes), f.resolved(), len(f.episodes)+f.resolved())
}

// ids are the Message-IDs of all mails, sorted.
func (f *folded) ids() (ids []string) {
	for _, e := range f.episodes {
		since := at(e.from + "Z")
		ids = append(ids, "<"+messageID(e.device, since, raised, "example.com")+">")
		if e.to != "" {
			ids = append(ids, "<"+messageID(e.device, since, resolved, "example.com")+">")
		}
	}
	slices.Sort(ids)
	return ids
}

// example is the fold over the files that come with the program.
func example(t testing.TB) *folded {
	t.Helper()
	var texts []string
	for _, name := range append([]string{"devices.csv"}, exampleReadings()...) {
		b, err := data.ReadFile("data/" + name)
		require.NoError(t, err)
		texts = append(texts, string(b))
	}
	f := foldFiles(texts[0], texts[1:]...)
	require.Equal(t, 23322, f.readings)
	require.Greater(t, len(f.episodes), 5)
	return &f
}

// exampleFiles are the example as files, for -devices and -readings.
func exampleFiles() []string {
	args := []string{"-devices", "data/devices.csv", "-readings"}
	for _, name := range exampleReadings() {
		args = append(args, "data/"+name)
	}
	return args
}

func TestExampleHasAlertsOfSeveralDevices(t *testing.T) {
	f := example(t)
	devices := make(map[string]int)
	for _, e := range f.episodes {
		require.NotEmpty(t, e.to, "resolved")
		devices[e.device]++
	}
	require.GreaterOrEqual(t, len(devices), 3)
	require.Less(t, len(f.episodes), 50)
	require.Positive(t, f.unmatched)
}
