package feed

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/globaltable/enrich/internal/kafkatest"
)

func TestNewRefusesWhatCannotWork(t *testing.T) {
	for want, cfg := range map[string]Config{
		"no topic name given":                                     {},
		"connections per broker have to be above 0, not -1":       {Topic: "t", Connections: -1},
		"bytes of a fetch have to be from 1 to 536870912, not -1": {Topic: "t", MaxBytes: -1},
		"not 536870913": {Topic: "t", MaxBytes: 512<<20 + 1},
		"bytes of a partition in a fetch have to be above 0":    {Topic: "t", MaxPartitionBytes: -5},
		"wait of a fetch has to be from 1ms to 5m0s, not 999µs": {Topic: "t", MaxWait: 999 * time.Microsecond},
		"not 6m0s":                            {Topic: "t", MaxWait: 6 * time.Minute},
		"metadata interval has to be above 0": {Topic: "t", MetadataInterval: -1},
	} {
		_, err := New(cfg)
		require.ErrorContains(t, err, want)
	}
	_, err := New(Config{Topic: "t", Opts: []kgo.Opt{kgo.DialTLS(), kgo.Dialer((&net.Dialer{}).DialContext)}})
	require.ErrorContains(t, err, "Dialer", "what kgo refuses")
}

func TestDefaults(t *testing.T) {
	c, err := New(Config{Topic: "t"})
	require.NoError(t, err)
	defer c.Close()
	require.Equal(t, 2, c.cfg.Connections)
	require.Equal(t, int32(16<<20), c.cfg.MaxBytes)
	require.Equal(t, int32(4<<20), c.cfg.MaxPartitionBytes)
	require.Equal(t, 500*time.Millisecond, c.cfg.MaxWait)
	require.Equal(t, 5*time.Second, c.cfg.MetadataInterval)
}

// However large an answer may be, it has to fit what kgo is ready to read, and
// what the user says of kgo's own fetches does not matter.
func TestFetchClientsReadLargeAnswers(t *testing.T) {
	for _, maxBytes := range []int32{1, 16 << 20, maxMaxBytes} {
		c, err := New(Config{Topic: "t", MaxBytes: maxBytes, Opts: []kgo.Opt{kgo.FetchMaxBytes(90 << 20), kgo.BrokerMaxReadBytes(91 << 20)}})
		require.NoError(t, err)
		clients, err := c.fetchClients()
		require.NoError(t, err)
		require.Len(t, clients, 2)
		limit := clients[0].OptValue(kgo.BrokerMaxReadBytes).(int32)
		require.GreaterOrEqual(t, limit, int32(256<<20))
		require.GreaterOrEqual(t, limit, maxBytes+64<<20)
		closeAll(clients)
		c.Close()
	}
}

func TestTheUsersRolesAreLeftOut(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		topic := b.CreateTopic(t, "mine", 2, 1, nil)
		other := b.CreateTopic(t, "other", 1, 1, nil)
		b.ProduceTo(t, 0, kv(topic, 0, 10)...)
		b.ProduceTo(t, 0, kv(other, 0, 10)...)
		group := kafkatest.Unique("group")
		for name, opts := range map[string][]kgo.Opt{
			"group": {
				kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic, other), kgo.InstanceID("one"), kgo.DisableAutoCommit(),
				kgo.OnPartitionsAssigned(func(context.Context, *kgo.Client, map[string][]int32) {}), kgo.BlockRebalanceOnPoll(),
			},
			"share group": {kgo.ShareGroup(group), kgo.ConsumeTopics(topic), kgo.ShareMaxRecords(1)},
			"direct":      {kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{other: {0: kgo.NewOffset().AtStart()}})},
			"regex":       {kgo.ConsumeRegex(), kgo.ConsumeTopics(".*"), kgo.ConsumeExcludeTopics("x")},
			"producer": {
				kgo.TransactionalID(kafkatest.Unique("txn")), kgo.ManualFlushing(), kgo.DefaultProduceTopic(other),
				kgo.RequiredAcks(kgo.AllISRAcks()), kgo.DisableIdempotentWrite(),
			},
			"nil": {nil},
		} {
			var foreign *kfake.FaultHandle
			if !b.Real() {
				foreign = b.Fake().Fault(kfake.Fault{Topic: other, Keys: []kmsg.Key{kmsg.Fetch, kmsg.ListOffsets}, Observe: true, Count: -1})
			}
			c := client(t, b, topic, func(c *Config) { c.Opts = append(opts, c.Opts...) })
			require.Equal(t, values(0, 10), readUntil(t, c, map[int32]int64{0: 10, 1: 0})[0].values, name)
			c.Close()
			if foreign != nil {
				require.Zero(t, foreign.Hits(), name)
			}
		}
		groups, err := b.Admin(t).ListGroups(t.Context())
		require.NoError(t, err)
		require.NotContains(t, groups.Groups(), group)
	})
}

func TestNoTopicIsCreated(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		topic := kafkatest.Unique("absent")
		c := client(t, b, topic, func(c *Config) { c.Opts = append(c.Opts, kgo.AllowAutoTopicCreation()) })
		_, err := c.Describe(t.Context())
		require.ErrorIs(t, err, ErrTopicAbsent)
		_, err = c.Ranges(t.Context())
		require.ErrorIs(t, err, ErrTopicAbsent)
		_, err = c.EpochEnds(t.Context(), map[int32]int32{0: 0})
		require.ErrorIs(t, err, ErrTopicAbsent)
		_, err = c.TopicConfig(t.Context())
		require.ErrorIs(t, err, ErrTopicAbsent)
		err = c.Read(t.Context(), Plan{Topic: &Topic{ID: TopicID{1}, Partitions: []TopicPartition{{Leader: -1}}}}, newCollector().deliver)
		require.ErrorIs(t, err, ErrTopicAbsent)
		topics, err := b.Admin(t).ListTopics(t.Context())
		require.NoError(t, err)
		require.NotContains(t, topics.Names(), topic)
	})
}

func TestQuestionsEndWithTheirContext(t *testing.T) {
	for name, ask := range questions() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := kafkatest.FakeVirtual(t)
				c := client(t, b, b.CreateTopic(t, "q", 1, 1, nil))
				b.Fake().ControlKey(-1, hang(b))
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				before := time.Now()
				require.ErrorIs(t, ask(ctx, c), context.DeadlineExceeded)
				require.Equal(t, time.Second, time.Since(before))
			})
		})
	}
}

func TestQuestionsToNobodyEnd(t *testing.T) {
	for name, ask := range questions() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := kafkatest.FakeVirtual(t)
				c := client(t, b, b.CreateTopic(t, "q", 1, 1, nil))
				b.Fake().ControlKey(-1, hang(b))
				before := time.Now()
				require.Error(t, ask(t.Context(), c))
				require.LessOrEqual(t, time.Since(before), requestTimeout)
			})
			// One that refuses is told of sooner, and by its reason.
			synctest.Test(t, func(t *testing.T) {
				refuses := &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("it is down")}
				c, err := New(Config{Topic: "t", Opts: []kgo.Opt{kgo.SeedBrokers("127.0.0.1:1", "127.0.0.1:2"), kgo.Dialer(
					func(context.Context, string, string) (net.Conn, error) { return nil, refuses })}})
				require.NoError(t, err)
				defer c.Close()
				before := time.Now()
				require.ErrorContains(t, ask(t.Context(), c), "it is down")
				require.Less(t, time.Since(before), 5*time.Second)
			})
		})
	}
}

func questions() map[string]func(context.Context, *Client) error {
	return map[string]func(context.Context, *Client) error{
		"Describe":    func(ctx context.Context, c *Client) error { _, err := c.Describe(ctx); return err },
		"TopicConfig": func(ctx context.Context, c *Client) error { _, err := c.TopicConfig(ctx); return err },
		"Ranges":      func(ctx context.Context, c *Client) error { _, err := c.Ranges(ctx); return err },
		"EpochEnds": func(ctx context.Context, c *Client) error {
			_, err := c.EpochEnds(ctx, map[int32]int32{0: 0})
			return err
		},
	}
}

func TestTopicID(t *testing.T) {
	require.False(t, TopicID{}.Known())
	id := TopicID{0xfb, 0xff, 1}
	require.True(t, id.Known())
	require.Equal(t, "-_8BAAAAAAAAAAAAAAAAAA", id.String())

	// As Kafka's own tools print it.
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		topic := b.CreateTopic(t, "id", 1, 1, nil)
		topics, err := b.Admin(t).ListTopics(t.Context(), topic)
		require.NoError(t, err)
		require.Equal(t, topics[topic].ID, kadm.TopicID(described(t, client(t, b, topic)).ID))
	})
}
