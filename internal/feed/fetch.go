package feed

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

// topicIDsSince is the version of fetch requests from which they name topics by
// id only.
const topicIDsSince = 13

// read reads the partitions once and delivers what came. rctx ends when the
// broker's answer is not worth waiting for any more.
func (w *worker) read(ctx, rctx context.Context, parts []*partition) error {
	leader := w.s.clients[w.key.client].Broker(int(w.key.leader))
	parts, err := w.locate(rctx, leader, parts)
	if err == nil {
		err = w.s.pace.wait(rctx)
	}
	if err == nil && len(parts) > 0 {
		var resp *kmsg.FetchResponse
		asked := time.Now()
		if resp, err = w.fetch(rctx, leader, parts); err == nil {
			return w.answer(ctx, resp, parts, asked)
		}
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil && rctx.Err() == nil:
		w.s.failed(fmt.Errorf("broker %d: %w", w.key.leader, err), parts...)
	}
	return nil
}

// locate finds the offset of partitions that are to be read from their log's
// start, and returns those whose offset is known.
func (w *worker) locate(ctx context.Context, leader *kgo.Broker, parts []*partition) ([]*partition, error) {
	var unknown []TopicPartition
	for _, p := range parts {
		if p.next == LogStart {
			unknown = append(unknown, w.asLed(p))
		}
	}
	if len(unknown) == 0 {
		return parts, nil
	}
	found, refused, err := ranges(ctx, leader, w.s.cfg.Topic, unknown)
	if err != nil {
		return parts, err
	}
	var ready, failed []*partition
	w.s.mu.Lock()
	for _, p := range parts {
		if r, ok := found[p.number]; ok && p.next == LogStart {
			w.s.move(p, r.LogStart, nil)
		}
		switch {
		case p.next == LogStart:
			failed = append(failed, p)
		case !p.done:
			ready = append(ready, p)
		}
	}
	w.s.mu.Unlock()
	for _, p := range failed {
		w.s.failed(fmt.Errorf("broker %d does not tell the log start of partition %d: %w", w.key.leader, p.number, orNoAnswer(refused)), p)
	}
	return ready, nil
}

// orNoAnswer returns err, or that there was no answer.
func orNoAnswer(err error) error { return cmp.Or(err, errors.New("not in its answer")) }

// asLed is the partition as the worker took it.
func (w *worker) asLed(p *partition) TopicPartition {
	return TopicPartition{Partition: p.number, Leader: w.key.leader, Epoch: p.askedAs}
}

// fetch sends one fetch request for the partitions.
func (w *worker) fetch(ctx context.Context, leader *kgo.Broker, parts []*partition) (*kmsg.FetchResponse, error) {
	fetch := w.request(parts)
	var req kmsg.Request = fetch
	if !w.s.id.Known() {
		req = byName{fetch}
	}
	kresp, err := leader.Request(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	resp := kresp.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	return resp, nil
}

// byName is a fetch request of the last version that names topics.
type byName struct{ *kmsg.FetchRequest }

func (byName) MaxVersion() int16 { return topicIDsSince - 1 }

// Timeout tells kgo how long the broker may hold the request, as it knows by
// itself of a plain one.
func (r byName) Timeout() int32 { return r.MaxWaitMillis }

// most is the worker's part of what may be in memory at a time.
func (w *worker) most() int32 {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	return max(1, w.s.pace.most(w.s.maxBytes)/int32(max(1, len(w.s.workers))))
}

func (w *worker) request(parts []*partition) *kmsg.FetchRequest {
	cfg := w.s.cfg
	req := kmsg.NewPtrFetchRequest()
	req.MinBytes = 1
	most := w.most()
	req.MaxBytes = w.s.unpacking.bound(most)
	req.MaxWaitMillis = int32(cfg.MaxWait / time.Millisecond)
	req.SessionEpoch = -1
	if !cfg.ReadUncommitted {
		req.IsolationLevel = 1
	}
	rt := kmsg.NewFetchRequestTopic()
	rt.Topic, rt.TopicID = cfg.Topic, w.s.id
	for _, p := range parts {
		rp := kmsg.NewFetchRequestTopicPartition()
		rp.Partition = p.number
		rp.FetchOffset = p.next
		rp.CurrentLeaderEpoch = p.askedAs
		rp.LastFetchedEpoch = p.epoch
		rp.PartitionMaxBytes = w.s.unpacking.bound(min(most, cfg.MaxPartitionBytes))
		rt.Partitions = append(rt.Partitions, rp)
		if !p.asked {
			// The first answer tells how far the end is: at once.
			req.MaxWaitMillis = 0
		}
	}
	req.Topics = append(req.Topics, rt)
	return req
}

// answer delivers what an answer brought.
func (w *worker) answer(ctx context.Context, resp *kmsg.FetchResponse, parts []*partition, asked time.Time) error {
	if resp.Version < topicIDsSince && w.s.id.Known() {
		// By name: the answer is of our topic if that still has its id.
		if _, err := w.s.look(ctx); err != nil {
			return w.lost(ctx, err, parts...)
		}
	}
	left := slices.Clone(parts)
	var cut []*partition
	moved := false
	for i := range resp.Topics {
		for j := range resp.Topics[i].Partitions {
			rp := &resp.Topics[i].Partitions[j]
			at := slices.IndexFunc(left, func(p *partition) bool { return p.number == rp.Partition })
			if at < 0 {
				continue
			}
			p := left[at]
			left = slices.Delete(left, at, at+1)
			w.s.pace.took(len(rp.RecordBatches))
			before := p.next
			what, err := w.partition(ctx, p, rp, asked)
			if err != nil {
				return err
			}
			moved = moved || p.next != before
			if what == cutOff {
				cut = append(cut, p)
			}
			// What was delivered can be freed while the rest is.
			*rp = kmsg.FetchResponseTopicPartition{}
		}
	}
	if moved {
		// The answer may have been full with others' records: then it is no
		// trouble to get a part of a batch or nothing, the turn comes.
		return nil
	}
	for _, p := range left {
		w.s.failed(fmt.Errorf("broker %d: fetch: answer lacks partition %d", w.key.leader, p.number), p)
	}
	for _, p := range cut {
		w.s.failed(fmt.Errorf("broker %d sends no whole record batch of partition %d at offset %d", w.key.leader, p.number, p.next), p)
	}
	return nil
}

// lost deals with an error of look.
func (w *worker) lost(ctx context.Context, err error, parts ...*partition) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case final(err):
		return err
	}
	w.s.failed(err, parts...)
	return nil
}

// outcome is what became of one partition's part of an answer.
type outcome int

const (
	waits     outcome = iota // it failed in a way that is waited out, or goes on elsewhere
	cutOff                   // it was the beginning of a batch only
	delivered                // maybe without a record
)

// partition handles one partition's part of an answer.
func (w *worker) partition(ctx context.Context, p *partition, rp *kmsg.FetchResponseTopicPartition, asked time.Time) (outcome, error) {
	switch err := kerr.ErrorForCode(rp.ErrorCode); {
	case errors.Is(err, kerr.OffsetOutOfRange):
		return waits, w.outOfRange(ctx, p)
	case err != nil:
		// Moved leaders, deleted and recreated topics among them: the
		// metadata tells which.
		w.s.failed(fmt.Errorf("broker %d: fetch of partition %d: %w", w.key.leader, p.number, err), p)
		return waits, nil
	case rp.DivergingEpoch.EndOffset >= 0:
		return waits, &DivergedError{Partition: p.number, Position: p.next, End: rp.DivergingEpoch.EndOffset}
	}
	iso := kgo.ReadCommitted()
	if w.s.cfg.ReadUncommitted {
		iso = kgo.ReadUncommitted()
	}
	brought := len(rp.RecordBatches) > 0
	defer w.records.done()
	d, err := decode(kgo.ProcessFetchPartitionOpts{
		Topic: w.s.cfg.Topic, Partition: p.number, Offset: p.next, IsolationLevel: iso, Pools: []kgo.Pool{&w.records},
	}, rp, w.s.asker.decompressor)
	if err != nil {
		w.s.failed(fmt.Errorf("%w: partition %d at offset %d: %w", errCorruptBatch, p.number, p.next, err), p)
		return waits, nil
	}
	if brought && d.next == p.next {
		return cutOff, nil
	}
	// decode has left of it what is whole.
	w.s.unpacking.saw(len(rp.RecordBatches), d.records)
	b := &Batch{
		Partition: p.number, Records: d.records, From: p.next, Next: d.next, Epoch: p.epoch,
		End: rp.HighWatermark, LogStart: max(rp.LogStartOffset, 0), Asked: asked,
	}
	if brought {
		b.Epoch = d.epoch
	}
	if !w.s.cfg.ReadUncommitted && rp.LastStableOffset >= 0 {
		b.End = rp.LastStableOffset
	}
	end, next, epoch := b.End, b.Next, b.Epoch // deliver owns the batch
	err = w.s.deliver(ctx, b)
	if later, ok := errors.AsType[*LaterError](err); ok {
		w.s.mu.Lock()
		if later.Next > p.next {
			p.failures = 0
			p.epoch = epochBefore(d.records, later.Next, p.epoch)
		}
		w.s.move(p, later.Next, nil)
		p.asked, p.open = true, false
		w.s.mu.Unlock()
		w.s.failed(later.Err, p)
		return waits, nil
	}
	if err != nil {
		return waits, err
	}
	w.s.mu.Lock()
	if next > p.next {
		w.s.progress++
		p.served = w.s.progress
	}
	w.s.move(p, next, &end)
	p.epoch, p.asked, p.open, p.failures, p.refusals = epoch, true, false, 0, 0
	w.s.mu.Unlock()
	w.s.troubles.clear(p.number)
	return delivered, nil
}

// epochBefore returns the leader epoch of the last record below an offset, or
// else the one given.
func epochBefore(records []*kgo.Record, offset int64, epoch int32) int32 {
	for _, r := range slices.Backward(records) {
		if r.Offset < offset {
			return r.LeaderEpoch
		}
	}
	return epoch
}
