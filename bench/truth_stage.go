package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A stage is where one history is played to one peer.
type stage struct {
	brokers []string
	topic   string
	dir     string
	history history
	starter starter

	cl        *kgo.Client
	txnClient *kgo.Client
	replica   replica
}

// A step is a part of a history.
type step func() error

// all does the steps, up to the first that fails.
func (s *stage) all(steps ...step) error {
	for _, do := range steps {
		if err := do(); err != nil {
			return err
		}
	}
	return nil
}

func pairs(topic string, all []string) []*kgo.Record {
	var rs []*kgo.Record
	for _, p := range all {
		k, v, ok := strings.Cut(p, "=")
		r := &kgo.Record{Topic: topic, Key: []byte(k)}
		if ok {
			r.Value = []byte(v)
		}
		rs = append(rs, r)
	}
	return rs
}

// put writes "key=value" pairs; "key" alone is a tombstone.
func (s *stage) put(ctx context.Context, all ...string) step {
	return func() error {
		return retryUntil(ctx, func() error { return s.cl.ProduceSync(ctx, pairs(s.topic, all)...).FirstErr() })
	}
}

func (s *stage) open(ctx context.Context, all ...string) step {
	return func() (err error) {
		s.txnClient, err = kgo.NewClient(kgo.SeedBrokers(s.brokers...), kgo.TransactionalID(s.topic))
		if err != nil {
			return err
		}
		if err := s.txnClient.BeginTransaction(); err != nil {
			return err
		}
		return s.txnClient.ProduceSync(ctx, pairs(s.topic, all)...).FirstErr()
	}
}

func (s *stage) txn(ctx context.Context, commit bool, all ...string) step {
	return func() error {
		if err := s.open(ctx, all...)(); err != nil {
			return err
		}
		err := s.txnClient.EndTransaction(ctx, kgo.TransactionEndTry(commit))
		s.txnClient.Close()
		s.txnClient = nil
		return err
	}
}

func (s *stage) start(ctx context.Context) step {
	return func() (err error) {
		s.replica, err = s.starter(ctx, s.brokers, s.topic, s.dir)
		return err
	}
}

func (s *stage) stop() step {
	return func() error {
		err := s.replica.stop()
		s.replica = nil
		return err
	}
}

// holds waits until the replica holds something, before the history goes on.
func (s *stage) holds(ctx context.Context, want string) step {
	return func() error {
		seen, err := s.await(ctx, want)
		if err == nil && seen != want {
			err = fmt.Errorf("it should hold %s before the history goes on, and holds %s", want, seen)
		}
		return err
	}
}

func (s *stage) recreate(ctx context.Context) step {
	return func() error {
		if err := deleteTopic(ctx, s.brokers, s.topic); err != nil {
			return err
		}
		if err := createTopic(ctx, s.brokers, s.topic, 1, map[string]string{"cleanup.policy": "compact"}); err != nil {
			return err
		}
		s.cl.PurgeTopicsFromClient(s.topic) // it knows the old topic's id
		return nil
	}
}

func (s *stage) grow(ctx context.Context, partitions int) step {
	return func() error {
		if _, err := kadm.NewClient(s.cl).UpdatePartitions(ctx, partitions, s.topic); err != nil {
			return err
		}
		return every(ctx, 50*time.Millisecond, func() (bool, error) {
			s.cl.PurgeTopicsFromClient(s.topic)
			listed, err := kadm.NewClient(s.cl).ListEndOffsets(ctx, s.topic)
			return err == nil && listed.Error() == nil && len(listed[s.topic]) == partitions, nil
		})
	}
}

// fillerKey is of records that keep the log growing: Kafka never cleans the newest
// segment.
const fillerKey = "filler"

// compacted waits until two offsets were removed by the log cleaner.
func (s *stage) compacted(ctx context.Context, first, last int64) step {
	return func() error {
		return every(ctx, 200*time.Millisecond, func() (bool, error) {
			if err := s.put(ctx, fillerKey+"="+time.Now().String())(); err != nil {
				return false, err
			}
			found, err := s.offsets(ctx, last)
			return !found[first] && !found[last], err
		})
	}
}

// offsets returns which offsets there are, up to one that may have been removed.
func (s *stage) offsets(ctx context.Context, last int64) (map[int64]bool, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{s.topic: {0: kgo.NewOffset().At(0)}}))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	found := map[int64]bool{}
	for {
		fetches := cl.PollFetches(ctx)
		if err := errors.Join(ctx.Err(), fetches.Err()); err != nil {
			return nil, err
		}
		for it := fetches.RecordIter(); !it.Done(); {
			r := it.Next()
			found[r.Offset] = true
			if r.Offset > last {
				return found, nil
			}
		}
	}
}

// retryUntil does something until it works or ctx ends: a topic that was just
// created is not known everywhere.
func retryUntil(ctx context.Context, do func() error) error {
	var last error
	err := every(ctx, 50*time.Millisecond, func() (bool, error) {
		last = do()
		return last == nil, nil
	})
	if err != nil {
		return errors.Join(err, last)
	}
	return nil
}
