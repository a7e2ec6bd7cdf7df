package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Compacted returns the configuration of a compacted topic, with everything else
// as the broker has it: nothing is compacted within the time of a test. The
// caller may change the map.
func Compacted() map[string]string {
	return map[string]string{"cleanup.policy": "compact"}
}

// CompactedSoon returns the configuration of a topic for [ForceCompaction]: its
// segments roll after 100 ms and any superseded record makes it worth cleaning.
// Tombstones stay for deleteRetention after the first cleaning which sees them
// (on the fake: after they were written). The caller may change the map.
func CompactedSoon(deleteRetention time.Duration) map[string]string {
	return map[string]string{
		"cleanup.policy":            "compact",
		"segment.ms":                "100",
		"min.cleanable.dirty.ratio": "0.01",
		"min.compaction.lag.ms":     "0",
		"delete.retention.ms":       strconv.FormatInt(deleteRetention.Milliseconds(), 10),
		"file.delete.delay.ms":      "100",
	}
}

// CreateTopic creates a topic and returns its name, prefix and a random suffix.
// It returns when every broker names a leader for every partition. Replicas -1
// stands for the broker's default; configs may be nil. On a shared broker the
// topic is deleted when the test ends.
func (b *Broker) CreateTopic(t testing.TB, prefix string, partitions int32, replicas int16, configs map[string]string) string {
	t.Helper()
	topic := Unique(prefix)
	values := make(map[string]*string, len(configs))
	for name, value := range configs {
		values[name] = &value
	}
	cl, err := kgo.NewClient(b.Opts()...)
	if err != nil {
		t.Fatalf("kafkatest: new client: %v", err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), opTimeout)
	defer cancel()
	if _, err := kadm.NewClient(cl).CreateTopic(ctx, partitions, replicas, values, topic); err != nil {
		t.Fatalf("kafkatest: create topic %s: %v", topic, err)
	}
	if b.shared {
		t.Cleanup(func() { b.deleteTopic(t, topic) })
	}
	b.awaitTopic(ctx, t, cl, topic, partitions)
	return topic
}

// AwaitTopic returns when every broker names a leader for every partition of a
// topic that was created in another way.
func (b *Broker) AwaitTopic(t testing.TB, topic string, partitions int32) {
	t.Helper()
	cl, err := kgo.NewClient(b.Opts()...)
	if err != nil {
		t.Fatalf("kafkatest: new client: %v", err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), opTimeout)
	defer cancel()
	b.awaitTopic(ctx, t, cl, topic, partitions)
}

func (b *Broker) awaitTopic(ctx context.Context, t testing.TB, cl *kgo.Client, topic string, partitions int32) {
	t.Helper()
	if err := poll(ctx, 20*time.Millisecond, func() error { return known(ctx, cl, topic, partitions) }); err != nil {
		t.Fatalf("kafkatest: topic %s did not come up: %v", topic, err)
	}
}

// deleteTopic removes a topic, unless the test has done so.
func (b *Broker) deleteTopic(t testing.TB, topic string) {
	cl, err := kgo.NewClient(b.Opts()...)
	if err != nil {
		t.Errorf("kafkatest: new client: %v", err)
		return
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), opTimeout)
	defer cancel()
	_, err = kadm.NewClient(cl).DeleteTopic(ctx, topic)
	if err != nil && !errors.Is(err, kerr.UnknownTopicOrPartition) {
		t.Errorf("kafkatest: delete topic %s: %v", topic, err)
	}
}

// known tells in an error which broker does not yet have a leader for each
// partition of the topic. Brokers which cannot be reached do not count, but one
// has to be: a cluster lists a killed broker for some seconds more.
func known(ctx context.Context, cl *kgo.Client, topic string, partitions int32) error {
	brokers, err := kadm.NewClient(cl).ListBrokers(ctx)
	if err != nil {
		return err
	}
	answered := 0
	var unreached error
	for _, id := range brokers.NodeIDs() {
		req := kmsg.NewPtrMetadataRequest()
		req.Topics = []kmsg.MetadataRequestTopic{{Topic: kmsg.StringPtr(topic)}}
		resp, err := req.RequestWith(ctx, cl.Broker(int(id)))
		if err != nil {
			unreached = err
			continue
		}
		answered++
		if err := led(resp, partitions); err != nil {
			return fmt.Errorf("broker %d: %w", id, err)
		}
	}
	if answered == 0 {
		return fmt.Errorf("no broker answers: %w", unreached)
	}
	return nil
}

// led tells in an error what the metadata of a topic lacks.
func led(resp *kmsg.MetadataResponse, partitions int32) error {
	if len(resp.Topics) != 1 {
		return fmt.Errorf("metadata of %d topics in place of one", len(resp.Topics))
	}
	topic := resp.Topics[0]
	if err := kerr.ErrorForCode(topic.ErrorCode); err != nil {
		return err
	}
	if partitions > 0 && len(topic.Partitions) != int(partitions) {
		return fmt.Errorf("%d of %d partitions are known", len(topic.Partitions), partitions)
	}
	for _, p := range topic.Partitions {
		if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
			return fmt.Errorf("partition %d: %w", p.Partition, err)
		}
		if p.Leader < 0 {
			return fmt.Errorf("partition %d has no leader", p.Partition)
		}
	}
	return nil
}
