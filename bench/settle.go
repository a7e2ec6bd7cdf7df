package main

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// settling tells when a store has stopped to rearrange its files: lookups and
// joins are measured after that, and how long it takes is a figure of its own.
type settling struct {
	active  atomic.Int64
	changes atomic.Int64
}

func (s *settling) listener() *pebble.EventListener {
	return &pebble.EventListener{
		CompactionBegin: func(pebble.CompactionInfo) { s.active.Add(1); s.changes.Add(1) },
		CompactionEnd:   func(pebble.CompactionInfo) { s.active.Add(-1); s.changes.Add(1) },
	}
}

const (
	// quietFor is how long nothing happens in a store that has settled.
	quietFor = 300 * time.Millisecond
	// settleLimit bounds the wait.
	settleLimit = 30 * time.Second
	// peerSettles is how long peers that do not tell get.
	peerSettles = 3 * time.Second
)

func (s *settling) wait(ctx context.Context) error {
	began, seen, since := time.Now(), int64(-1), time.Now()
	return every(ctx, 10*time.Millisecond, func() (bool, error) {
		if n := s.changes.Load(); n != seen || s.active.Load() > 0 {
			seen, since = n, time.Now()
		}
		return time.Since(since) > quietFor || time.Since(began) > settleLimit, nil
	})
}

// A settler is a table that tells when it has settled.
type settler interface {
	settle(ctx context.Context) error
}

// settle waits until a table has settled, and returns the seconds that it took.
func settle(ctx context.Context, t table, small bool) (float64, error) {
	began := time.Now()
	if s, ok := t.(settler); ok {
		err := s.settle(ctx)
		return time.Since(began).Seconds(), err
	}
	if _, ok := t.(goMap); ok || small {
		return 0, nil
	}
	timer := time.NewTimer(peerSettles)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return time.Since(began).Seconds(), ctx.Err()
}
