package feed

import (
	"log/slog"
	"sync"
	"time"
)

// watcher is the troubled one, in place of a partition's number, when the
// metadata cannot be had.
const watcher int32 = -1

// troubles holds what each partition of a session waits for, and tells of each
// failure and of the end of all trouble.
type troubles struct {
	tell func(error)
	log  *slog.Logger

	mu   sync.Mutex
	open map[int32]error
}

func newTroubles(cfg *Config) *troubles {
	return &troubles{tell: cfg.OnTrouble, log: cfg.Logger.With("topic", cfg.Topic), open: map[int32]error{}}
}

func (t *troubles) add(err error, who ...int32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range who {
		t.open[p] = err
	}
	t.log.Warn("feed: waiting", "err", err)
	t.tell(err)
}

func (t *troubles) clear(who int32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, had := t.open[who]; !had {
		return
	}
	delete(t.open, who)
	if len(t.open) == 0 {
		t.log.Info("feed: going on")
		t.tell(nil)
	}
}

// backoff returns how long to wait after n failures before: 100 ms, doubled
// each time, at most 2 s.
func backoff(n int) time.Duration {
	return min(100*time.Millisecond<<min(n, 10), 2*time.Second)
}
