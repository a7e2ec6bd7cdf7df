package feed

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A worker reads the partitions that one broker leads over one connection.
type worker struct {
	s    *session
	key  workerKey
	wake chan struct{}
}

func (w *worker) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *worker) run(ctx context.Context) error {
	for {
		parts, wait := w.take(time.Now())
		if len(parts) == 0 {
			t := time.NewTimer(wait)
			select {
			case <-ctx.Done():
				t.Stop()
				return ctx.Err()
			case <-w.wake:
			case <-t.C:
			}
			t.Stop()
			continue
		}
		if err := w.fetch(ctx, parts); err != nil {
			return err
		}
	}
}

// take takes the partitions that are the worker's to read now. If there are
// none it says how long to wait.
func (w *worker) take(now time.Time) (parts []*partition, wait time.Duration) {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	wait = time.Hour
	for _, p := range w.s.parts {
		if p.leader != w.key.leader || int(p.number)%len(w.s.clients) != w.key.client || p.taken || p.done || p.next < 0 {
			continue
		}
		if d := p.retryAt.Sub(now); d > 0 {
			wait = min(wait, d)
			continue
		}
		p.taken = true
		parts = append(parts, p)
	}
	return parts, wait
}

// giveBack ends what take began.
func (w *worker) giveBack(parts []*partition) error {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	for _, p := range parts {
		p.taken = false
		if p.leader != w.key.leader {
			if o := w.s.workers[workerKey{w.key.client, p.leader}]; o != nil {
				o.signal()
			}
		}
	}
	return w.s.checkDone()
}

// fetch sends one fetch request for the partitions and delivers the answer.
func (w *worker) fetch(ctx context.Context, parts []*partition) error {
	req := w.request(parts)
	asked := time.Now()
	kresp, err := w.s.clients[w.key.client].Broker(int(w.key.leader)).Request(ctx, req)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	byNumber := make(map[int32]*partition, len(parts))
	for _, p := range parts {
		byNumber[p.number] = p
	}
	var resp *kmsg.FetchResponse
	if err == nil {
		resp = kresp.(*kmsg.FetchResponse)
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		w.failed(fmt.Errorf("fetch from broker %d: %w", w.key.leader, err), parts...)
		return w.giveBack(parts)
	}
	ok := true
	for i := range resp.Topics {
		for j := range resp.Topics[i].Partitions {
			rp := &resp.Topics[i].Partitions[j]
			p := byNumber[rp.Partition]
			if p == nil {
				continue
			}
			delete(byNumber, rp.Partition)
			good, err := w.partition(ctx, p, rp, asked)
			if err != nil {
				return err
			}
			ok = ok && good
		}
	}
	if ok && len(byNumber) == 0 {
		w.s.report(w.key, nil)
	}
	for _, p := range byNumber {
		w.failed(fmt.Errorf("fetch from broker %d: answer lacks partition %d", w.key.leader, p.number), p)
	}
	return w.giveBack(parts)
}

func (w *worker) request(parts []*partition) *kmsg.FetchRequest {
	cfg := &w.s.cfg
	req := kmsg.NewPtrFetchRequest()
	req.MinBytes = 1
	req.MaxBytes = cfg.MaxBytes
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
		rp.CurrentLeaderEpoch = p.leaderEpoch
		rp.LastFetchedEpoch = p.epoch
		rp.PartitionMaxBytes = cfg.MaxPartitionBytes
		rt.Partitions = append(rt.Partitions, rp)
		if !p.asked {
			// The first answer tells how far the end is: at once.
			req.MaxWaitMillis = 0
		}
	}
	req.Topics = append(req.Topics, rt)
	return req
}

// partition handles one partition's part of an answer. good is false if it
// failed in a way that is waited out.
func (w *worker) partition(ctx context.Context, p *partition, rp *kmsg.FetchResponseTopicPartition, asked time.Time) (good bool, err error) {
	if rp.DivergingEpoch.EndOffset >= 0 && rp.ErrorCode == 0 {
		return false, &DivergedError{Partition: p.number, Position: p.next, End: rp.DivergingEpoch.EndOffset}
	}
	switch err := kerr.ErrorForCode(rp.ErrorCode); {
	case err == nil:
	case errors.Is(err, kerr.OffsetOutOfRange):
		return false, w.outOfRange(ctx, p)
	default:
		// Moved leaders, deleted and recreated topics among them: the
		// metadata tells which.
		w.s.wantRefresh()
		w.failed(fmt.Errorf("fetch of partition %d from broker %d: %w", p.number, w.key.leader, err), p)
		return false, nil
	}
	iso := kgo.ReadCommitted()
	if w.s.cfg.ReadUncommitted {
		iso = kgo.ReadUncommitted()
	}
	fp, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
		Topic: w.s.cfg.Topic, Partition: p.number, Offset: p.next, IsolationLevel: iso,
	}, rp, kgo.DefaultDecompressor(), nil)
	if fp.Err != nil && next == p.next {
		w.failed(fmt.Errorf("%w: partition %d at offset %d: %w", errCorruptBatch, p.number, p.next, fp.Err), p)
		return false, nil
	}
	b := &Batch{
		Partition: p.number, Records: fp.Records, From: p.next, Next: next,
		Epoch: lastEpoch(rp.RecordBatches, p.epoch), LogStart: max(rp.LogStartOffset, 0), Asked: asked,
	}
	b.End = rp.HighWatermark
	if !w.s.cfg.ReadUncommitted && rp.LastStableOffset >= 0 {
		b.End = rp.LastStableOffset
	}
	if err := w.s.deliver(ctx, b); err != nil {
		return false, err
	}
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	p.next, p.epoch, p.failures, p.asked = next, b.Epoch, 0, true
	// What was asked for may not be readable any more, or not yet: the end
	// bounds it.
	p.done = w.s.until != nil && (next >= w.s.until[p.number] || next >= b.End)
	return true, nil
}

// lastEpoch returns the leader epoch of the last whole record batch in b, or
// before if there is none that has an epoch.
func lastEpoch(b []byte, before int32) int32 {
	const lengthAt, epochAt, magicAt, headEnd = 8, 12, 16, 17
	for len(b) >= headEnd {
		n := int64(binary.BigEndian.Uint32(b[lengthAt:])) + epochAt
		if n > int64(len(b)) {
			break
		}
		if b[magicAt] == 2 {
			before = int32(binary.BigEndian.Uint32(b[epochAt:]))
		}
		b = b[n:]
	}
	return before
}

// outOfRange finds out where the log is now.
func (w *worker) outOfRange(ctx context.Context, p *partition) error {
	ranges, err := w.s.asker.Ranges(ctx)
	r, ok := ranges[p.number]
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil || !ok {
		w.failed(fmt.Errorf("partition %d: offset %d is out of range, and the log's range is not known: %w", p.number, p.next, err), p)
		return nil
	}
	if p.next >= r.LogStart && p.next <= r.End {
		// A new leader may know less than the old one for a moment.
		w.s.wantRefresh()
		w.failed(fmt.Errorf("partition %d: broker %d refuses offset %d", p.number, w.key.leader, p.next), p)
		return nil
	}
	if w.s.until != nil {
		// Rows below the log start are gone by rule; the pass goes on above.
		w.s.mu.Lock()
		defer w.s.mu.Unlock()
		p.next = r.LogStart
		p.done = p.next >= w.s.until[p.number]
		return nil
	}
	return &OutOfRangeError{Partition: p.number, Position: p.next, LogStart: r.LogStart, End: r.End}
}

// failed makes the partitions wait.
func (w *worker) failed(err error, parts ...*partition) {
	w.s.mu.Lock()
	for _, p := range parts {
		p.retryAt = time.Now().Add(backoff(p.failures))
		p.failures++
	}
	w.s.mu.Unlock()
	w.s.wantRefresh()
	w.s.report(w.key, err)
}
