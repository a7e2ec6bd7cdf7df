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

// lookupKeys is how many keys are made before the clock starts: so many that they
// come again only after far more than a small cache holds.
const lookupKeys = 1_000_000

// lookups are what one measurement looks up: a sequence of keys, in which each
// goroutine begins anywhere.
type lookups struct {
	kind string
	keys []string
	// present says that each key has a row.
	present bool
}

// lookupsOf makes n keys of a kind: hot is one key, zipf some far more often than
// others, uniform any, absent none that exists, batch 1,000 distinct uniform ones
// at a time.
func lookupsOf(kind string, rows, n int) lookups {
	l := lookups{kind: kind, present: kind != "absent"}
	if kind == "hot" {
		l.keys = []string{key(rows / 2)}
		return l
	}
	rng := rand.New(rand.NewPCG(10, 11))
	z := newZipf(rng, rows)
	l.keys = make([]string, 0, n)
	for len(l.keys) < n {
		switch kind {
		case "batch":
			l.keys = appendDistinct(l.keys, rng, rows)
		case "zipf":
			l.keys = append(l.keys, key(z.next()))
		case "absent":
			l.keys = append(l.keys, absentKey(rng.IntN(rows)))
		default:
			l.keys = append(l.keys, key(rng.IntN(rows)))
		}
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

// lookUp looks up on some goroutines for some seconds and returns the time of a
// lookup in ns: the wall time, divided by the lookups of all.
func lookUp(t table, l lookups, goroutines int, seconds float64) (ns float64, err error) {
	var wg sync.WaitGroup
	counts := make([]int, goroutines)
	errs := make([]error, goroutines)
	began := time.Now()
	until := began.Add(time.Duration(seconds * float64(time.Second)))
	for g := range goroutines {
		at := rand.IntN(len(l.keys)) / batchKeys * batchKeys
		wg.Go(func() { counts[g], errs[g] = lookUpUntil(t, l, at, until) })
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

func lookUpUntil(t table, l lookups, at int, until time.Time) (n int, err error) {
	keys := l.keys
	if l.kind == "batch" {
		bt, ok := t.(batchTable)
		if !ok {
			return 0, errors.New("it has no batches")
		}
		many := bt.batches()
		for ; time.Now().Before(until); at = (at + batchKeys) % len(keys) {
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
	for ; time.Now().Before(until); n += chunk {
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
		keys := lookupsOf(kind, j.Rows, lookupKeys)
		if _, err := lookUp(t, keys, j.Goroutines[0], j.Seconds); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		taken := map[string][]float64{}
		for range lookUpPasses {
			for _, n := range j.Goroutines {
				ns, allocs, err := lookUpCounting(t, keys, n, j.Seconds/lookUpPasses)
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
func lookUpCounting(t table, l lookups, goroutines int, seconds float64) (ns, allocs float64, err error) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	ns, err = lookUp(t, l, goroutines, seconds)
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
