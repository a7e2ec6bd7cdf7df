package globaltable_test

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/globaltable/enrich/globaltable"
	"github.com/globaltable/enrich/internal/kafkatest"
)

var (
	historyN       = flag.Int("history.n", 0, "how many histories TestMetamorphicHistories plays; 0 for the default")
	historySeed    = flag.Uint64("history.seed", 0, "the seed of the only history to play")
	historyKafka   = flag.Int("history.kafka", 5, "how many histories TestMetamorphicHistoriesOnKafka plays")
	historyWorkers = flag.Int("history.workers", 4, "how many histories are played at a time")
)

// Random histories of a topic, read by a table under random settings, through
// restarts and crashes: whatever way they came about, the rows are the fold of
// what was produced, and readings that are joined with the table find these rows.
// A history that fails is printed, and its seed plays it again:
//
//	go test ./globaltable -run 'TestMetamorphicHistories$' -history.seed=N
//
// and this many take half an hour:
//
//	go test ./globaltable -run 'TestMetamorphicHistories$' -history.n=10000 -timeout 2h
func TestMetamorphicHistories(t *testing.T) {
	seen := &sightings{n: map[string]int{}}
	if *historySeed != 0 {
		s := newStory(*historySeed)
		t.Log(s.show(-1))
		play(t, s, seen)
		t.Log(seen)
		return
	}
	n := *historyN
	if n == 0 {
		n = 300
		if testing.Short() || globaltable.RaceEnabled {
			n = 120
		}
	}
	began := time.Now()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range *historyWorkers {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(n) && !t.Failed(); i = next.Add(1) {
				seed := rand.Uint64()
				t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { play(t, newStory(seed), seen) })
			}
		})
	}
	wg.Wait()
	// Without -v, which would list all seeds.
	fmt.Printf("%d histories in %v: %s\n", n, time.Since(began).Round(time.Millisecond), seen)
	for _, what := range []string{
		"cancels", "closes", "crashes", "bulk loads", "transactions committed", "transactions aborted", "transactions left open",
		"partitions added while running", "recreations while running", "recreations while down", "compactions", "deleted beginnings",
		"leaders moved", "verifications", "rows deleted by verifications", "rebuilds", "joined readings",
	} {
		if seen.of(what) == 0 && !t.Failed() {
			t.Errorf("no %s in %d histories", what, n)
		}
	}
}

// Some of them on a real Kafka, which compacts when it likes and does not crash.
func TestMetamorphicHistoriesOnKafka(t *testing.T) {
	b := kafkatest.Real(t)
	seen := &sightings{n: map[string]int{}}
	seeds := []uint64{*historySeed}
	if *historySeed == 0 {
		seeds = nil
		for range *historyKafka {
			seeds = append(seeds, rand.Uint64())
		}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { playOn(t, b, newStory(seed), seen) })
	}
	t.Log(seen)
}

// sightings counts what happened in all histories.
type sightings struct {
	mu sync.Mutex
	n  map[string]int
}

func (s *sightings) add(what string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n[what] += n
}

func (s *sightings) of(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n[what]
}

func (s *sightings) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out string
	for i, what := range slices.Sorted(maps.Keys(s.n)) {
		if i > 0 {
			out += ", "
		}
		out += fmt.Sprintf("%d %s", s.n[what], what)
	}
	return out
}
