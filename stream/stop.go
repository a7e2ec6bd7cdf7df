package stream

import (
	"context"
	"errors"
)

// stopBeginning has no partition begin anything more, and takes no more
// partitions.
func (w *Worker) stopBeginning() {
	w.mu.Lock()
	w.stopping = true
	w.mu.Unlock()
	for _, p := range w.allParts() {
		p.halt()
	}
}

// shutdown finishes what has begun, commits, leaves the group and closes the
// client. The poll loop has ended, and nothing begins any more.
func (w *Worker) shutdown() error {
	ctx, cancel := context.WithTimeout(w.base, w.cfg.shutdown)
	defer cancel()
	parts := w.allParts()
	var errs []error
	for _, p := range parts {
		if err := p.drain(ctx, true); err != nil {
			errs = append(errs, err)
		}
	}
	if err := w.lastCommit(ctx, parts); err != nil {
		errs = append(errs, err)
	}
	stats := partitionStats(parts)
	w.mu.Lock()
	w.lastParts = stats
	w.closing = true
	w.mu.Unlock()

	w.client.AllowRebalance()
	// Leaving on our own context bounds it; Close alone would try for as long
	// as brokers are away.
	if err := w.client.LeaveGroupContext(ctx); err != nil && ctx.Err() == nil {
		w.note(err)
	}
	w.client.CloseAllowingRebalance()
	return errors.Join(errs...)
}
