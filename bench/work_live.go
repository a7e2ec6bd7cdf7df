package main

import (
	"context"
	"time"
)

// awaitBurst waits until every marker has the serial of a burst's end, and returns
// the time since one had that of its begin; or since the burst was asked for, if
// none was seen with that.
func awaitBurst(ctx context.Context, t table, j job) (time.Duration, error) {
	began, seen := time.Now(), false
	err := every(ctx, time.Millisecond, func() (bool, error) {
		begun, ended := 0, 0
		for _, k := range j.Markers {
			n, err := t.serial(k)
			if err != nil {
				return false, err
			}
			switch n {
			case beginSerial(j.Burst):
				begun++
			case endSerial(j.Burst):
				begun++
				ended++
			}
		}
		if !seen && begun > 0 && ended == 0 {
			began, seen = time.Now(), true
		}
		return ended == len(j.Markers), nil
	})
	return time.Since(began), err
}

// pollProbes is how often a probe is looked at.
const pollProbes = 100 * time.Microsecond

// probe waits for the updates of the probes, one after the other, and returns how
// long after it was written each was seen. Their serials are times and grow from
// probe to probe: what is not behind the one before is of an earlier turn, of an
// earlier flow, or of a row's first value.
func probe(ctx context.Context, t table, rows, samples int) (*histogram, error) {
	out, before, next := new(histogram), time.Now().UnixNano(), 0
	err := every(ctx, pollProbes, func() (bool, error) {
		for {
			n, err := t.serial(key(next))
			if err != nil {
				return false, err
			}
			written, now := int64(n), time.Now().UnixNano()
			if written <= before || written > now {
				return false, nil
			}
			before, next = written, probeRow(next+1, rows)
			if out.add(time.Duration(now - written)); out.n == samples {
				return true, nil
			}
		}
	})
	return out, err
}

// workLive fills a table, has updates flow, and measures how long each takes to
// become visible, and how many a burst applies in a second.
func workLive(ctx context.Context, c *child, j job) (sample, error) {
	t, err := fill(ctx, j)
	if err != nil {
		return nil, err
	}
	if err := c.ask(askFlow); err != nil {
		return nil, err
	}
	seen, err := probe(ctx, t, j.Rows, j.Probes)
	if err != nil {
		return nil, err
	}
	s := seen.percentiles()
	if err := c.ask(askStill); err != nil {
		return nil, err
	}
	if err := c.ask(askBurst); err != nil {
		return nil, err
	}
	took, err := awaitBurst(ctx, t, j)
	if err != nil {
		return nil, err
	}
	s["applied_per_s"] = float64(j.Updates) / took.Seconds()
	s["rss_mb"] = peakRSS()
	return s, t.close()
}
