package feed

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/globaltable/enrich/internal/kafkatest"
)

func soon(c *Config) { c.MetadataInterval = 50 * time.Millisecond }

func TestNewPartitionsAreReadFromTheirStart(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		topic := b.CreateTopic(t, "grows", 1, 1, nil)
		b.ProduceTo(t, 0, kv(topic, 0, 3)...)
		r := start(t, client(t, b, topic, soon), Plan{Starts: at(3)})
		r.awaitNext(t, 0, 3)
		_, err := b.Admin(t).CreatePartitions(t.Context(), 2, topic)
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			meta, err := b.Admin(t).ListTopics(t.Context(), topic)
			return err == nil && len(meta[topic].Partitions) == 3
		}, patience, 20*time.Millisecond)
		b.ProduceTo(t, 2, kv(topic, 0, 5)...)
		got := r.awaitNext(t, 2, 5)
		require.Equal(t, values(0, 5), got.values)
		require.Zero(t, got.from)
		r.awaitNext(t, 1, 0)
		require.Empty(t, r.got(0).values)
		r.stop()
	})
}

func TestNewPartitionsAreFoundInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := kafkatest.FakeVirtual(t)
		topic := b.CreateTopic(t, "grows", 1, 1, nil)
		r := start(t, client(t, b, topic, func(c *Config) { c.MetadataInterval = 7 * time.Second }), Plan{})
		r.awaitNext(t, 0, 0)
		before := time.Now()
		_, err := b.Admin(t).CreatePartitions(t.Context(), 1, topic)
		require.NoError(t, err)
		r.awaitNext(t, 1, 0)
		require.LessOrEqual(t, time.Since(before), 8*time.Second)
		r.stop()
	})
}

func TestARecreatedTopicEndsTheSession(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		topic := b.CreateTopic(t, "again", 1, 1, nil)
		b.ProduceTo(t, 0, kv(topic, 0, 10)...)
		c := client(t, b, topic, soon)
		plan := Plan{Topic: described(t, c)}
		adm := b.Admin(t)
		_, err := adm.DeleteTopic(t.Context(), topic)
		require.NoError(t, err)
		recreate(t, b, adm, topic, 1)
		b.ProduceTo(t, 0, kv(topic, 100, 20)...)

		r := start(t, c, plan)
		err = r.wait()
		var changed *TopicChangedError
		require.ErrorAs(t, err, &changed)
		require.Equal(t, plan.Topic.ID, changed.Old)
		require.Equal(t, described(t, c).ID, changed.New)
		require.ErrorContains(t, err, changed.New.String())
		require.Empty(t, r.all(), "nothing of the new topic is delivered")
	})
}

func TestATopicRecreatedWhileItIsReadEndsTheSession(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		topic := b.CreateTopic(t, "again", 1, 1, nil)
		b.ProduceTo(t, 0, kv(topic, 0, 10)...)
		c := client(t, b, topic, soon)
		r := start(t, c, Plan{})
		r.awaitNext(t, 0, 10)
		adm := b.Admin(t)
		_, err := adm.DeleteTopic(t.Context(), topic)
		require.NoError(t, err)
		recreate(t, b, adm, topic, 1)
		b.ProduceTo(t, 0, kv(topic, 100, 20)...)
		err = r.wait()
		require.True(t, final(err), "%v", err) // it may be seen while it is gone
		require.Equal(t, values(0, 10), r.got(0).values)
	})
}

func TestADeletedTopicEndsTheSession(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		topic := b.CreateTopic(t, "gone", 1, 1, nil)
		b.ProduceTo(t, 0, kv(topic, 0, 10)...)
		// It is not the interval that shows it, but that fetches fail.
		c := client(t, b, topic, func(c *Config) { c.MetadataInterval = time.Hour })
		r := start(t, c, Plan{})
		r.awaitNext(t, 0, 10)
		_, err := b.Admin(t).DeleteTopic(t.Context(), topic)
		require.NoError(t, err)
		require.ErrorIs(t, r.wait(), ErrTopicAbsent)
		require.Equal(t, values(0, 10), r.got(0).values)
	})
}

// A broker that is behind the others tells of a topic that is gone, not yet
// there, or the one of before.
func TestOneAnswerDoesNotEndASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := kafkatest.FakeVirtual(t)
		topic := b.CreateTopic(t, "doubt", 1, 1, nil)
		trouble, hear := listen()
		c := client(t, b, topic, hear)
		other := described(t, c)
		other.ID[0]++
		r := start(t, c, Plan{})
		r.awaitNext(t, 0, 0)
		var answers atomic.Int32
		answerMetadata(b, 4, func(req kmsg.Request) *kmsg.MetadataResponse {
			resp := metadataOf(b, req, topic, other)
			switch answers.Add(1) {
			case 1:
			case 2:
				resp.Topics[0].ErrorCode = kerr.UnknownTopicOrPartition.Code
			default:
				return nil
			}
			return resp
		})
		time.Sleep(10 * time.Second)
		require.GreaterOrEqual(t, answers.Load(), int32(3))
		b.ProduceTo(t, 0, kv(topic, 0, 1)...)
		r.awaitNext(t, 0, 1)
		require.Empty(t, trouble.all())
		r.stop()
	})
}

func TestLeadersThatMoveAreFollowed(t *testing.T) {
	b := kafkatest.Fake(t)
	topic := b.CreateTopic(t, "moves", 3, 1, nil)
	// Only failed fetches tell that a leader moved.
	c := client(t, b, topic, func(c *Config) { c.MetadataInterval = time.Hour })
	r := start(t, c, Plan{})
	n := 0
	for round := range 8 {
		for p := range int32(3) {
			b.ProduceTo(t, p, kv(topic, n, 5)...)
		}
		n += 5
		require.NoError(t, b.Fake().MoveTopicPartition(topic, int32(round%3), int32(round+1)%3))
	}
	for p := range int32(3) {
		require.Equal(t, values(0, n), r.awaitNext(t, p, int64(n)).values)
	}
	r.stop()
}

// A leader that goes away without a word does not answer the fetch it holds.
func TestALeaderThatFallsSilentIsNotWaitedForOnceAnotherLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := kafkatest.FakeVirtual(t)
		topic := b.CreateTopic(t, "silent", 2, 1, nil)
		for p := range int32(2) {
			require.NoError(t, b.Fake().MoveTopicPartition(topic, p, 0))
		}
		c := client(t, b, topic, func(c *Config) { c.MetadataInterval = time.Second })
		r := start(t, c, Plan{})
		r.awaitNext(t, 0, 0)
		r.awaitNext(t, 1, 0)
		b.Fake().ControlKey(key(new(kmsg.FetchRequest)), func(kmsg.Request) (kmsg.Response, error, bool) {
			b.Fake().KeepControl()
			return nil, nil, b.Fake().CurrentNode() == 0
		})
		time.Sleep(600 * time.Millisecond) // those it has by now are over
		synctest.Wait()
		require.NoError(t, b.Fake().MoveTopicPartition(topic, 0, 1))
		before := time.Now()
		b.ProduceTo(t, 0, kv(topic, 0, 1)...)
		r.awaitNext(t, 0, 1)
		require.Less(t, time.Since(before), 3*time.Second)
		r.stop()
	})
}

func TestPartitionsWithoutALeaderAreWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := kafkatest.FakeVirtual(t)
		topic := b.CreateTopic(t, "leaderless", 2, 1, nil)
		b.ProduceTo(t, 0, kv(topic, 0, 3)...)
		b.ProduceTo(t, 1, kv(topic, 0, 3)...)
		trouble, hear := listen()
		c := client(t, b, topic, hear)
		led := described(t, c)
		none := &Topic{ID: led.ID, Partitions: []TopicPartition{led.Partitions[0], {Partition: 1, Leader: -1, Epoch: -1}}}
		var back atomic.Bool
		var asked atomic.Int32
		answerMetadata(b, -1, func(req kmsg.Request) *kmsg.MetadataResponse {
			asked.Add(1)
			if back.Load() {
				return nil
			}
			return metadataOf(b, req, topic, none)
		})
		r := start(t, c, Plan{Topic: none})
		n := trouble.awaitTrouble(t, "partition 1 has no leader")
		require.Equal(t, values(0, 3), r.awaitNext(t, 0, 3).values, "others are read")
		time.Sleep(time.Minute)
		require.Zero(t, r.got(1).batches)
		require.NotContains(t, trouble.all(), nil)
		require.Less(t, asked.Load(), int32(200), "by three clients, without a rush")
		back.Store(true)
		require.Equal(t, values(0, 3), r.awaitNext(t, 1, 3).values)
		trouble.awaitPeace(t, n)
		r.stop()
	})
}

func TestAPartitionTheTopicDoesNotHaveIsWaitedFor(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		topic := b.CreateTopic(t, "missing", 1, 1, nil)
		trouble, hear := listen()
		r := start(t, client(t, b, topic, hear, soon), Plan{Until: map[int32]int64{0: 0, 1: 0}})
		trouble.awaitTrouble(t, "topic has no partition 1 yet")
		_, err := b.Admin(t).CreatePartitions(t.Context(), 1, topic)
		require.NoError(t, err)
		require.NoError(t, r.wait())
	})
}

func TestMetadataThatFailsIsReportedAndAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := kafkatest.FakeVirtual(t)
		topic := b.CreateTopic(t, "metadata", 1, 1, nil)
		trouble, hear := listen()
		r := start(t, client(t, b, topic, hear), Plan{})
		producer := b.Client(t)
		require.NoError(t, producer.ProduceSync(t.Context(), kv(topic, 0, 1)...).FirstErr())
		r.awaitNext(t, 0, 1)
		fault := b.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Topic: topic, Err: kerr.TopicAuthorizationFailed, Count: -1})
		n := trouble.awaitTrouble(t, "metadata: TOPIC_AUTHORIZATION_FAILED")
		require.NoError(t, producer.ProduceSync(t.Context(), kv(topic, 1, 1)...).FirstErr())
		r.awaitNext(t, 0, 2) // reading goes on
		before := fault.Hits()
		time.Sleep(time.Minute)
		require.InDelta(t, 60, fault.Hits()-before, 20)
		require.NotContains(t, trouble.all(), nil)
		fault.Remove()
		trouble.awaitPeace(t, n)
		r.stop()
	})
}

func TestLead(t *testing.T) {
	p := newPartition(Start{Partition: 3, Offset: 5, Epoch: -1})
	retry := time.Now()
	lead := func(leader, epoch int32) (int32, int32) {
		p.lead(TopicPartition{Partition: 3, Leader: leader, Epoch: epoch})
		return p.leader, p.leaderEpoch
	}
	is := func(leader, epoch, gotLeader, gotEpoch int32) {
		t.Helper()
		require.Equal(t, []int32{leader, epoch}, []int32{gotLeader, gotEpoch})
	}
	l, e := lead(1, 7)
	is(1, 7, l, e)
	p.retryAt = retry
	l, e = lead(1, 7)
	is(1, 7, l, e)
	require.Equal(t, retry, p.retryAt)
	for range 5 {
		l, e = lead(2, 6)
		is(1, 7, l, e) // from a broker that is behind
	}
	require.Equal(t, retry, p.retryAt)
	l, e = lead(2, 6)
	is(2, 6, l, e) // or not
	require.Zero(t, p.retryAt, "a new leader is asked at once")
	l, e = lead(3, -1)
	is(3, -1, l, e) // a broker that knows no epochs
	l, e = lead(3, 0)
	is(3, 0, l, e)
}

// The broker is down for a while, all of it, and comes back with higher leader
// epochs. What was read before is still there: no divergence.
func TestABrokerThatIsAwayIsWaitedFor(t *testing.T) {
	cluster := kafkatest.StartCluster(t, 1)
	b := cluster.Broker()
	topic := b.CreateTopic(t, "restart", 2, 1, nil)
	for p := range int32(2) {
		b.ProduceTo(t, p, kv(topic, 0, 10)...)
	}
	trouble, hear := listen()
	c := client(t, b, topic, hear)
	r := start(t, c, Plan{})
	r.awaitNext(t, 0, 10)
	require.Empty(t, trouble.all())

	cluster.Stop(0)
	n := trouble.await(t, 0, func(err error) bool { return err != nil })
	cluster.Start(0)
	for p := range int32(2) {
		b.ProduceTo(t, p, kv(topic, 10, 10)...)
		got := r.awaitNext(t, p, 20)
		require.Equal(t, values(0, 20), got.values)
		require.Positive(t, got.epoch)
	}
	trouble.awaitPeace(t, n)
	r.stop()

	// A position with its epoch from before the restart, and from behind it.
	last := r.got(0).epoch
	ends, err := c.EpochEnds(t.Context(), map[int32]int32{0: 0, 1: last})
	require.NoError(t, err)
	require.Equal(t, map[int32]int64{0: 10, 1: 20}, ends)
	r = start(t, c, Plan{Starts: []Start{{Partition: 0, Offset: 10, Epoch: 0}, {Partition: 1, Offset: 20, Epoch: last}}})
	require.Equal(t, values(10, 10), r.awaitNext(t, 0, 20).values)
	r.awaitNext(t, 1, 20)
	r.stop()

	// Behind the end of its epoch: what was read there is not what is there.
	r = start(t, c, Plan{Starts: []Start{{Partition: 0, Offset: 15, Epoch: 0}}})
	require.Equal(t, &DivergedError{Position: 15, End: 10}, r.wait())
	require.Zero(t, r.got(0).batches)

	// Not so where rows below the log start were skipped: the position is no
	// longer behind the record that the epoch was of.
	var o kadm.Offsets
	o.Add(kadm.Offset{Topic: topic, Partition: 0, At: 13})
	_, err = b.Admin(t).DeleteRecords(t.Context(), o)
	require.NoError(t, err)
	got := readUntil(t, c, map[int32]int64{0: 20}, Start{Partition: 0, Offset: 5, Epoch: 0})
	require.Equal(t, values(13, 7), got[0].values)
}
