package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// fetchBytes is about how much one request reads.
const fetchBytes = 4 << 20

// errLogCut says that a partition's log ends before an offset at which it ended
// when it was asked.
var errLogCut = errors.New("its log has become shorter")

// span is a part of a partition.
type span struct {
	partition int32
	from, to  int64
}

// spans returns the committed part of each partition of a topic.
func (c *cluster) spans(ctx context.Context, topic string) (spans []span, err error) {
	err = c.persist(ctx, "read topic "+topic, func(ctx context.Context) error {
		spans = nil
		starts, err := c.adm.ListStartOffsets(ctx, topic)
		if err == nil {
			err = starts.Error()
		}
		var ends kadm.ListedOffsets
		if err == nil {
			ends, err = c.adm.ListCommittedOffsets(ctx, topic)
		}
		if err == nil {
			err = ends.Error()
		}
		ends.Each(func(o kadm.ListedOffset) {
			spans = append(spans, span{o.Partition, starts[topic][o.Partition].Offset, o.Offset})
		})
		return err
	})
	return spans, err
}

// read calls each with every committed record of a span, in order. It comes to
// an end for certain, which a consumer does not: a log may end in what is never
// shown to one, and the consumer says nothing of it. A request's answer tells
// where the next one goes on, whatever it holds.
func (c *cluster) read(ctx context.Context, topic string, s span, each func(*kgo.Record)) error {
	for s.from < s.to {
		var got fetched
		if err := c.persist(ctx, "read topic "+topic, func(ctx context.Context) (err error) {
			got, err = c.fetch(ctx, topic, s)
			return err
		}); err != nil {
			return err
		}
		if got.cut {
			return fmt.Errorf("read topic %s, partition %d at offset %d: %w", topic, s.partition, s.from, errLogCut)
		}
		for _, r := range got.records {
			each(r)
		}
		s.from = got.next
	}
	return nil
}

// fetched is what one request brought.
type fetched struct {
	records []*kgo.Record
	next    int64 // where the next request goes on
	cut     bool  // the log ends before the span does
}

// fetch reads a beginning of a span.
func (c *cluster) fetch(ctx context.Context, topic string, s span) (fetched, error) {
	meta, err := c.adm.Metadata(ctx, topic)
	if err != nil {
		return fetched{}, err
	}
	detail := meta.Topics[topic]
	if detail.Err != nil {
		return fetched{}, detail.Err
	}
	part, ok := detail.Partitions[s.partition]
	if !ok {
		part.Err = kerr.UnknownTopicOrPartition
	}
	if part.Err != nil {
		return fetched{}, fmt.Errorf("partition %d: %w", s.partition, part.Err)
	}
	kresp, err := c.client.Broker(int(part.Leader)).RetriableRequest(ctx, fetchRequest(topic, detail.ID, s))
	if err != nil {
		return fetched{}, err
	}
	resp := kresp.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return fetched{}, err
	}
	if len(resp.Topics) == 1 && len(resp.Topics[0].Partitions) == 1 {
		return c.decode(ctx, topic, s, &resp.Topics[0].Partitions[0])
	}
	return fetched{}, s.unanswered() // as a broker does that slows a client down
}

func (s *span) unanswered() error {
	return fmt.Errorf("partition %d is read up to offset %d, and the broker does not say what follows up to %d", s.partition, s.from, s.to)
}

func fetchRequest(topic string, id kadm.TopicID, s span) *kmsg.FetchRequest {
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes = s.partition, s.from, fetchBytes
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID, t.Partitions = topic, id, []kmsg.FetchRequestTopicPartition{p}
	req := kmsg.NewPtrFetchRequest()
	req.IsolationLevel = 1 // committed records
	req.MinBytes, req.MaxBytes, req.MaxWaitMillis = 1, fetchBytes, 100
	req.Topics = append(req.Topics, t)
	return req
}

func (c *cluster) decode(ctx context.Context, topic string, s span, answer *kmsg.FetchResponseTopicPartition) (fetched, error) {
	part, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
		Topic: topic, Partition: s.partition, Offset: s.from, IsolationLevel: kgo.ReadCommitted(),
	}, answer, kgo.DefaultDecompressor(), nil)
	switch {
	case errors.Is(part.Err, kerr.OffsetOutOfRange):
		return c.skipDeleted(ctx, topic, s)
	case part.Err != nil:
		return fetched{}, fmt.Errorf("partition %d at offset %d: %w", s.partition, s.from, part.Err)
	case next > s.from:
		return fetched{records: part.Records, next: next}, nil
	case len(answer.RecordBatches) > 0:
		return fetched{}, s.unanswered()
	}
	// There is no batch at all up to where committed records end.
	return fetched{next: s.to, cut: answer.LastStableOffset < s.to}, nil
}

// skipDeleted goes on where the log starts now.
func (c *cluster) skipDeleted(ctx context.Context, topic string, s span) (fetched, error) {
	starts, err := c.adm.ListStartOffsets(ctx, topic)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return fetched{}, err
	}
	start := starts[topic][s.partition].Offset
	return fetched{next: start, cut: start <= s.from}, nil
}
