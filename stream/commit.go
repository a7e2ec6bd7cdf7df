package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// errBeforeCommit marks an error of the user's function.
type errBeforeCommit struct{ err error }

func (e *errBeforeCommit) Error() string { return fmt.Sprintf("stream: before commit: %v", e.err) }
func (e *errBeforeCommit) Unwrap() error { return e.err }

// commitLoop commits at intervals until ctx ends.
func (w *Worker) commitLoop(ctx context.Context) {
	tick := time.NewTicker(w.cfg.interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if err := w.commit(ctx, w.allParts()); err != nil && ctx.Err() == nil {
			w.commitFailed(err)
		}
	}
}

// commitFailed ends the run for errors that another attempt does not cure.
func (w *Worker) commitFailed(err error) {
	if fatalCommit(err) {
		w.fail(err)
		return
	}
	w.note(err)
}

func fatalCommit(err error) bool {
	_, before := errors.AsType[*errBeforeCommit](err)
	return before || denied(err)
}

// commit commits what may be committed of some partitions, if there is
// anything new. Partitions that are not among them are not touched.
func (w *Worker) commit(ctx context.Context, parts []*partition) error {
	w.commitMu.Lock()
	defer w.commitMu.Unlock()
	if w.noCommit {
		return nil
	}
	offsets := make(map[string]map[int32]kgo.EpochOffset)
	byPlace := make(map[topicPartition]*partition)
	var list []Offset
	for _, p := range parts {
		to := p.frontier()
		if to.Offset < 0 || to.Offset <= p.committed.Load() {
			continue
		}
		if offsets[p.topic] == nil {
			offsets[p.topic] = make(map[int32]kgo.EpochOffset)
		}
		offsets[p.topic][p.id] = to
		byPlace[topicPartition{p.topic, p.id}] = p
		list = append(list, Offset{p.topic, p.id, to.Offset})
	}
	if len(list) == 0 {
		return nil
	}
	slices.SortFunc(list, func(a, b Offset) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	err := w.commitOffsets(ctx, offsets, byPlace)
	if err == nil {
		w.count.commits.Add(1)
	} else if fatalCommit(err) {
		w.noCommit = true
	}
	w.hooks.commit(list, err)
	return err
}

func (w *Worker) commitOffsets(ctx context.Context, offsets map[string]map[int32]kgo.EpochOffset, byPlace map[topicPartition]*partition) error {
	if before := w.cfg.beforeCommit; before != nil {
		if err := guard("BeforeCommit", func() error { return before(ctx) }); err != nil {
			return &errBeforeCommit{err}
		}
	}
	var errs []error
	w.client.CommitOffsetsSync(ctx, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("stream: commit: %w", err))
			return
		}
		for _, t := range resp.Topics {
			for _, r := range t.Partitions {
				p := byPlace[topicPartition{t.Topic, r.Partition}]
				if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
					errs = append(errs, fmt.Errorf("stream: commit %s/%d: %w", t.Topic, r.Partition, err))
				} else if p != nil {
					p.committed.Store(offsets[t.Topic][r.Partition].Offset)
				}
			}
		}
	})
	return errors.Join(errs...)
}

// gone reports errors of a member that is not part of its group any more: it
// can never commit again what it holds.
func gone(err error) bool {
	return errors.Is(err, kerr.UnknownMemberID) || errors.Is(err, kerr.IllegalGeneration) || errors.Is(err, kerr.StaleMemberEpoch)
}

// lastCommit commits at the end, with patience for what passes.
func (w *Worker) lastCommit(ctx context.Context, parts []*partition) error {
	var why error
	for {
		err := w.commit(ctx, parts)
		if err == nil || fatalCommit(err) || gone(err) {
			return err
		}
		// The end of ctx in the middle of an attempt says nothing of what the
		// brokers refused before.
		if why == nil || ctx.Err() == nil {
			why = err
		}
		w.note(err)
		if !sleep(ctx, backoffFirst) {
			return fmt.Errorf("%w: %w", ErrShutdownTimeout, why)
		}
	}
}
