package main

import (
	"context"
	"time"
)

// memoryKeys is how many keys are looked up where memory is measured: few, since
// they take some themselves.
const memoryKeys = 100_000

// workFill fills a table: from nothing, or from what an earlier process left in
// the directory. The figures are taken before the rows are counted.
func workFill(ctx context.Context, _ *child, j job) (sample, error) {
	began := time.Now()
	t, err := fill(ctx, j)
	if err != nil {
		return nil, err
	}
	took := time.Since(began).Seconds()
	s := sample{"seconds": took, "rows_per_s": float64(j.Rows) / took, "heap_mb": goHeap()}
	if t != nil {
		s["disk_ready_mb"] = diskUsed(j.Dir)
		if j.Seconds > 0 {
			// What lookups do to the memory belongs to its peak.
			if _, err := lookUp(t, lookupsOf("uniform", j.Rows, memoryKeys), 1, j.Seconds); err != nil {
				return nil, err
			}
		}
		s["rss_mb"] = peakRSS()
		if j.Count {
			if err := checkRows(t, j); err != nil {
				return nil, err
			}
		}
		if err := t.close(); err != nil {
			return nil, err
		}
		s["disk_mb"] = diskUsed(j.Dir)
	} else {
		s["rss_mb"] = peakRSS()
	}
	return s, nil
}

// workKill fills a table, waits for a burst of updates, and asks to be killed.
func workKill(ctx context.Context, c *child, j job) (sample, error) {
	t, err := fill(ctx, j)
	if err != nil {
		return nil, err
	}
	if err := c.ask(askBurst); err != nil {
		return nil, err
	}
	if _, err := awaitBurst(ctx, t, j); err != nil {
		return nil, err
	}
	return nil, c.ask(askKill)
}
