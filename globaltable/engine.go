package globaltable

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/globaltable/enrich/internal/store"
)

// engine is a table without its types: keys and values are bytes.
type engine struct {
	topic string
	cfg   config
	log   *slog.Logger
	hooks hooks
	shape shaper // nil if records are kept as they are
	root  *store.Root
	share *share // of the memory budget
	// newCache makes what keeps decoded rows.
	newCache func(bytes int64) forgetter

	// view is what reads use: a generation, or why there is none.
	view atomic.Pointer[view]
	// serving is what reads use, or would if they were not refused.
	serving  atomic.Pointer[view]
	ageMu    sync.Mutex // held while the age is looked at and acted on
	viewMu   sync.Mutex // held while one of the two changes
	refusals map[refuseCause]error
	views    atomic.Uint64 // how many could answer

	statusMu sync.Mutex
	status   Status
	unproved bool // it answers with rows that it has not compared with the topic

	ready     chan struct{}
	readyOnce sync.Once

	// changed wakes who waits for a position, or for the end of the run.
	changed broadcast
	// topicID is the id that positions are of, as last seen.
	topicID atomic.Pointer[TopicID]
	// follower is what reads the topic at the moment.
	follower atomic.Pointer[follower]
	// diverged is the number of the generation that the last session found
	// to be cut off from the log; only supervise's goroutine uses it.
	diverged uint64
	spread   *spread // supervise's goroutine, and that of a session
	tally    tally
	watchers sync.WaitGroup // what goes on until close
	// discards are generations that were replaced and still have readers.
	discards sync.WaitGroup

	mu     sync.Mutex // guards what follows
	began  bool
	closed bool
	stop   context.CancelFunc // ends the run
	shrink chan struct{}      // closed when a rebuild with fewer rows is accepted; nil if none waits
	done   chan struct{}      // closed when the run has ended

	closing chan struct{} // closed when close begins
}

// view says what reads get.
type view struct {
	number uint64 // of all views of the table that can answer, from 1 on
	gen    *store.Generation
	cache  forgetter // decoded rows of gen
	err    error     // set if gen is nil
}

func newEngine(topic string, cfg config, shape shaper, newCache func(bytes int64) forgetter) *engine {
	e := &engine{
		topic: topic, cfg: cfg, hooks: cfg.hooks, shape: shape, newCache: newCache,
		log:   cfg.logger.With("table", topic),
		ready: make(chan struct{}), done: make(chan struct{}), closing: make(chan struct{}),
	}
	e.noView(fmt.Errorf("%w: table %s", ErrNotReady, topic))
	e.status.Since = time.Now()
	return e
}

// open opens the store.
func (e *engine) open() (err error) {
	e.share = e.cfg.budget.join(e.resize)
	if e.root, err = openRoot(e.topic, &e.cfg, e.share); err != nil {
		e.share.leave()
	}
	return err
}

// run is Table.Run.
func (e *engine) run(ctx context.Context) error {
	e.mu.Lock()
	switch {
	case e.closed:
		e.mu.Unlock()
		return ErrClosed
	case e.began:
		e.mu.Unlock()
		return ErrRunTwice
	}
	e.began = true
	ctx, e.stop = context.WithCancel(ctx)
	e.mu.Unlock()
	defer func() {
		e.stop()
		close(e.done)
		e.changed.wake()
	}()

	e.serveStale(time.Now())
	e.watchers.Go(e.watchAge) // also when the run has ended: it goes on answering
	err := e.supervise(ctx)
	e.mu.Lock()
	closed := e.closed
	e.mu.Unlock()
	switch {
	case err == nil && closed:
		return ErrClosed
	case err == nil:
		e.refuse(refusedRebuilding, nil)
		e.setStatus(Stopped, "", nil)
		return nil
	}
	err = fmt.Errorf("globaltable: table %s: %w", e.topic, err)
	e.noView(&RunError{Topic: e.topic, Err: err})
	e.setStatus(Failed, "", err)
	return err
}

func (e *engine) close() error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil
	}
	e.closed = true
	close(e.closing)
	began := e.began
	if began {
		e.stop()
	}
	e.mu.Unlock()
	if began {
		<-e.done
	}
	e.watchers.Wait()
	e.noView(ErrClosed)
	e.setStatus(Closed, "", nil)
	e.changed.wake()
	e.discards.Wait()
	defer e.share.leave()
	if err := e.root.Close(); err != nil {
		return fmt.Errorf("globaltable: table %s: close: %w", e.topic, err)
	}
	return nil
}

// serve makes gen the one that answers.
func (e *engine) serve(gen *store.Generation) {
	cache := e.newCache(e.share.decoded())
	gen.OnChange(cache.forget)
	e.setView(&view{number: e.views.Add(1), gen: gen, cache: cache})
	e.resize() // a table that has joined the budget meanwhile resized the last one's
	e.changed.wake()
}

// resize gives the decoded rows their share of the budget.
func (e *engine) resize() {
	if cache := e.serving.Load().cache; cache != nil {
		cache.resize(e.share.decoded())
	}
}

// served returns the generation that answers, or would if reads were not refused;
// nil if there is none.
func (e *engine) served() *store.Generation { return e.serving.Load().gen }

// markReady closes the ready channel, the first time.
func (e *engine) markReady(d Decision, r Reason) {
	e.readyOnce.Do(func() {
		close(e.ready)
		e.hooks.ready(d, r)
	})
}

// onView calls fn with the generation that answers. If that is swapped away
// while fn begins, fn is called again with the next one.
func (e *engine) onView(fn func(*view) error) error {
	for {
		v := e.view.Load()
		if v.gen == nil {
			return v.err
		}
		err := fn(v)
		if err == nil {
			return nil
		}
		if !errors.Is(err, store.ErrClosed) {
			return fmt.Errorf("globaltable: table %s: %w", e.topic, err)
		}
		if e.view.Load() == v {
			return ErrClosed
		}
	}
}
