package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The partitions of topics that are made here. They differ on purpose: the join
// does not need them to be the same.
const (
	devicePartitions  = 3
	readingPartitions = 5
)

// cluster asks the brokers, for as long as it takes.
type cluster struct {
	client *kgo.Client
	adm    *kadm.Client
	reach  *reach
	con    *console
}

func newCluster(brokers []string, opts []kgo.Opt, con *console) (*cluster, error) {
	r := new(reach)
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(brokers...), kgo.WithHooks(r), kgo.MetadataMinAge(100*time.Millisecond))...)
	if err != nil {
		return nil, fmt.Errorf("make a Kafka client: %w", err)
	}
	return &cluster{client: cl, adm: kadm.NewClient(cl), reach: r, con: con}, nil
}

func (c *cluster) close() { c.client.Close() }

// askFor bounds one attempt, so that brokers that do not answer are noticed.
const askFor = 5 * time.Second

// persist calls fn until it succeeds, ctx ends, or it fails in a way that
// waiting does not cure. It says what it waits for.
func (c *cluster) persist(ctx context.Context, what string, fn func(context.Context) error) error {
	told, since := "", time.Now()
	for attempt := 0; ; attempt++ {
		err := func() error {
			ctx, cancel := context.WithTimeout(ctx, askFor)
			defer cancel()
			return fn(ctx)
		}()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, kerr.SaslAuthenticationFailed):
			return fmt.Errorf("%s: %w; check -sasl-user and the password", what, err)
		case hopeless(err):
			return fmt.Errorf("%s: %w", what, err)
		}
		text := err.Error()
		if why := c.reach.trouble.Load(); why != nil {
			text = *why
		}
		// What has just been made may take a moment to be known everywhere.
		if text != told && time.Since(since) > time.Second {
			c.con.note("%s: %s; trying again until it works", what, text)
			told = text
		}
		timer := time.NewTimer(min(100*time.Millisecond<<min(attempt, 10), 2*time.Second))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// hopeless reports errors that waiting does not cure.
func hopeless(err error) bool {
	for _, e := range []error{
		kerr.SaslAuthenticationFailed, kerr.UnsupportedSaslMechanism, kerr.IllegalSaslState,
		kerr.TopicAuthorizationFailed, kerr.ClusterAuthorizationFailed, kerr.GroupAuthorizationFailed, kerr.TransactionalIDAuthorizationFailed,
		kerr.InvalidTopicException, kerr.PolicyViolation, kerr.InvalidReplicationFactor,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// topicSpec is a topic that has to be there.
type topicSpec struct {
	name       string
	partitions int32
	configs    map[string]*string
}

func specs(c *config) []topicSpec {
	compact, forever := "compact", "-1"
	return []topicSpec{
		{c.devicesTopic, devicePartitions, map[string]*string{"cleanup.policy": &compact}},
		// The example's readings are from 2017: the default retention would
		// delete them within minutes.
		{c.readingsTopic, readingPartitions, map[string]*string{"retention.ms": &forever}},
	}
}

// ensureTopics makes the topics that are missing. Those that exist are used as
// they are, however many partitions they have.
func (c *cluster) ensureTopics(ctx context.Context, want []topicSpec) error {
	return c.persist(ctx, "topics", func(ctx context.Context) error {
		names := make([]string, len(want))
		for i, t := range want {
			names[i] = t.name
		}
		have, err := c.adm.ListTopics(ctx, names...)
		if err != nil {
			return err
		}
		for _, t := range want {
			err := have[t.name].Err
			if errors.Is(err, kerr.UnknownTopicOrPartition) {
				_, err = c.adm.CreateTopic(ctx, t.partitions, -1, t.configs, t.name)
				if errors.Is(err, kerr.TopicAlreadyExists) {
					err = nil
				}
			}
			if err != nil {
				return fmt.Errorf("topic %s: %w", t.name, err)
			}
		}
		return nil
	})
}

// find returns what identifies a topic, and where it ends.
func (c *cluster) find(ctx context.Context, topic string) (place, error) {
	p := place{topic: topic, ends: make(map[int32]int64)}
	err := c.persist(ctx, "topic "+topic, func(ctx context.Context) error {
		meta, err := c.adm.Metadata(ctx, topic)
		if err != nil {
			return err
		}
		detail := meta.Topics[topic]
		if detail.Err != nil {
			return detail.Err
		}
		p.cluster = meta.Cluster
		if detail.ID != (kadm.TopicID{}) {
			p.topicID = detail.ID.String()
		}
		ends, err := c.adm.ListEndOffsets(ctx, topic)
		if err == nil {
			err = ends.Error()
		}
		ends.Each(func(o kadm.ListedOffset) { p.ends[o.Partition] = o.Offset })
		return err
	})
	return p, err
}

// retention returns how long a topic keeps records, and false if that is for
// ever or not known.
func (c *cluster) retention(ctx context.Context, topic string) (time.Duration, bool) {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	configs, err := c.adm.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return 0, false
	}
	one, err := configs.On(topic, nil)
	if err != nil || one.Err != nil {
		return 0, false
	}
	values := make(map[string]string)
	for _, kv := range one.Configs {
		if kv.Value != nil {
			values[kv.Key] = *kv.Value
		}
	}
	ms, err := strconv.ParseInt(values["retention.ms"], 10, 64)
	if err != nil || ms < 0 || values["cleanup.policy"] == "compact" || values["message.timestamp.type"] == "LogAppendTime" {
		return 0, false
	}
	return time.Duration(ms) * time.Millisecond, true
}
