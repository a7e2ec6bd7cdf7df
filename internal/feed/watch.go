package feed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// watch keeps partitions and leaders as the cluster says, until something is
// found that ends the session.
func (s *session) watch(ctx context.Context, t *Topic) error {
	tick := time.NewTicker(s.cfg.MetadataInterval)
	defer tick.Stop()
	var last time.Time // when it was last looked because someone wanted it
	trouble := false
	for wanted := 0; ; {
		if t != nil {
			s.adopt(ctx, t)
		}
		if t != nil && trouble {
			s.relocate(ctx)
		}
		if err := s.allRead(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			trouble = false
		case <-s.refresh:
			trouble = true
			// Workers that see one leader move ask all at once, and those that
			// go on failing ask again and again.
			if time.Since(last) > 10*time.Second {
				wanted = 0
			}
			if err := sleep(ctx, backoff(wanted)/2); err != nil {
				return err
			}
			last = time.Now()
			wanted++
			select {
			case <-s.refresh:
			default:
			}
		}
		var err error
		if t, err = s.look(ctx); final(err) {
			return err
		} else if ctx.Err() != nil {
			return ctx.Err()
		} else if err != nil {
			s.troubles.add(err, watcher)
			s.wantRefresh()
		} else {
			s.troubles.clear(watcher)
		}
	}
}

// relocate lets the connections' clients ask where the brokers are: one may have
// come to another address. Nothing waits for it.
func (s *session) relocate(ctx context.Context) {
	if !s.relocating.CompareAndSwap(false, true) {
		return
	}
	s.eg.Go(func() error {
		defer s.relocating.Store(false)
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		var wg sync.WaitGroup
		for _, cl := range s.clients {
			// What is wrong, if it is, shows in the next fetch.
			wg.Go(func() { _, _ = describe(ctx, cl, s.cfg.Topic) })
		}
		wg.Wait()
		return nil
	})
}

// final tells whether the metadata has something that ends a session.
func final(err error) bool {
	var changed *TopicChangedError
	return errors.Is(err, ErrTopicAbsent) || errors.As(err, &changed)
}

// look describes the topic. That it is gone, or another one now, is believed
// when three answers in a row say so: a broker may be behind the others for a
// moment.
func (s *session) look(ctx context.Context) (*Topic, error) {
	for doubts := 1; ; doubts++ {
		t, err := s.asker.Describe(ctx)
		if err == nil && t.ID.Known() && s.id.Known() && t.ID != s.id {
			t, err = nil, &TopicChangedError{Old: s.id, New: t.ID}
		}
		if !final(err) || doubts == 3 {
			return t, err
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// adopt takes over partitions and leaders, and sees that each leader has its
// workers.
func (s *session) adopt(ctx context.Context, t *Topic) {
	s.mu.Lock()
	missing := map[int32]error{}
	for number, p := range s.parts {
		if p.leader < 0 && !p.done {
			missing[number] = fmt.Errorf("topic has no partition %d yet", number)
		}
	}
	for _, tp := range t.Partitions {
		p := s.parts[tp.Partition]
		if p == nil && s.until == nil {
			p = newPartition(Start{Partition: tp.Partition, Offset: LogStart, Epoch: -1})
			s.parts[tp.Partition] = p
		}
		if p == nil || p.done {
			continue
		}
		delete(missing, tp.Partition)
		switch {
		case tp.Leader >= 0:
			p.lead(tp)
		case p.leader < 0:
			missing[tp.Partition] = fmt.Errorf("partition %d has no leader", tp.Partition)
		}
	}
	for _, p := range s.parts {
		if k := s.key(p); p.leader >= 0 && !p.done && s.workers[k] == nil {
			w := &worker{s: s, key: k, wake: make(chan struct{}, 1)}
			s.workers[k] = w
			s.eg.Go(func() error { return w.run(ctx) })
		}
	}
	for _, w := range s.workers {
		w.signal()
		// A broker that leads no longer may be gone for good: no use to wait
		// for its answer.
		if slices.ContainsFunc(w.taken, func(p *partition) bool { return p.leader != w.key.leader }) {
			w.interrupt()
		}
	}
	s.mu.Unlock()
	for number, err := range missing {
		s.wantRefresh()
		s.troubles.add(err, number)
	}
}

// lead sets the leader to what an answer says. One that is older than what is
// known comes from a broker that is behind, unless it keeps coming.
func (p *partition) lead(tp TopicPartition) {
	if p.leader >= 0 && tp.Epoch >= 0 && tp.Epoch < p.leaderEpoch && p.outdated < 5 {
		p.outdated++
		return
	}
	p.outdated = 0
	if p.leader != tp.Leader || p.leaderEpoch != tp.Epoch {
		p.leader, p.leaderEpoch = tp.Leader, tp.Epoch
		p.retryAt = time.Time{}
	}
}
