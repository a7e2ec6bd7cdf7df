package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"
)

// batchKeys is the number of keys that are looked up at once.
const batchKeys = 1000

// lookupKeys is how many keys are made before the clock starts, for one
// goroutine; they are used again and again.
const lookupKeys = 200_000

// lookups are what one measurement looks up: a sequence of keys for each
// goroutine.
type lookups struct {
	kind string
	keys [][]string
	// present says that each key has a row.
	present bool
}

// lookupsOf makes the keys of a kind: hot is one key, zipf some far more often
// than others, uniform any, absent none that exists, batch 1,000 distinct uniform
// ones at a time.
func lookupsOf(kind string, j job, goroutines int) lookups {
	l := lookups{kind: kind, present: kind != "absent"}
	for g := range goroutines {
		rng := rand.New(rand.NewPCG(uint64(g), 11))
		z := newZipf(rng, j.Rows)
		keys := make([]string, 0, lookupKeys)
		switch kind {
		case "hot":
			keys = append(keys, key(j.Rows/2))
		case "batch":
			for len(keys) < cap(keys) {
				keys = appendDistinct(keys, rng, j.Rows)
			}
		}
		for kind != "hot" && len(keys) < cap(keys) {
			switch kind {
			case "zipf":
				keys = append(keys, key(z.next()))
			case "absent":
				keys = append(keys, absentKey(rng.IntN(j.Rows)))
			default:
				keys = append(keys, key(rng.IntN(j.Rows)))
			}
		}
		l.keys = append(l.keys, keys)
	}
	return l
}

// appendDistinct appends the keys of batchKeys different rows, or of all if they
// are fewer.
func appendDistinct(keys []string, rng *rand.Rand, rows int) []string {
	seen := make(map[int]bool, batchKeys)
	for len(seen) < min(batchKeys, rows) {
		n := rng.IntN(rows)
		if !seen[n] {
			seen[n] = true
			keys = append(keys, key(n))
		}
	}
	return keys
}

// lookUp looks up for some seconds and returns the time of a lookup in ns: the
// wall time, divided by the lookups of all goroutines.
func lookUp(t table, l lookups, seconds float64) (ns float64, err error) {
	var wg sync.WaitGroup
	counts := make([]int, len(l.keys))
	errs := make([]error, len(l.keys))
	began := time.Now()
	until := began.Add(time.Duration(seconds * float64(time.Second)))
	for g := range l.keys {
		wg.Go(func() { counts[g], errs[g] = lookUpUntil(t, l, l.keys[g], until) })
	}
	wg.Wait()
	took := time.Since(began)
	all := 0
	for _, n := range counts {
		all += n
	}
	return float64(took.Nanoseconds()) / float64(max(1, all)), errors.Join(errs...)
}

var errWrongAnswer = errors.New("a row is missing, or one is found that is not there")

func lookUpUntil(t table, l lookups, keys []string, until time.Time) (n int, err error) {
	if l.kind == "batch" {
		bt, ok := t.(batchTable)
		if !ok {
			return 0, errors.New("it has no batches")
		}
		many := bt.batches()
		for at := 0; time.Now().Before(until); at = (at + batchKeys) % len(keys) {
			batch := keys[at:min(at+batchKeys, len(keys))]
			found, err := many.getMany(batch)
			if err == nil && found != len(batch) {
				err = errWrongAnswer
			}
			if err != nil {
				return n, err
			}
			n += len(batch)
		}
		return n, nil
	}
	const chunk = 64
	for at := 0; time.Now().Before(until); n += chunk {
		for range chunk {
			found, err := t.get(keys[at])
			if err == nil && found != l.present {
				err = errWrongAnswer
			}
			if err != nil {
				return n, fmt.Errorf("key %s: %w", keys[at], err)
			}
			if at++; at == len(keys) {
				at = 0
			}
		}
	}
	return n, nil
}

// lookupFigure names the figure of a kind of lookup.
func lookupFigure(kind string, goroutines int, beside bool) string {
	name := fmt.Sprintf("%s.%d.ns", kind, goroutines)
	if beside {
		name = "live." + name
	}
	return name
}

// workLookup fills a table and looks up in it.
func workLookup(ctx context.Context, c *child, j job) (sample, error) {
	t, err := fill(ctx, j)
	if err != nil {
		return nil, err
	}
	took, err := settle(ctx, t, j.Rows < 100_000)
	if err != nil {
		return nil, err
	}
	if j.Warm {
		if err := warm(t, j.Rows); err != nil {
			return nil, err
		}
	}
	s := sample{"settle_seconds": took}
	if err := lookUpKinds(t, j, j.Kinds, false, s); err != nil {
		return nil, err
	}
	if len(j.Beside) > 0 {
		if err := c.ask(askFlow); err != nil {
			return nil, err
		}
		if err := lookUpKinds(t, j, j.Beside, true, s); err != nil {
			return nil, err
		}
		if err := c.ask(askStill); err != nil {
			return nil, err
		}
	}
	s["heap_mb"], s["rss_mb"] = goHeap(), peakRSS()
	return s, t.close()
}

// lookUpPasses is how often each measurement is made, in turn with those on other
// numbers of goroutines: the median counts.
const lookUpPasses = 3

// lookUpKinds measures each kind on each number of goroutines, after a while that
// does not count.
func lookUpKinds(t table, j job, kinds []string, beside bool, s sample) error {
	for _, kind := range kinds {
		all := make([]lookups, len(j.Goroutines))
		for i, n := range j.Goroutines {
			all[i] = lookupsOf(kind, j, n)
		}
		if _, err := lookUp(t, all[0], j.Seconds); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		taken := map[string][]float64{}
		for range lookUpPasses {
			for i, n := range j.Goroutines {
				ns, allocs, err := lookUpCounting(t, all[i], j.Seconds/lookUpPasses)
				if err != nil {
					return fmt.Errorf("%s: %w", kind, err)
				}
				name := lookupFigure(kind, n, beside)
				taken[name] = append(taken[name], ns)
				if n == 1 && !beside {
					taken[kind+".1.allocs"] = append(taken[kind+".1.allocs"], allocs)
				}
			}
		}
		for name, values := range taken {
			s[name], _ = middle(values)
		}
	}
	return nil
}

// lookUpCounting looks up and counts what is allocated for one lookup, by
// whatever goes on in the process.
func lookUpCounting(t table, l lookups, seconds float64) (ns, allocs float64, err error) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	ns, err = lookUp(t, l, seconds)
	took := time.Since(began)
	runtime.ReadMemStats(&after)
	return ns, float64(after.Mallocs-before.Mallocs) * ns / float64(took.Nanoseconds()), err
}

// warm looks every row up once.
func warm(t table, rows int) error {
	if bt, ok := t.(batchTable); ok {
		many := bt.batches()
		keys := make([]string, 0, batchKeys)
		for n := range rows {
			keys = append(keys, key(n))
			if len(keys) == batchKeys || n == rows-1 {
				if _, err := many.getMany(keys); err != nil {
					return err
				}
				keys = keys[:0]
			}
		}
		return nil
	}
	for n := range rows {
		if _, err := t.get(key(n)); err != nil {
			return err
		}
	}
	return nil
}
