package feed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A Range is the offsets that a partition's log has.
type Range struct {
	LogStart int64
	// End is the high watermark.
	End int64
}

// Ranges asks for the log of every partition, by the topic's name. A partition
// whose leader does not answer is missing in the map; it is an error if none
// does. It returns ErrTopicAbsent if there is no such topic; every other error
// may go away by itself.
func (c *Client) Ranges(ctx context.Context) (map[int32]Range, error) {
	return askLeaders(ctx, c, func(TopicPartition) bool { return true },
		func(ctx context.Context, leader *kgo.Broker, parts []TopicPartition) (map[int32]Range, error) {
			found, refused, err := ranges(ctx, leader, c.cfg.Topic, parts)
			if err == nil && len(found) == 0 {
				err = refused
			}
			return found, err
		})
}

// EpochEnds asks, for each partition and leader epoch given, where the log of
// that epoch ends. A log that does not have the epoch tells of the highest one
// below it. A partition for which the broker does not tell is missing. It
// returns ErrTopicAbsent if there is no such topic; every other error may go
// away by itself.
func (c *Client) EpochEnds(ctx context.Context, epochs map[int32]int32) (map[int32]int64, error) {
	if len(epochs) == 0 {
		return map[int32]int64{}, nil
	}
	return askLeaders(ctx, c, func(tp TopicPartition) bool { _, ok := epochs[tp.Partition]; return ok },
		func(ctx context.Context, leader *kgo.Broker, parts []TopicPartition) (map[int32]int64, error) {
			return epochEnds(ctx, leader, c.cfg.Topic, parts, epochs)
		})
}

// askLeaders asks the leaders of the partitions that are wanted, all at once,
// and puts their answers together. It is an error if none answers.
func askLeaders[T any](
	ctx context.Context, c *Client, wanted func(TopicPartition) bool,
	ask func(context.Context, *kgo.Broker, []TopicPartition) (map[int32]T, error),
) (map[int32]T, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	t, err := c.Describe(ctx)
	if err != nil {
		return nil, err
	}
	led := map[int32][]TopicPartition{}
	var errs []error
	for _, tp := range t.Partitions {
		switch {
		case !wanted(tp):
		case tp.Leader < 0:
			errs = append(errs, fmt.Errorf("partition %d has no leader", tp.Partition))
		default:
			led[tp.Leader] = append(led[tp.Leader], tp)
		}
	}
	var (
		mu      sync.Mutex
		wg      sync.WaitGroup
		answers = map[int32]T{}
		heard   = false
	)
	for leader, parts := range led {
		wg.Go(func() {
			answer, err := ask(ctx, c.cl.Broker(int(leader)), parts)
			mu.Lock()
			defer mu.Unlock()
			maps.Copy(answers, answer)
			if err != nil {
				errs = append(errs, fmt.Errorf("broker %d: %w", leader, err))
			} else {
				heard = true
			}
		})
	}
	wg.Wait()
	if !heard && len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return answers, nil
}

// ranges asks a broker for the logs of partitions that it leads. Those for
// which it refuses to tell, for example because another one leads them by now,
// are missing, and refused is the reason for one of them. The other error is
// that it did not answer.
func ranges(ctx context.Context, leader *kgo.Broker, topic string, parts []TopicPartition) (found map[int32]Range, refused, err error) {
	const earliest, latest = -2, -1
	starts, refusedStart, err := listOffsets(ctx, leader, topic, parts, earliest)
	if err != nil {
		return nil, nil, err
	}
	ends, refusedEnd, err := listOffsets(ctx, leader, topic, parts, latest)
	if err != nil {
		return nil, nil, err
	}
	found = map[int32]Range{}
	for p, start := range starts {
		if end, ok := ends[p]; ok {
			found[p] = Range{LogStart: start, End: end}
		}
	}
	return found, cmp.Or(refusedStart, refusedEnd), nil
}

func listOffsets(
	ctx context.Context, leader *kgo.Broker, topic string, parts []TopicPartition, timestamp int64,
) (found map[int32]int64, refused, err error) {
	req := kmsg.NewPtrListOffsetsRequest()
	rt := kmsg.NewListOffsetsRequestTopic()
	rt.Topic = topic
	for _, tp := range parts {
		rp := kmsg.NewListOffsetsRequestTopicPartition()
		rp.Partition, rp.CurrentLeaderEpoch, rp.Timestamp = tp.Partition, tp.Epoch, timestamp
		rt.Partitions = append(rt.Partitions, rp)
	}
	req.Topics = append(req.Topics, rt)
	kresp, err := leader.Request(ctx, req)
	if err != nil {
		return nil, nil, fmt.Errorf("list offsets: %w", err)
	}
	found = map[int32]int64{}
	for _, t := range kresp.(*kmsg.ListOffsetsResponse).Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				refused = fmt.Errorf("list offsets of partition %d: %w", p.Partition, err)
			} else {
				found[p.Partition] = p.Offset
			}
		}
	}
	return found, refused, nil
}

func epochEnds(ctx context.Context, leader *kgo.Broker, topic string, parts []TopicPartition, epochs map[int32]int32) (map[int32]int64, error) {
	req := kmsg.NewPtrOffsetForLeaderEpochRequest()
	rt := kmsg.NewOffsetForLeaderEpochRequestTopic()
	rt.Topic = topic
	for _, tp := range parts {
		rp := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
		rp.Partition, rp.CurrentLeaderEpoch, rp.LeaderEpoch = tp.Partition, tp.Epoch, epochs[tp.Partition]
		rt.Partitions = append(rt.Partitions, rp)
	}
	req.Topics = append(req.Topics, rt)
	kresp, err := leader.Request(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("leader epochs: %w", err)
	}
	out := map[int32]int64{}
	for _, t := range kresp.(*kmsg.OffsetForLeaderEpochResponse).Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode == 0 && p.EndOffset >= 0 {
				out[p.Partition] = p.EndOffset
			}
		}
	}
	return out, nil
}
