package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// settings are the flags, and what follows from them.
type settings struct {
	brokers string
	fake    bool
	run     []string
	peers   []string
	quick   bool
	truth   bool
	rounds  int
	// limit is after how long no second round of anything begins any more; 0
	// does not limit.
	limit   time.Duration
	rows    int
	seconds float64
	out     string
	dir     string
	// sizes are the numbers of rows of the workload memory.
	sizes []int
	// updates is the size of a burst, probes the number of updates that are
	// timed.
	updates, probes int
}

// workloads are what can be selected, in the order in which they run. Those that
// write updates come after those that only read.
var workloads = []string{"bootstrap", "lookup", "join", "memory", "restart", "live", "rebuild", "register"}

var allPeers = []string{peerRaw, peerEnrich, peerPebble, peerGoMap, peerGoka, peerKStreams}

// quickLimit is the limit of a quick run: it has to end within two minutes.
const quickLimit = 70 * time.Second

// errUsage says that the flags are wrong; what is wrong was printed.
var errUsage = errors.New("usage")

func parse(args []string, stderr io.Writer) (settings, error) {
	var s settings
	var run, peers string
	var small bool
	fl := flag.NewFlagSet("bench", flag.ContinueOnError)
	fl.SetOutput(stderr)
	fl.StringVar(&s.brokers, "brokers", "", "addresses of a running Kafka, separated by commas; by default one is started")
	fl.BoolVar(&s.fake, "fake", false, "use the fake broker, in a process of its own")
	fl.StringVar(&run, "run", strings.Join(workloads, ","), "the workloads, separated by commas")
	fl.StringVar(&peers, "peers", strings.Join(allPeers, ","), "who is measured")
	fl.BoolVar(&s.quick, "quick", false, "the key figures only, in less than two minutes, one on each line")
	fl.BoolVar(&s.truth, "truth", false, "play histories in which replicas go wrong, and print what each peer holds; nothing is measured")
	fl.IntVar(&s.rounds, "rounds", 5, "rounds that count, where a workload has no fewer of its own; one more warms up")
	fl.DurationVar(&s.limit, "limit", 0, "after how long everything is measured in one round only; by default never, and 70s for -quick")
	fl.IntVar(&s.rows, "rows", 2_000_000, "rows of the table, and readings of the stream")
	fl.BoolVar(&small, "small", false, "as little of everything as makes sense: to see that it works")
	fl.StringVar(&s.out, "out", "", "a directory for the results; by default a new one in the user's cache directory")
	fl.StringVar(&s.dir, "dir", "", "where the tables are kept while they are measured; by default a temporary directory")
	if err := fl.Parse(args); err != nil {
		return s, errUsage
	}
	rowsGiven := false
	fl.Visit(func(f *flag.Flag) { rowsGiven = rowsGiven || f.Name == "rows" })
	s.seconds, s.sizes, s.updates, s.probes = 0.3, []int{10_000, 100_000, 1_000_000, 10_000_000}, 1_000_000, 10_000
	if small {
		s.seconds, s.sizes, s.updates, s.probes = 0.02, []int{1000, 2000}, 1000, 100
	}
	if s.quick && !rowsGiven {
		s.rows = 1_000_000
	}
	if s.quick && s.limit == 0 {
		s.limit = quickLimit
	}
	s.run, s.peers = strings.Split(run, ","), strings.Split(peers, ",")
	if err := s.check(fl.Args()); err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return s, errUsage
	}
	return s, nil
}

func (s *settings) check(rest []string) error {
	if len(rest) > 0 {
		return fmt.Errorf("unexpected arguments %q", strings.Join(rest, " "))
	}
	// Rows below probeRows would make probes of markers and of each other.
	if s.rows < probeRows || s.rounds < 1 {
		return fmt.Errorf("-rows is at least %d and -rounds at least 1", probeRows)
	}
	for _, w := range s.run {
		if !slices.Contains(workloads, w) {
			return fmt.Errorf("there is no workload %q; there are %s", w, strings.Join(workloads, ", "))
		}
	}
	for _, p := range s.peers {
		if !slices.Contains(allPeers, p) {
			return fmt.Errorf("there is no peer %q; there are %s", p, strings.Join(allPeers, ", "))
		}
	}
	return nil
}

// directories makes the directory of the results and that of the tables, and
// returns what removes the latter.
func (s *settings) directories(now time.Time) (remove func() error, err error) {
	if s.out == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("no directory for the results, give one by -out: %w", err)
		}
		s.out = filepath.Join(cache, "enrich", "bench", now.Format("2006-01-02T15-04-05"))
	}
	if err := os.MkdirAll(s.out, 0o750); err != nil {
		return nil, err
	}
	if s.dir != "" {
		return func() error { return nil }, os.MkdirAll(s.dir, 0o750)
	}
	if s.dir, err = os.MkdirTemp("", "enrich-bench-*"); err != nil {
		return nil, err
	}
	return func() error { return os.RemoveAll(s.dir) }, nil
}
