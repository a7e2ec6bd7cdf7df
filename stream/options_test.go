package stream

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestOptionDefaults(t *testing.T) {
	c := newConfig(nil)
	require.Equal(t, time.Second, c.interval)
	require.Equal(t, Fail, c.badRecord)
	require.Equal(t, 10_000, c.maxInFlight)
	require.Equal(t, 10*time.Second, c.shutdown)
	require.NotNil(t, c.logger)
	require.False(t, c.uncommitted || c.stopAtEnd)
	c = newConfig([]Opt{nil, Logger(nil), CommitInterval(time.Minute), CommitInterval(time.Hour)})
	require.NotNil(t, c.logger)
	require.Equal(t, time.Hour, c.interval, "the later one counts")
}

func TestOptionsAreChecked(t *testing.T) {
	sink := ForEach(strs("in"), new(collector).add)
	good := []Opt{Brokers("127.0.0.1:1"), Group("g")}
	for name, tc := range map[string]struct {
		opts []Opt
		want string
	}{
		"no brokers":     {[]Opt{Group("g")}, "no brokers: give Brokers(...)"},
		"no group":       {[]Opt{Brokers("127.0.0.1:1")}, "no group: give Group(...)"},
		"bad broker":     {append(good, Brokers("host:port")), "Kafka options"},
		"interval":       {append(good, CommitInterval(0)), "CommitInterval has to be above 0"},
		"in flight":      {append(good, MaxInFlight(-1)), "MaxInFlight has to be above 0, not -1"},
		"fetch":          {append(good, FetchBytes(0)), "FetchBytes has to be above 0, not 0"},
		"shutdown":       {append(good, ShutdownTimeout(0)), "ShutdownTimeout has to be above 0"},
		"policy":         {append(good, OnBadRecord("ignore")), `not "ignore"`},
		"no letter box":  {append(good, OnBadRecord(DeadLetter(""))), "OnBadRecord takes"},
		"hook":           {append(good, Hooks(42)), "int implements none of the Hook interfaces"},
		"transactional":  {append(good, Kafka(kgo.TransactionalID("x"))), "TransactionalID is not supported"},
		"not idempotent": {append(good, Kafka(kgo.DisableIdempotentWrite())), "DisableIdempotentWrite is not supported"},
		"manual flush":   {append(good, Kafka(kgo.ManualFlushing())), "ManualFlushing is not supported"},
		"regex":          {append(good, Kafka(kgo.ConsumeRegex())), "ConsumeRegex is not supported"},
		"retryable":      {append(good, Kafka(kgo.KeepRetryableFetchErrors())), "KeepRetryableFetchErrors is not supported"},
		"direct":         {append(good, Kafka(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"a": {0: kgo.NewOffset()}}))), "Kafka options"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(sink, tc.opts...)
			require.ErrorContains(t, err, tc.want)
			require.ErrorContains(t, err, "stream: ")
			require.ErrorContains(t, Run(t.Context(), sink, tc.opts...), tc.want)
		})
	}
	_, err := New(sink, CommitInterval(0))
	for _, want := range []string{"no brokers", "no group", "CommitInterval"} {
		require.ErrorContains(t, err, want, "all that is wrong is said at once")
	}
}

func TestUserKafkaOptionsAreOverruledWhereItMatters(t *testing.T) {
	w, err := New(ForEach(strs("in"), new(collector).add), Brokers("127.0.0.1:1"), Group("g"), InstanceID("i"),
		Kafka(kgo.ClientID("mine"), kgo.FetchIsolationLevel(kgo.ReadUncommitted())),
		Kafka(kgo.ConsumerGroup("other"), kgo.ConsumeTopics("other"), kgo.RequiredAcks(kgo.LeaderAck()), kgo.SeedBrokers("127.0.0.1:2"),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()), kgo.DisableIdempotentWrite()))
	require.ErrorContains(t, err, "DisableIdempotentWrite")
	require.Nil(t, w)

	e := onFake(t)
	in := e.topic("in", 1)
	e.putN(in, 0, 0, 3)
	var c collector
	_, err = e.runToEnd(ForEach(strs(in), c.add), Kafka(kgo.ConsumerGroup("other"), kgo.ConsumeTopics("other"),
		kgo.SeedBrokers("127.0.0.1:2"), kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()), kgo.RequiredAcks(kgo.LeaderAck())))
	require.NoError(t, err)
	require.Equal(t, numbered("v", 0, 3), c.values())
	require.EqualValues(t, 3, e.committed(e.group(), in, 0))
	require.EqualValues(t, -1, e.committed("other", in, 0))
}

func TestFetchesAreBounded(t *testing.T) {
	for name, tc := range map[string]struct {
		opts           []Opt
		all, partition int32
	}{
		"default":      {nil, 8 << 20, 1 << 20},
		"small":        {[]Opt{FetchBytes(1000)}, 1000, 1000},
		"large":        {[]Opt{FetchBytes(64 << 20)}, 64 << 20, 1 << 20},
		"kgo's option": {[]Opt{FetchBytes(1000), Kafka(kgo.FetchMaxBytes(5000))}, 5000, 1000},
	} {
		t.Run(name, func(t *testing.T) {
			w, err := New(ForEach(strs("in"), new(collector).add), append(tc.opts, Brokers("127.0.0.1:1"), Group("g"))...)
			require.NoError(t, err)
			cl, err := kgo.NewClient(w.cfg.shared()...)
			require.NoError(t, err)
			defer cl.Close()
			require.Equal(t, tc.all, cl.OptValue(kgo.FetchMaxBytes))
			require.Equal(t, tc.partition, cl.OptValue(kgo.FetchMaxPartitionBytes))
			require.Equal(t, fetchWait, cl.OptValue(kgo.FetchMaxWait))
		})
	}
}

func TestPolicyNames(t *testing.T) {
	topic, ok := DeadLetter("letters").deadLetterTopic()
	require.True(t, ok)
	require.Equal(t, "letters", topic)
	for _, p := range []BadRecordPolicy{Fail, Skip} {
		_, ok := p.deadLetterTopic()
		require.False(t, ok)
		require.True(t, p.valid())
	}
	require.False(t, BadRecordPolicy("").valid())
}
