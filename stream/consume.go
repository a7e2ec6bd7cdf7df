package stream

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// consume polls until ctx ends, and hands records to their partitions.
func (w *Worker) consume(ctx context.Context) {
	for ctx.Err() == nil {
		fetches := w.client.PollFetches(ctx)
		if ctx.Err() != nil {
			return
		}
		// Nothing may be handed on after a loss: the client has moved on to
		// where the log still holds something.
		if err := w.fetchErrors(ctx, fetches); err != nil {
			w.fail(err)
			return
		}
		var full []*partition
		fetches.EachPartition(func(f kgo.FetchTopicPartition) {
			if len(f.Records) == 0 {
				return
			}
			w.mu.Lock()
			p := w.parts[topicPartition{f.Topic, f.Partition}]
			w.mu.Unlock()
			if p != nil && p.deliver(f.Records, w.logEnd(&f.FetchPartition)) {
				full = append(full, p)
			}
		})
		// Rebalances wait until here, so that no partition is given away
		// between the poll and its queue.
		w.client.AllowRebalance()
		w.awaitRoom(ctx, full)
	}
}

// logEnd is where what can be read of a partition ended when it was fetched.
func (w *Worker) logEnd(f *kgo.FetchPartition) int64 {
	if w.cfg.uncommitted {
		return f.HighWatermark
	}
	return f.LastStableOffset
}

// fetchErrors returns the error that ends the run, if there is one.
func (w *Worker) fetchErrors(ctx context.Context, fetches kgo.Fetches) error {
	var fatal error
	fetches.EachError(func(topic string, partition int32, err error) {
		if fatal != nil {
			return
		}
		loss, isLoss := errors.AsType[*kgo.ErrDataLoss](err)
		switch {
		case isLoss:
			fatal = w.dataLoss(ctx, topic, partition, loss.ConsumedTo, err)
		case errors.Is(err, kerr.OffsetOutOfRange), errors.Is(err, kerr.UnknownTopicID):
			fatal = w.dataLoss(ctx, topic, partition, -1, err)
		case denied(err):
			fatal = fmt.Errorf("stream: consume %s: %w", topic, err)
		default:
			if topic != "" {
				err = fmt.Errorf("consume %s/%d: %w", topic, partition, err)
			}
			w.note(err)
		}
	})
	return fatal
}

// dataLoss describes a loss. What the log holds is worth one question.
func (w *Worker) dataLoss(ctx context.Context, topic string, partition int32, position int64, err error) error {
	loss := &DataLossError{Topic: topic, Partition: partition, Position: position, LogStart: -1, LogEnd: -1, Err: err}
	w.mu.Lock()
	p := w.parts[topicPartition{topic, partition}]
	w.mu.Unlock()
	if p != nil && loss.Position < 0 {
		loss.Position = p.fetchPosition()
	}
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	if starts, err := w.admin.adm.ListStartOffsets(ctx, topic); err == nil {
		if o, ok := starts.Lookup(topic, partition); ok && o.Err == nil {
			loss.LogStart = o.Offset
		}
	}
	if ends, err := w.admin.adm.ListEndOffsets(ctx, topic); err == nil {
		if o, ok := ends.Lookup(topic, partition); ok && o.Err == nil {
			loss.LogEnd = o.Offset
		}
	}
	return loss
}

// fetchPosition is the offset after the last record fetched.
func (p *partition) fetchPosition() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.queue.n > 0:
		return p.queue.last().Offset + 1
	case p.track.next.Offset >= 0:
		return p.track.next.Offset
	}
	return p.start
}

// assigned is called by the group's goroutine, before anything is fetched.
func (w *Worker) assigned(_ context.Context, _ *kgo.Client, m map[string][]int32) {
	if len(m) == 0 {
		return
	}
	<-w.ready
	w.mu.Lock()
	if w.stopping {
		w.mu.Unlock()
		return
	}
	for topic, ids := range m {
		for _, id := range ids {
			p := newPartition(w, topic, id)
			w.parts[topicPartition{topic, id}] = p
			go p.run()
		}
	}
	w.mu.Unlock()
	w.log.Info("partitions assigned", "partitions", m)
	w.hooks.assigned(m)
}

// offsetsFetched sees where partitions start. An offset below 0 stands for
// the log's start: nothing is committed.
func (w *Worker) offsetsFetched(_ context.Context, m map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for topic, offsets := range m {
		for id, o := range offsets {
			p := w.parts[topicPartition{topic, id}]
			if at := o.EpochOffset().Offset; p != nil && at >= 0 {
				p.committed.Store(at)
				p.mu.Lock()
				p.start = at
				p.mu.Unlock()
			}
		}
	}
	return m, nil
}

// revoked is called when the group wants partitions back; they are given away
// when it returns.
func (w *Worker) revoked(_ context.Context, _ *kgo.Client, m map[string][]int32) {
	ctx, cancel := context.WithTimeout(w.base, w.cfg.shutdown)
	defer cancel()
	parts := w.halted(ctx, m, true)
	if len(parts) == 0 {
		return
	}
	if err := w.commit(ctx, parts); err != nil {
		w.commitFailed(err)
	}
	w.forget(parts)
	w.log.Info("partitions revoked", "partitions", m)
	w.hooks.revoked(m, false)
}

// lost is called when partitions belong to somebody else already.
func (w *Worker) lost(_ context.Context, _ *kgo.Client, m map[string][]int32) {
	ctx, cancel := context.WithTimeout(w.base, w.cfg.shutdown)
	defer cancel()
	// Outputs are not awaited: they cannot be committed any more.
	parts := w.halted(ctx, m, false)
	if len(parts) == 0 {
		return
	}
	w.forget(parts)
	w.log.Warn("partitions lost", "partitions", m)
	w.hooks.revoked(m, true)
}

// halted ends the work on partitions that go, and awaits their outputs if asked.
// It returns those that are still to be given up.
func (w *Worker) halted(ctx context.Context, m map[string][]int32, outputs bool) []*partition {
	parts := w.partsOf(m)
	if w.isClosing() {
		w.forget(parts)
		return nil
	}
	for _, p := range parts {
		p.halt()
	}
	for _, p := range parts {
		if err := p.drain(ctx, outputs); err != nil {
			w.note(fmt.Errorf("giving %s/%d up: %w", p.topic, p.id, err))
		}
	}
	return parts
}

func (w *Worker) isClosing() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closing
}

func (w *Worker) partsOf(m map[string][]int32) []*partition {
	w.mu.Lock()
	defer w.mu.Unlock()
	var parts []*partition
	for topic, ids := range m {
		for _, id := range ids {
			if p := w.parts[topicPartition{topic, id}]; p != nil {
				parts = append(parts, p)
			}
		}
	}
	return parts
}

// forget removes partitions. The client must not remember that one is paused:
// it may be assigned again.
func (w *Worker) forget(parts []*partition) {
	for _, p := range parts {
		p.mu.Lock()
		p.queue = queue{}
		if p.paused {
			p.resume()
		}
		p.mu.Unlock()
	}
	w.mu.Lock()
	for _, p := range parts {
		delete(w.parts, topicPartition{p.topic, p.id})
	}
	w.mu.Unlock()
}
