package globaltable

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/internal/feed"
	"github.com/globaltable/enrich/internal/store"
)

const (
	retryFirst = 100 * time.Millisecond
	retryMost  = 5 * time.Second
)

// supervise reads the topic, in one session after the other, until ctx ends. A
// session ends when something is found that the rows have to be judged by anew.
func (e *engine) supervise(ctx context.Context) error {
	// The user's options come first: what the table needs overrules them.
	opts := append(slices.Clone(e.cfg.kafka), kgo.SeedBrokers(e.cfg.brokers...))
	client, err := feed.New(feed.Config{
		Topic: e.topic, Opts: opts, ReadUncommitted: e.cfg.uncommitted,
		MaxBytes: e.share.answers(), MaxPartitionBytes: e.share.fetch(), BytesPerSecond: e.cfg.fetchRate, OnTrouble: e.trouble, Logger: e.log,
	})
	if err != nil {
		return fmt.Errorf("Kafka options: %w", err)
	}
	defer client.Close()
	for failures := 0; ; {
		began := time.Now()
		err := e.session(ctx, client)
		if ctx.Err() != nil {
			// The end of ctx is no failure, whatever it tore down.
			return e.flushServed()
		}
		if fatal := fatalError(err); fatal != nil {
			return fatal
		}
		// Sessions that end at once again and again are slowed down.
		if time.Since(began) > 10*retryMost {
			failures = 0
		}
		e.trouble(err)
		if !sleep(ctx, min(retryFirst<<min(failures, 10), retryMost)) {
			return e.flushServed()
		}
		failures++
	}
}

func (e *engine) flushServed() error {
	// What was applied is made durable also in the middle of a bootstrap.
	f := e.follower.Load()
	if f == nil {
		return nil
	}
	f.noteOlder(0)
	err := errors.Join(f.applyPending(), f.gen.Flush())
	if err != nil && f.plan.beside && !f.swapped() {
		// The generation that was being built does not answer: it is gone, or
		// the next run judges it. The one that answers lacks nothing.
		e.log.Warn("rebuild was not made durable", "err", err)
		return nil
	}
	if err != nil && fatalError(err) == nil {
		// It was to be tried again. The next run reads again what was not
		// applied.
		e.log.Warn("table ends while it could not go on", "err", err)
		return nil
	}
	return err
}

// fatalError returns err if waiting does not cure it.
func fatalError(err error) error {
	if _, ok := errors.AsType[*notAdmittedError](err); ok {
		return nil
	}
	if _, ok := errors.AsType[*NotCompactedError](err); ok {
		return err
	}
	if _, ok := errors.AsType[*RowTooLargeError](err); ok {
		return err
	}
	if _, ok := errors.AsType[*BadRecordError](err); ok {
		return err
	}
	if _, ok := errors.AsType[*WriteError](err); ok {
		if _, rebuilding := errors.AsType[*rebuildError](err); rebuilding {
			return nil // the old generation goes on answering
		}
		return err
	}
	for _, denied := range []error{
		kerr.TopicAuthorizationFailed, kerr.ClusterAuthorizationFailed, kerr.SaslAuthenticationFailed,
		kerr.UnsupportedSaslMechanism, kerr.InvalidTopicException, store.ErrClosed, errInternal,
	} {
		if errors.Is(err, denied) {
			return err
		}
	}
	return nil
}

// errInternal marks what cannot happen: going on would be a guess.
var errInternal = errors.New("internal error")

// rebuildError marks errors of a generation that is built beside the one that
// answers.
type rebuildError struct{ err error }

func (e *rebuildError) Error() string { return "rebuild: " + e.err.Error() }
func (e *rebuildError) Unwrap() error { return e.err }

// session finds out what is there, decides what to do with the rows, and reads
// the topic until something changes. It never returns nil.
func (e *engine) session(ctx context.Context, client *feed.Client) error {
	topic, err := client.Describe(ctx)
	if err != nil {
		return err
	}
	cfg, err := client.TopicConfig(ctx)
	if err != nil {
		return err
	}
	if cfg.Known && !cfg.Compacted && !e.cfg.acceptUncompacted {
		return &NotCompactedError{Topic: e.topic, Policy: cfg.CleanupPolicy}
	}
	e.adoptTopicID(topic.ID)
	pl, err := e.decide(ctx, client, topic, e.retention(cfg))
	if err != nil {
		return err
	}
	f := newFollower(e, client, topic, pl, e.retention(cfg))
	f.unknown = e.unknownConfigs(cfg)
	e.follower.Store(f)
	e.announce(pl)
	err = f.run(ctx)
	if _, ok := errors.AsType[*feed.DivergedError](err); ok {
		e.diverged = pl.gen.Number()
	}
	if pl.beside {
		err = e.sessionOfRebuild(ctx, f, pl, err)
	}
	return err
}

// unknownConfigs lists the settings that the cluster does not tell.
func (e *engine) unknownConfigs(cfg feed.TopicConfig) (names []string) {
	if !cfg.Known {
		names = append(names, "cleanup.policy")
	}
	if !cfg.DeleteRetentionKnown && e.cfg.deleteRetention == 0 {
		names = append(names, "delete.retention.ms")
	}
	return names
}

// retention returns how long the topic keeps tombstones.
func (e *engine) retention(cfg feed.TopicConfig) time.Duration {
	switch {
	case e.cfg.deleteRetention > 0:
		return e.cfg.deleteRetention
	case cfg.DeleteRetentionKnown:
		return cfg.DeleteRetention
	}
	return defaultDeleteRetention
}

// defaultDeleteRetention is Kafka's default of delete.retention.ms.
const defaultDeleteRetention = 24 * time.Hour

// adoptTopicID notes which topic is there now; positions of another one are
// reached no more.
func (e *engine) adoptTopicID(id TopicID) {
	if before := e.currentTopicID(); id.Known() && before != id {
		e.topicID.Store(&id)
		e.changed.wake()
	}
}

// announce publishes what a session begins with.
func (e *engine) announce(pl plan) {
	e.tally.decided(pl)
	if pl.decision != Rebuilt {
		e.refuse(refusedRebuilding, nil)
	}
	switch pl.decision {
	case Rebuilt:
		if e.cfg.whileRebuilding == Refuse && pl.beside {
			e.refuse(refusedRebuilding, fmt.Errorf("%w: table %s is rebuilt: %s", ErrNotReady, e.topic, pl.reason))
		}
		e.setStatus(Rebuilding, pl.reason, nil)
		e.hooks.rebuild(RebuildBegun, pl.reason, nil)
	case Verified:
		e.setStatus(Verifying, pl.reason, nil)
	default:
		switch {
		case e.served() == nil:
			e.setStatus(Bootstrapping, "", nil)
		case e.isReady():
			e.setStatus(Ready, "", nil)
		default: // it answers with rows that it has not compared with the topic
			e.setStatus(Stale, "", nil)
		}
	}
	e.log.Info("table session", "decision", pl.decision, "reason", pl.reason, "generation", pl.gen.Number(), "topic_id", TopicID(pl.gen.Identity().TopicID).String())
}

// sessionOfRebuild ends a session whose generation was built beside another. If
// it cannot be written, or is damaged, it is dropped and tried again later.
func (e *engine) sessionOfRebuild(ctx context.Context, f *follower, pl plan, err error) error {
	if f.swapped() || ctx.Err() != nil {
		return err
	}
	if pl.gen.Err() == nil {
		// It is sound, and may only have been refused its place.
		return &rebuildError{err}
	}
	e.refuse(refusedRebuilding, nil)
	e.hooks.rebuild(RebuildDropped, pl.reason, err)
	e.tally.dropped()
	return &rebuildError{errors.Join(err, e.root.Discard(pl.gen))}
}
