package feed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A Topic is what the cluster says of the topic.
type Topic struct {
	ClusterID  string // empty if unknown
	ID         TopicID
	Partitions []TopicPartition // in order
}

// A TopicPartition is a partition and its leader.
type TopicPartition struct {
	Partition int32
	Leader    int32 // -1 if there is none
	Epoch     int32 // -1 if unknown
}

// Describe asks the cluster for the topic. It returns ErrTopicAbsent if there
// is none of that name; every other error may go away by itself.
func (c *Client) Describe(ctx context.Context) (*Topic, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	return describe(ctx, c.cl, c.cfg.Topic)
}

func describe(ctx context.Context, cl *kgo.Client, topic string) (*Topic, error) {
	req := kmsg.NewPtrMetadataRequest()
	rt := kmsg.NewMetadataRequestTopic()
	rt.Topic = kmsg.StringPtr(topic)
	req.Topics = append(req.Topics, rt)
	resp, err := promptly(ctx, func() (*kmsg.MetadataResponse, error) { return req.RequestWith(ctx, cl) })
	if err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	if len(resp.Topics) != 1 {
		return nil, fmt.Errorf("metadata: answer has %d topics, not 1", len(resp.Topics))
	}
	t := &resp.Topics[0]
	switch err := kerr.ErrorForCode(t.ErrorCode); {
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		return nil, ErrTopicAbsent
	case err != nil:
		return nil, fmt.Errorf("metadata: %w", err)
	}
	out := &Topic{ID: t.TopicID}
	if resp.ClusterID != nil {
		out.ClusterID = *resp.ClusterID
	}
	for _, p := range t.Partitions {
		tp := TopicPartition{Partition: p.Partition, Leader: p.Leader, Epoch: p.LeaderEpoch}
		if p.ErrorCode != 0 && !errors.Is(kerr.ErrorForCode(p.ErrorCode), kerr.ReplicaNotAvailable) {
			tp.Leader = -1
		}
		out.Partitions = append(out.Partitions, tp)
	}
	slices.SortFunc(out.Partitions, func(a, b TopicPartition) int { return cmp.Compare(a.Partition, b.Partition) })
	if len(out.Partitions) == 0 {
		return nil, errors.New("metadata: topic has no partitions yet")
	}
	return out, nil
}
