package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBadArguments(t *testing.T) {
	for _, args := range [][]string{
		{"-rows", "10"}, {"-rounds", "0"}, {"-run", "bootstrap,nothing"}, {"-peers", "somebody"}, {"rest"}, {"-nothing"},
	} {
		var stderr bytes.Buffer
		require.Equal(t, 2, run(t.Context(), args, strings.NewReader(""), io.Discard, &stderr), args)
		require.NotEmpty(t, stderr.String(), args)
	}
	var stderr bytes.Buffer
	require.Equal(t, 1, run(t.Context(), []string{childFlag, "{}"}, strings.NewReader(""), io.Discard, &stderr))
	require.Contains(t, stderr.String(), `there is no work ""`)
	require.Equal(t, 1, run(t.Context(), []string{childFlag, `{"Work":"fill","Peer":"nobody"}`}, strings.NewReader(""), io.Discard, &stderr))
	require.Contains(t, stderr.String(), `there is no peer "nobody"`)
}

func parsed(t *testing.T, args ...string) settings {
	t.Helper()
	s, err := parse(args, io.Discard)
	require.NoError(t, err)
	return s
}

func TestDefaults(t *testing.T) {
	s := parsed(t)
	require.Equal(t, workloads, s.run)
	require.Equal(t, 2_000_000, s.rows)
	require.Equal(t, 5, s.rounds)
	require.Equal(t, []int{10_000, 100_000, 1_000_000, 10_000_000}, s.sizes)
	require.Equal(t, 1_000_000, parsed(t, "-quick").rows)
	require.Zero(t, s.limit)
	require.Equal(t, quickLimit, parsed(t, "-quick").limit)
	require.Equal(t, time.Minute, parsed(t, "-quick", "-limit", "1m").limit)
	require.Equal(t, 5000, parsed(t, "-quick", "-rows", "5000").rows)
}

func TestDirectories(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	t.Setenv("LocalAppData", t.TempDir())
	s := parsed(t)
	remove, err := s.directories(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	require.NoError(t, err)
	require.DirExists(t, s.out)
	require.Equal(t, "2026-01-02T03-04-05", filepath.Base(s.out))
	require.DirExists(t, s.dir)
	require.NoError(t, remove())
	require.NoDirExists(t, s.dir)

	own := t.TempDir()
	s = parsed(t, "-dir", filepath.Join(own, "tables"), "-out", filepath.Join(own, "out"))
	remove, err = s.directories(time.Now())
	require.NoError(t, err)
	require.NoError(t, remove())
	entries, err := os.ReadDir(own)
	require.NoError(t, err)
	require.Len(t, entries, 2, "what the user named stays")
}

// Every workload has a plan, and everybody in it something to do that exists.
func TestPlans(t *testing.T) {
	require.Len(t, plans, len(workloads))
	for _, args := range [][]string{nil, {"-quick"}} {
		s := parsed(t, args...)
		for _, g := range plan(s) {
			require.NotEmpty(t, g.Title)
			for _, m := range g.Measures {
				require.Contains(t, workloads, m.Work)
				require.Contains(t, works, m.Job.Work, m.Name)
				require.Contains(t, allPeers, m.Job.Peer, m.Name)
				require.Positive(t, m.Weight, m.Name)
				require.Equal(t, m.Job.Peer == peerRaw, m.Values == "", m.Name)
				require.Equal(t, m.Job.Decode || m.Job.Transform, m.Values == "decoded", m.Name)
			}
		}
	}
}

// Of one workload and one data no two have the same name: their samples would be
// mixed.
func TestMeasuresHaveNamesOfTheirOwn(t *testing.T) {
	seen := map[[3]string]bool{}
	for _, g := range plan(parsed(t)) {
		for _, m := range g.Measures {
			name := [3]string{m.Work, m.dataName(), m.Name}
			require.False(t, seen[name], name)
			seen[name] = true
		}
	}
}

func TestPlanOfSomePeersAndWorkloads(t *testing.T) {
	groups := plan(parsed(t, "-run", "bootstrap,rebuild", "-peers", "goka"))
	require.Len(t, groups, 2, "with and without zstd; goka rebuilds nothing")
	for _, g := range groups {
		require.Len(t, g.Measures, 1)
		require.Equal(t, peerGoka, g.Measures[0].Job.Peer)
	}
}

// The largest table is measured once: five rounds of it would take the time of all
// the rest.
func TestLargeTablesAreMeasuredOnce(t *testing.T) {
	largest := memoryGroup(parsed(t), rowsTopic{Rows: 10_000_000})
	su := &suite{settings: parsed(t)}
	for _, m := range largest.Measures {
		first, last := su.rounds(m)
		require.Equal(t, [2]int{1, 1}, [2]int{first, last})
		require.NotEqual(t, peerGoMap, m.Job.Peer, "it would not fit")
	}
}

func TestRounds(t *testing.T) {
	su := &suite{settings: settings{rounds: 3}}
	for _, c := range []struct {
		m           measure
		first, last int
	}{{measure{}, 0, 3}, {measure{Rounds: 2}, 0, 2}, {measure{Rounds: 9, NoWarmUp: true}, 1, 3}} {
		first, last := su.rounds(c.m)
		require.Equal(t, [2]int{c.first, c.last}, [2]int{first, last})
	}
}
