package feed

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"
)

// Read reads the topic until ctx ends, returning ctx's error, or until
// something is found that the caller must decide on: a *TopicChangedError, an
// ErrTopicAbsent, an *OutOfRangeError or a *DivergedError. With Until it
// returns nil when all partitions were read so far.
//
// deliver is called by several goroutines, but for one partition at a time;
// an error that it returns ends the session and is returned, except for a
// *LaterError. The context that it gets ends with the session.
func (c *Client) Read(ctx context.Context, plan Plan, deliver func(context.Context, *Batch) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	parts, err := plan.partitions()
	if err != nil {
		return err
	}
	clients, err := c.fetchClients()
	if err != nil {
		return err
	}
	defer closeAll(clients)
	eg, sctx := errgroup.WithContext(ctx)
	s := &session{
		cfg: &c.cfg, pace: &c.pace, maxBytes: plan.maxBytes(c.cfg.MaxBytes), asker: c, id: plan.Topic.ID, until: plan.Until, deliver: deliver,
		clients: clients, eg: eg, refresh: make(chan struct{}, 1), troubles: newTroubles(&c.cfg),
		parts: parts, workers: map[workerKey]*worker{},
	}
	eg.Go(func() error { return s.watch(sctx, plan.Topic) })
	err = eg.Wait()
	switch {
	case errors.Is(err, errAllRead):
		return nil
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return ctx.Err()
	}
	return err
}

type workerKey struct {
	client int
	leader int32
}

// A session is one call of Read: a watcher, which follows the metadata, and one
// worker for each broker and connection, which fetches.
type session struct {
	cfg      *Config
	pace     *pace
	maxBytes int32 // of the answers that are in memory at a time
	asker    *Client
	id       TopicID
	until    map[int32]int64
	deliver  func(context.Context, *Batch) error
	clients  []*kgo.Client
	eg       *errgroup.Group
	refresh  chan struct{} // someone wants the metadata looked at now
	troubles *troubles

	relocating atomic.Bool
	unpacking  unpacking

	mu       sync.Mutex
	parts    map[int32]*partition
	workers  map[workerKey]*worker
	progress uint64
}

// key says which worker a partition is for.
func (s *session) key(p *partition) workerKey {
	return workerKey{int(p.number) % len(s.clients), p.leader}
}

// allRead returns errAllRead when the session has an end and reached it.
func (s *session) allRead() error {
	if s.until == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.parts {
		if !p.done {
			return nil
		}
	}
	return errAllRead
}

// move sets a partition's position. end is the end of what can be read, if that
// is known: it may be below what was asked for.
func (s *session) move(p *partition, next int64, end *int64) {
	until, ok := s.until[p.number]
	p.next = next
	p.done = ok && (next >= until || end != nil && next >= *end)
}

// failed makes partitions wait, each for longer the more often it failed in a
// row.
func (s *session) failed(err error, parts ...*partition) {
	numbers := make([]int32, 0, len(parts))
	s.mu.Lock()
	for _, p := range parts {
		p.retryAt = time.Now().Add(backoff(p.failures))
		p.failures++
		numbers = append(numbers, p.number)
	}
	s.mu.Unlock()
	s.wantRefresh()
	s.troubles.add(err, numbers...)
}

func (s *session) wantRefresh() {
	select {
	case s.refresh <- struct{}{}:
	default:
	}
}

// sleep waits for d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
