package globaltable

import (
	"context"
	"fmt"
	"sync"

	"github.com/globaltable/enrich/internal/store"
)

// broadcast wakes everybody who waits, as often as something changes.
type broadcast struct {
	mu sync.Mutex
	ch chan struct{} // nil while nobody waits
}

// wait returns a channel that is closed at the next wake.
func (b *broadcast) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

func (b *broadcast) wake() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}

// ended returns why nothing will change any more, nil if it may.
func (e *engine) ended() error {
	if v := e.serving.Load(); v.gen == nil {
		select {
		case <-e.done:
			return v.err
		default:
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.closed {
			return ErrClosed
		}
		return nil
	}
	select {
	case <-e.done:
		return fmt.Errorf("%w: Run of table %s has ended", ErrNotReady, e.topic)
	default:
		return nil
	}
}

func (e *engine) waitReady(ctx context.Context) error {
	for {
		changed := e.changed.wait()
		select {
		case <-e.ready:
			// It may have failed or been closed since.
			return e.serving.Load().err
		default:
		}
		if err := e.ended(); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-e.ready:
		case <-ctx.Done():
			return e.gaveUp(ctx, "it to be ready")
		}
	}
}

// gaveUp describes a wait that its context ended.
func (e *engine) gaveUp(ctx context.Context, what string) error {
	return fmt.Errorf("globaltable: waited for %s (table %s is %s): %w", what, e.topic, e.currentStatus(), context.Cause(ctx))
}

func (e *engine) waitFor(ctx context.Context, p Position) error {
	if p.Partition < 0 || p.Offset < 0 || p.Topic != "" && p.Topic != e.topic {
		return &PositionError{Position: p, Topic: e.topic, TopicID: e.currentTopicID()}
	}
	// A position without an id is of the topic that is there now.
	id := p.TopicID
	for {
		changed := e.changed.wait()
		now := e.currentTopicID()
		if !id.Known() {
			id = now
		}
		if id.Known() && now.Known() && id != now {
			return &PositionError{Position: p, Topic: e.topic, TopicID: now}
		}
		v := e.view.Load()
		// Before the topic was seen the rows may be of another one: see AllowStale.
		seen := now.Known() || e.isReady()
		if v.gen != nil && seen && fits(v.gen.Identity().TopicID, id) && reached(v.gen.State(), p) {
			return nil
		}
		if err := e.ended(); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return e.gaveUp(ctx, p.String())
		}
	}
}

// fits reports whether rows of one topic id can answer for a position of
// another: both are the same, or one is not known.
func fits(rows, position TopicID) bool {
	return rows == position || !rows.Known() || !position.Known()
}

func reached(s *store.State, p Position) bool {
	at := s.Get(p.Partition)
	return at.Known && at.Next >= p.Offset
}

// currentTopicID returns the id of the topic that is there now, as far as known.
func (e *engine) currentTopicID() TopicID {
	if id := e.topicID.Load(); id != nil {
		return *id
	}
	return TopicID{}
}

func (e *engine) positions() []Position {
	gen := e.served()
	if gen == nil {
		return nil
	}
	return positionsOf(e.topic, gen.Identity().TopicID, gen.State())
}

func positionsOf(topic string, id TopicID, s *store.State) []Position {
	var all []Position
	for p, at := range s.Partitions {
		if at.Known {
			all = append(all, Position{Topic: topic, TopicID: id, Partition: int32(p), Offset: at.Next})
		}
	}
	return all
}
