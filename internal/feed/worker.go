package feed

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// A worker reads the partitions that one broker leads over one connection.
type worker struct {
	s    *session
	key  workerKey
	wake chan struct{}
	// records are those of the batch that is being delivered.
	records recordMemory

	// Guarded by the session's mutex: what is being read, and how to stop
	// waiting for the broker's answer.
	taken     []*partition
	interrupt context.CancelFunc
}

func (w *worker) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *worker) run(ctx context.Context) error {
	for {
		rctx, cancel := context.WithCancel(ctx)
		parts, wait := w.take(time.Now(), cancel)
		if len(parts) == 0 {
			cancel()
			if err := w.idle(ctx, wait); err != nil {
				return err
			}
			continue
		}
		err := w.read(ctx, rctx, parts)
		cancel()
		w.giveBack()
		if err != nil {
			return err
		}
		if err := w.s.allRead(); err != nil {
			return err
		}
	}
}

// idle waits for as long as take said, or for a signal.
func (w *worker) idle(ctx context.Context, wait time.Duration) error {
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-w.wake:
	case <-t.C:
	}
	return nil
}

// take takes the partitions that are the worker's to read now, the one that has
// waited longest first: an answer may be full before it comes to the last. If
// there are none it says how long to wait.
func (w *worker) take(now time.Time, interrupt context.CancelFunc) (parts []*partition, wait time.Duration) {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	wait = time.Hour
	for _, p := range w.s.parts {
		if w.s.key(p) != w.key || p.taken || p.done {
			continue
		}
		if d := p.retryAt.Sub(now); d > 0 {
			wait = min(wait, d)
			continue
		}
		p.taken, p.askedAs = true, p.leaderEpoch
		parts = append(parts, p)
	}
	slices.SortFunc(parts, func(a, b *partition) int {
		return cmp.Or(cmp.Compare(a.served, b.served), cmp.Compare(a.number, b.number))
	})
	w.taken, w.interrupt = parts, interrupt
	return parts, wait
}

// giveBack ends what take began.
func (w *worker) giveBack() {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	for _, p := range w.taken {
		p.taken = false
		if k := w.s.key(p); k != w.key {
			if o := w.s.workers[k]; o != nil {
				o.signal()
			}
		}
	}
	w.taken = nil
}
