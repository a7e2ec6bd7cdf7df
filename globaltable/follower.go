package globaltable

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/globaltable/enrich/internal/feed"
	"github.com/globaltable/enrich/internal/store"
)

// follower writes what one session reads to one generation.
type follower struct {
	e         *engine
	client    *feed.Client
	topic     *feed.Topic
	gen       *store.Generation
	plan      plan
	retention time.Duration
	unknown   []string    // what the cluster does not tell of the topic
	swap      atomic.Bool // the generation has taken the place of the current one

	verifyWanted chan struct{} // the rows have to be verified
	accepted     bool          // that the new rows are far fewer; conduct's only

	mu        sync.Mutex   // guards what follows; held while a batch is filled or applied
	batch     *store.Batch // what is collected; one of the two is nil
	bulk      *store.Bulk
	submitted time.Time    // when the bulk load last took a chunk
	next      *store.State // where what is collected leads to; a copy of its own
	changed   bool         // next differs from what was applied, beyond times
	broken    error        // something could not be applied
	spread    *spread      // keys in two partitions
	headers   []byte       // memory for those of one record
	pass      time.Time    // when the verification that goes on began; zero without one
	again     bool         // the tail fell too far behind while it went on

	endsMu  sync.Mutex // guards what follows; taken after mu
	ends    map[int32]end
	targets *targets // what has to be reached to be ready
	checks  *targets // what has to be reached to end a verification
}

// end is the end of a partition as last seen.
type end struct {
	offset int64
	seen   time.Time // when the position was last known to be the end
}

func newFollower(e *engine, client *feed.Client, topic *feed.Topic, pl plan, retention time.Duration) *follower {
	f := &follower{
		e: e, client: client, topic: topic, gen: pl.gen, plan: pl, retention: retention,
		verifyWanted: make(chan struct{}, 1),
		next:         pl.state, spread: e.spreadOf(topic.ID), ends: map[int32]end{}, targets: newTargets(topic, time.Time{}),
	}
	return f
}

func (f *follower) swapped() bool { return f.swap.Load() }

// run reads until ctx ends or the session does. It does not return nil.
func (f *follower) run(ctx context.Context) error {
	if err := f.adoptState(); err != nil {
		return err
	}
	read := feed.Plan{Topic: f.topic, Starts: startsOf(f.gen.State()), MaxBytes: f.share().answers()}
	eg, ctx := errgroup.WithContext(ctx)
	eg.Go(func() error { return f.client.Read(ctx, read, f.deliver) })
	eg.Go(func() error { return f.conduct(ctx) })
	eg.Go(func() error { return f.flushLoop(ctx) })
	eg.Go(func() error {
		select {
		case <-f.gen.Failed():
			return f.gen.Err()
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	err := eg.Wait()
	if stop := f.stopWriting(); stop != nil && !errors.Is(err, stop) {
		err = errors.Join(err, stop)
	}
	return err
}

// adoptState stores what was decided of the state before anything is read.
func (f *follower) adoptState() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.next.PendingVerify == "" {
		return nil
	}
	f.changed = true
	return f.apply()
}

func startsOf(s *store.State) []feed.Start {
	var starts []feed.Start
	for p, at := range s.Partitions {
		if at.Known {
			starts = append(starts, feed.Start{Partition: int32(p), Offset: at.Next, Epoch: at.Epoch})
		}
	}
	return starts
}

// conduct does what follows from how far the reading is, one thing at a time.
func (f *follower) conduct(ctx context.Context) error {
	select {
	case <-f.targets.reached:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := f.verifyIfPending(ctx); err != nil {
		return err
	}
	switch {
	case f.plan.beside:
		if err := f.promote(ctx); err != nil {
			return err
		}
	case f.plan.decision == Rebuilt:
		// The one whose place it takes could not be opened.
		f.e.tally.swapped()
		f.e.hooks.rebuild(RebuildSwapped, f.plan.reason, nil)
	}
	if f.e.served() != f.gen {
		f.e.serve(f.gen)
	}
	f.e.checkAge() // it is at the end, and may have been refused until now
	f.e.setStatus(Ready, "", nil)
	f.e.markReady(f.plan.decision, f.plan.reason)
	f.e.changed.wake()
	if err := errors.Join(f.gen.Flush(), f.e.root.MarkWhole(f.gen)); err != nil {
		return err
	}
	for {
		select {
		case <-f.verifyWanted:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := f.verifyIfPending(ctx); err != nil {
			return err
		}
		f.e.setStatus(Ready, "", nil)
	}
}

// promote makes the generation that was built the one that answers.
func (f *follower) promote(ctx context.Context) error {
	old := f.e.served()
	if err := f.notBehind(ctx, old); err != nil {
		return err
	}
	before, err := f.e.root.Current()
	if err != nil && !errors.Is(err, store.ErrCorrupt) {
		return err
	}
	for pending := true; pending; pending = f.pendingReason() != "" {
		// What waited for long may have missed deletions meanwhile.
		if err := f.verifyIfPending(ctx); err != nil {
			return err
		}
		if err := f.guardShrink(ctx, before); err != nil {
			return err
		}
	}
	if err := f.e.root.Promote(f.gen); err != nil {
		return err
	}
	f.swap.Store(true)
	f.e.serve(f.gen)
	f.e.refuse(refusedRebuilding, nil)
	f.e.tally.swapped()
	f.e.hooks.rebuild(RebuildSwapped, f.plan.reason, nil)
	if before == nil {
		return nil
	}
	// Its readers finish first, and take their time; the next ones go to the new
	// generation.
	f.e.discards.Go(func() {
		if err := f.e.root.Discard(before); err != nil {
			f.e.log.Warn("the old generation was not discarded", "err", err)
		}
	})
	return nil
}

// notBehind waits until the new generation is at least where the old one is, if
// both are of one log.
func (f *follower) notBehind(ctx context.Context, old *store.Generation) error {
	if old == nil || old.Identity().TopicID != f.gen.Identity().TopicID {
		return nil
	}
	switch f.plan.reason {
	case LogTruncated, ClusterChanged:
		return nil
	}
	for {
		changed := f.e.changed.wait()
		behind := false
		for p, at := range old.State().Partitions {
			behind = behind || at.Known && f.gen.State().Get(int32(p)).Next < at.Next
		}
		if !behind {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// flushLoop makes rows and positions durable from time to time.
func (f *follower) flushLoop(ctx context.Context) error {
	tick := time.NewTicker(f.e.cfg.flushInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		f.noteTime()
		if err := errors.Join(f.applySoon(), f.gen.Flush()); err != nil {
			return err
		}
	}
}

// idleShare is which part of the retention of tombstones the stored time at the
// end may be old, when nothing else is written.
const idleShare = 20

// noteTime marks the state as changed when the stored times at the end have
// become old while nothing happened.
func (f *follower) noteTime() {
	old := f.retention
	for _, d := range []time.Duration{f.e.cfg.allowStale, f.e.cfg.maxStaleness} {
		if d > 0 {
			old = min(old, d)
		}
	}
	f.noteOlder(old / idleShare)
}

// noteOlder marks the state as changed if a stored time is older than that.
func (f *follower) noteOlder(old time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	stored := f.gen.State()
	for p := range f.next.Partitions {
		if f.next.Partitions[p].AtEnd.Sub(stored.Get(int32(p)).AtEnd) > old {
			f.changed = true
		}
	}
}
