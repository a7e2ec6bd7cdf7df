package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// endWatch is what a batch job has to reach.
type endWatch struct {
	starts, ends map[topicPartition]int64
	idleAt       map[topicPartition]int64 // position at which a partition was idle when last looked at
}

// endTick is how often a batch job looks whether it is done. It costs requests
// only when it seems to be.
const endTick = 100 * time.Millisecond

// readEnds reads where the source topics start and end.
func (w *Worker) readEnds(ctx context.Context) (*endWatch, error) {
	e := &endWatch{idleAt: make(map[topicPartition]int64)}
	read := w.admin.adm.ListCommittedOffsets
	if w.cfg.uncommitted {
		read = w.admin.adm.ListEndOffsets
	}
	err := w.ask(ctx, func(ctx context.Context) (err error) {
		if e.starts, err = listed(w.admin.adm.ListStartOffsets(ctx, w.sink.plan.sources...)); err != nil {
			return err
		}
		e.ends, err = listed(read(ctx, w.sink.plan.sources...))
		return err
	})
	return e, err
}

func listed(offsets kadm.ListedOffsets, err error) (map[topicPartition]int64, error) {
	if err == nil {
		err = offsets.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("stream: read where the source ends: %w", err)
	}
	m := make(map[topicPartition]int64)
	offsets.Each(func(o kadm.ListedOffset) { m[topicPartition{o.Topic, o.Partition}] = o.Offset })
	return m, nil
}

// watchEnd stops the run when the group has committed everything below the
// ends.
func (w *Worker) watchEnd(ctx context.Context, e *endWatch) {
	for at, end := range e.ends {
		if e.starts[at] >= end {
			delete(e.ends, at) // empty
		}
	}
	var asked time.Time
	for {
		missing := false // in a partition of this worker
		for at, end := range e.ends {
			if !w.reached(ctx, e, at, end) {
				missing = true
			}
		}
		if len(e.ends) == 0 {
			w.halt(errAtEnd)
			return
		}
		// What is left belongs to other workers, or has to be committed.
		if !missing && time.Since(asked) >= w.cfg.interval {
			asked = time.Now()
			if err := w.commit(ctx, w.allParts()); err != nil && ctx.Err() == nil {
				w.commitFailed(err)
			}
			w.askGroup(ctx, e)
			if len(e.ends) == 0 {
				continue
			}
		}
		if !sleep(ctx, endTick) {
			return
		}
	}
}

// reached reports whether this worker has done what it can for a partition,
// and removes it when its end is committed.
func (w *Worker) reached(ctx context.Context, e *endWatch, at topicPartition, end int64) bool {
	w.mu.Lock()
	p := w.parts[at]
	w.mu.Unlock()
	if p == nil {
		return true
	}
	if p.committed.Load() >= end {
		delete(e.ends, at)
		return true
	}
	position, idle := p.position()
	if position < 0 {
		position = e.starts[at]
	}
	if position >= end {
		return p.frontier().Offset >= end
	}
	if !idle {
		delete(e.idleAt, at)
		return false
	}
	if before, ok := e.idleAt[at]; !ok || before != position {
		e.idleAt[at] = position // give the consumer time to deliver
		return false
	}
	delete(e.idleAt, at)
	// All that was delivered is done, and the end is not reached: perhaps
	// there is nothing left that a consumer is ever shown.
	next, err := w.nextVisible(ctx, at, position, end)
	if errors.Is(err, kerr.OffsetOutOfRange) {
		// The log's start has moved past where nothing was read yet. A consumer
		// that had a position there reports the loss by itself.
		err = w.readStart(ctx, e, at)
	}
	if err != nil {
		if ctx.Err() == nil {
			w.note(err)
		}
		return false
	}
	p.skipTo(position, next)
	return false
}

// readStart reads a partition's start anew.
func (w *Worker) readStart(ctx context.Context, e *endWatch, at topicPartition) error {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	starts, err := listed(w.admin.adm.ListStartOffsets(ctx, at.topic))
	if err == nil {
		e.starts[at] = max(e.starts[at], starts[at])
		if e.starts[at] >= e.ends[at] {
			delete(e.ends, at) // what was there is gone before it was read
		}
	}
	return err
}

// askGroup removes partitions whose end the group has committed.
func (w *Worker) askGroup(ctx context.Context, e *endWatch) {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	committed, err := w.admin.adm.FetchOffsets(ctx, w.cfg.group)
	if errors.Is(err, kerr.GroupIDNotFound) {
		return // nobody has committed anything yet
	}
	if err != nil {
		w.note(fmt.Errorf("stream: read the group's offsets: %w", err))
		return
	}
	for at, end := range e.ends {
		if o, ok := committed.Lookup(at.topic, at.partition); ok && o.Err == nil && o.At >= end {
			delete(e.ends, at)
		}
	}
}

// nextVisible reads one raw batch at an offset below end. If it holds nothing
// that a consumer is shown, it returns the offset after it, otherwise the
// offset itself. A consumer cannot tell: offsets that were compacted away at
// the tail never reach it.
func (w *Worker) nextVisible(ctx context.Context, at topicPartition, offset, end int64) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	wrap := func(err error) error {
		return fmt.Errorf("stream: read %s/%d at %d: %w", at.topic, at.partition, offset, err)
	}
	meta, err := w.admin.adm.Metadata(ctx, at.topic)
	if err != nil {
		return offset, wrap(err)
	}
	topic := meta.Topics[at.topic]
	detail, ok := topic.Partitions[at.partition]
	if !ok || detail.Err != nil {
		return offset, wrap(kerr.UnknownTopicOrPartition)
	}
	isolation := kgo.ReadCommitted()
	req := kmsg.NewPtrFetchRequest()
	req.IsolationLevel = 1
	if w.cfg.uncommitted {
		isolation, req.IsolationLevel = kgo.ReadUncommitted(), 0
	}
	req.MinBytes, req.MaxBytes, req.MaxWaitMillis = 1, 1<<20, 100
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID = at.topic, topic.ID
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes = at.partition, offset, 1<<20
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	kresp, err := w.admin.client.Broker(int(detail.Leader)).RetriableRequest(ctx, req)
	if err != nil {
		return offset, wrap(err)
	}
	resp := kresp.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return offset, wrap(err)
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return offset, nil // throttled: it says nothing
	}
	answer := &resp.Topics[0].Partitions[0]
	fetched, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
		Topic: at.topic, Partition: at.partition, Offset: offset,
		IsolationLevel: isolation, KeepControlRecords: true,
	}, answer, kgo.DefaultDecompressor(), nil)
	switch {
	case fetched.Err != nil:
		return offset, wrap(fetched.Err)
	case len(fetched.Records) > 0:
		return offset, nil // the consumer will be shown them
	case next > offset:
		return next, nil
	case len(answer.RecordBatches) == 0 && answer.HighWatermark >= end && (w.cfg.uncommitted || answer.LastStableOffset >= end):
		return end, nil // no batch at all between here and the end
	}
	return offset, nil
}
