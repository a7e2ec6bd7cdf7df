package feed

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
)

// outOfRange decides what it means that the leader refused a position as out of
// range.
func (w *worker) outOfRange(ctx context.Context, p *partition) error {
	leader := w.s.clients[w.key.client].Broker(int(w.key.leader))
	found, refused, err := ranges(ctx, leader, w.s.cfg.Topic, []TopicPartition{w.asLed(p)})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	r, ok := found[p.number]
	if err == nil && !ok {
		err = orNoAnswer(refused)
	}
	if err != nil {
		w.s.failed(fmt.Errorf("broker %d: offset %d of partition %d is out of range, and its range is not known: %w", w.key.leader, p.next, p.number, err), p)
		return nil
	}
	// The range came by name: it counts if the topic still has our id.
	if _, err := w.s.look(ctx); err != nil {
		return w.lost(ctx, err, p)
	}
	switch {
	case p.next >= r.LogStart && p.next <= r.End:
		return w.refused(ctx, leader, p)
	case p.next < r.LogStart && (p.open || w.s.until != nil):
		// Nothing was read yet that the rest would have to fit to, or rows
		// below the log start are gone by rule: above it goes on. The epoch
		// was that of a record below.
		w.s.mu.Lock()
		defer w.s.mu.Unlock()
		w.s.move(p, r.LogStart, nil)
		p.epoch = -1
		return nil
	}
	return &OutOfRangeError{Partition: p.number, Position: p.next, LogStart: r.LogStart, End: r.End}
}

// refused decides what it means that the leader refuses a position which is
// inside of its log's range: that a new leader knows less than the old one for a
// moment, or that the log does not have the epoch of what was read before.
func (w *worker) refused(ctx context.Context, leader *kgo.Broker, p *partition) error {
	if p.epoch >= 0 {
		ends, err := epochEnds(ctx, leader, w.s.cfg.Topic, []TopicPartition{w.asLed(p)}, map[int32]int32{p.number: p.epoch})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if end, ok := ends[p.number]; ok && end < p.next {
			return &DivergedError{Partition: p.number, Position: p.next, End: end}
		} else if err == nil && !ok && w.s.refusedAgain(p) == 3 {
			return &DivergedError{Partition: p.number, Position: p.next, End: -1}
		}
	}
	w.s.failed(fmt.Errorf("broker %d refuses offset %d of partition %d, which its log has", w.key.leader, p.next, p.number), p)
	return nil
}

// refusedAgain counts how often in a row a position was refused by a broker that
// does not know the epoch.
func (s *session) refusedAgain(p *partition) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.refusals++
	return p.refusals
}
