package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// queued is a mail of the outbox.
type queued struct {
	seq    uint64
	letter letter
}

// failedMail is a mail that the server refused for good.
type failedMail struct {
	Letter letter `json:"letter"`
	Reason string `json:"reason"`
}

// head returns the first mail of the outbox.
func (s *state) head() (queued, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.outbox) == 0 {
		return queued{}, false
	}
	return s.outbox[0], true
}

// delivered takes the first mail off the outbox, for good.
func (s *state) delivered() error {
	return s.takeHead(func(*pebble.Batch, queued) error { return nil })
}

// refused moves the first mail to those that cannot be delivered.
func (s *state) refused(reason string) error {
	return s.takeHead(func(b *pebble.Batch, q queued) error {
		f := failedMail{q.letter, reason}
		s.failed = append(s.failed, f)
		s.count.Mails--
		return put(b, seqKey(kindFailed, q.seq), f)
	})
}

// takeHead counts the first mail as delivered unless and says otherwise. It
// writes the counters as they are, and so everything else that is dirty too.
func (s *state) takeHead(and func(*pebble.Batch, queued) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.flushLocked(); err != nil {
		return err
	}
	q := s.outbox[0]
	b := s.db.NewBatch()
	defer func() { _ = b.Close() }()
	s.count.Mails++
	err := errors.Join(and(b, q), put(b, []byte(keyCount), s.count), b.Delete(seqKey(kindOutbox, q.seq), nil))
	if err == nil {
		err = b.Commit(pebble.Sync)
	}
	if err != nil {
		return fmt.Errorf("write the alert state: %w", err)
	}
	s.outbox = slices.Delete(s.outbox, 0, 1)
	return nil
}
