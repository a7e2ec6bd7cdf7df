package feed

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/globaltable/enrich/internal/kafkatest"
)

func TestARecordBatchLargerThanTheLimitsIsRead(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		topic := b.CreateTopic(t, "large", 3, 1, nil)
		large := bytes.Repeat([]byte("x"), 500<<10)
		for p := range int32(3) {
			// Many small records in front, so that answers are full before
			// they come to the large one of another partition.
			for i := range 20 {
				b.ProduceTo(t, p, kv(topic, i*10, 10)...)
			}
			b.ProduceTo(t, p, &kgo.Record{Topic: topic, Value: large}, &kgo.Record{Topic: topic, Value: large[:1]})
			b.ProduceTo(t, p, kv(topic, 202, 1)...)
		}
		trouble, hear := listen()
		c := client(t, b, topic, hear, func(c *Config) { c.Connections = 1; c.MaxBytes = 1000; c.MaxPartitionBytes = 300 })
		got := readUntil(t, c, map[int32]int64{0: 203, 1: 203, 2: 203})
		for p := range int32(3) {
			require.Len(t, got[p].values, 203)
			require.Len(t, got[p].values[200], len(large))
		}
		require.Empty(t, trouble.all(), "to wait for its turn is no trouble")
	})
}

// An answer has room for one batch: no partition gets ahead of the others.
func TestPartitionsTakeTurns(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		topic := b.CreateTopic(t, "turns", 3, 1, nil)
		for p := range int32(3) {
			if !b.Real() {
				require.NoError(t, b.Fake().MoveTopicPartition(topic, p, 0))
			}
			for i := range 10 {
				b.ProduceTo(t, p, kv(topic, i, 1)...)
			}
		}
		c := client(t, b, topic, func(c *Config) { c.Connections = 1; c.MaxBytes = 1; c.MaxPartitionBytes = 1 })
		next := map[int32]int64{0: 0, 1: 0, 2: 0}
		var uneven []map[int32]int64
		err := c.Read(t.Context(), Plan{Topic: described(t, c), Until: map[int32]int64{0: 10, 1: 10, 2: 10}},
			func(_ context.Context, b *Batch) error { // by one worker only
				next[b.Partition] = b.Next
				if max(next[0], next[1], next[2])-min(next[0], next[1], next[2]) > 1 {
					uneven = append(uneven, maps.Clone(next))
				}
				return nil
			})
		require.NoError(t, err)
		require.Empty(t, uneven)
		require.Equal(t, map[int32]int64{0: 10, 1: 10, 2: 10}, next)
	})
}

// seen keeps the fetch requests that a fake gets.
type seen struct {
	mu   sync.Mutex
	reqs []kmsg.FetchRequest
}

func (s *seen) add(r kmsg.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reqs = append(s.reqs, *r.(*kmsg.FetchRequest))
}

func (s *seen) all() []kmsg.FetchRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]kmsg.FetchRequest(nil), s.reqs...)
}

func TestFetchesSayWhatIsKnown(t *testing.T) {
	b := kafkatest.Fake(t, kfake.NumBrokers(1))
	topic := b.CreateTopic(t, "request", 1, 1, nil)
	b.ProduceTo(t, 0, kv(topic, 0, 3)...)
	require.NoError(t, b.Fake().MoveTopicPartition(topic, 0, 0)) // leader epoch 1
	b.ProduceTo(t, 0, kv(topic, 3, 3)...)
	var requests seen
	observe(b, new(kmsg.FetchRequest), requests.add)
	c := client(t, b, topic, func(c *Config) { c.MaxWait = 20 * time.Millisecond; c.MaxBytes = 5000; c.MaxPartitionBytes = 100 })
	r := start(t, c, Plan{Starts: []Start{{Partition: 0, Offset: 3, Epoch: 0}}})
	require.Equal(t, values(3, 3), r.await(t, 0, func(r read) bool { return r.batches > 2 }).values)
	require.Equal(t, int32(1), r.got(0).epoch)
	r.stop()

	first, later := requests.all()[0], requests.all()[1]
	require.GreaterOrEqual(t, first.Version, int16(topicIDsSince))
	require.Equal(t, described(t, c).ID, TopicID(first.Topics[0].TopicID))
	require.Equal(t, int32(5000), first.MaxBytes)
	require.Equal(t, int8(1), first.IsolationLevel)
	require.Zero(t, first.MaxWaitMillis, "the first answer comes at once")
	require.Equal(t, int32(20), later.MaxWaitMillis)
	p, q := first.Topics[0].Partitions[0], later.Topics[0].Partitions[0]
	require.Equal(t, []int64{3, 6}, []int64{p.FetchOffset, q.FetchOffset})
	require.Equal(t, []int32{0, 1}, []int32{p.LastFetchedEpoch, q.LastFetchedEpoch})
	require.Equal(t, []int32{1, 1}, []int32{p.CurrentLeaderEpoch, q.CurrentLeaderEpoch})
	require.Equal(t, int32(100), p.PartitionMaxBytes)
}

func TestBatchesSayWhenTheyWereAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := kafkatest.FakeVirtual(t)
		topic := b.CreateTopic(t, "asked", 1, 1, nil)
		c := client(t, b, topic, func(c *Config) { c.MaxWait = 10 * time.Second })
		topicNow := described(t, c)
		ctx, cancel := context.WithCancel(t.Context())
		var took []time.Duration
		err := c.Read(ctx, Plan{Topic: topicNow}, func(_ context.Context, b *Batch) error {
			if took = append(took, time.Since(b.Asked)); len(took) == 3 {
				cancel()
			}
			return nil
		})
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, []time.Duration{0, 10 * time.Second, 10 * time.Second}, took)
	})
}

func TestADivergingEpochEndsTheSession(t *testing.T) {
	b := kafkatest.Fake(t)
	topic := b.CreateTopic(t, "diverged", 1, 1, nil)
	b.ProduceTo(t, 0, kv(topic, 0, 10)...)
	c := client(t, b, topic)
	r := start(t, c, Plan{})
	r.awaitNext(t, 0, 10)
	b.Fake().ControlKey(key(new(kmsg.FetchRequest)), func(req kmsg.Request) (kmsg.Response, error, bool) {
		resp := answerTo(req, func(p *kmsg.FetchResponseTopicPartition) {
			p.HighWatermark, p.LastStableOffset = 12, 12
			p.DivergingEpoch.Epoch, p.DivergingEpoch.EndOffset = 0, 7
		})
		return resp, nil, true
	})
	err := r.wait()
	require.Equal(t, &DivergedError{Partition: 0, Position: 10, End: 7}, err)
	require.EqualError(t, err, "partition 0: the log was truncated to offset 7 since it was read to position 10")
	require.Equal(t, int64(10), r.got(0).next, "nothing is delivered with it")
}

// answerTo makes an answer to a fetch of one partition.
func answerTo(req kmsg.Request, edit func(*kmsg.FetchResponseTopicPartition)) *kmsg.FetchResponse {
	rt := req.(*kmsg.FetchRequest).Topics[0]
	resp := req.ResponseKind().(*kmsg.FetchResponse)
	at := kmsg.NewFetchResponseTopic()
	at.Topic, at.TopicID = rt.Topic, rt.TopicID
	p := kmsg.NewFetchResponseTopicPartition()
	p.Partition = rt.Partitions[0].Partition
	p.RecordBatches = []byte{}
	edit(&p)
	at.Partitions = append(at.Partitions, p)
	resp.Topics = append(resp.Topics, at)
	return resp
}

func TestFailuresAreWaitedOut(t *testing.T) {
	fetch := []kmsg.Key{kmsg.Fetch}
	for name, tc := range map[string]struct {
		fault func(topic string) kfake.Fault
		want  string
	}{
		"whole request": {func(string) kfake.Fault {
			return kfake.Fault{Keys: fetch, TopLevel: true, Err: kerr.UnknownServerError, Count: 3}
		}, "UNKNOWN_SERVER_ERROR"},
		"not leader": {func(topic string) kfake.Fault {
			return kfake.Fault{Keys: fetch, Topic: topic, Err: kerr.NotLeaderForPartition, Count: 3}
		}, "NOT_LEADER"},
		"fenced epoch": {func(topic string) kfake.Fault {
			return kfake.Fault{Keys: fetch, Topic: topic, Err: kerr.FencedLeaderEpoch, Count: 2}
		}, "FENCED_LEADER_EPOCH"},
		"unknown epoch": {func(topic string) kfake.Fault {
			return kfake.Fault{Keys: fetch, Topic: topic, Err: kerr.UnknownLeaderEpoch, Count: 2}
		}, "UNKNOWN_LEADER_EPOCH"},
		"storage": {func(topic string) kfake.Fault {
			return kfake.Fault{Keys: fetch, Topic: topic, Err: kerr.KafkaStorageError, Count: 2}
		}, "KAFKA_STORAGE_ERROR"},
		"not allowed": {func(topic string) kfake.Fault {
			return kfake.Fault{Keys: fetch, Topic: topic, Err: kerr.TopicAuthorizationFailed, Count: 2}
		}, "TOPIC_AUTHORIZATION_FAILED"},
		"unknown id for a moment": {func(topic string) kfake.Fault {
			return kfake.Fault{Keys: fetch, Topic: topic, Err: kerr.UnknownTopicID, Count: 2}
		}, "UNKNOWN_TOPIC_ID"},
		"no such topic for a moment": {func(topic string) kfake.Fault {
			return kfake.Fault{Keys: fetch, Topic: topic, Err: kerr.UnknownTopicOrPartition, Count: 2}
		}, "UNKNOWN_TOPIC_OR_PARTITION"},
		"log start": {func(topic string) kfake.Fault {
			return kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Topic: topic, Err: kerr.OffsetNotAvailable, Count: 3}
		}, "OFFSET_NOT_AVAILABLE"},
		"metadata": {func(topic string) kfake.Fault {
			return kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Topic: topic, Err: kerr.NotLeaderForPartition, Count: 2}
		}, "NOT_LEADER"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := kafkatest.FakeVirtual(t)
				topic := b.CreateTopic(t, "fault", 2, 1, nil)
				b.ProduceTo(t, 0, kv(topic, 0, 10)...)
				b.ProduceTo(t, 1, kv(topic, 0, 10)...)
				trouble, hear := listen()
				c := client(t, b, topic, hear)
				plan := Plan{Topic: described(t, c)}
				b.Fake().Fault(tc.fault(topic))
				r := start(t, c, plan)
				n := trouble.awaitTrouble(t, tc.want)
				trouble.awaitPeace(t, n)
				require.Equal(t, values(0, 10), r.awaitNext(t, 0, 10).values)
				require.Equal(t, values(0, 10), r.awaitNext(t, 1, 10).values)
				r.stop()
				require.NoError(t, trouble.all()[len(trouble.all())-1], "it ends in peace")
			})
		})
	}
}

func TestAnAnswerThatLacksAPartitionIsWaitedOut(t *testing.T) {
	b := kafkatest.Fake(t)
	topic := b.CreateTopic(t, "lacks", 1, 1, nil)
	b.ProduceTo(t, 0, kv(topic, 0, 3)...)
	trouble, hear := listen()
	c := client(t, b, topic, hear)
	plan := Plan{Topic: described(t, c)}
	b.Fake().ControlKey(key(new(kmsg.FetchRequest)), func(req kmsg.Request) (kmsg.Response, error, bool) {
		return req.ResponseKind(), nil, true
	})
	b.Fake().ControlKey(key(new(kmsg.FetchRequest)), func(req kmsg.Request) (kmsg.Response, error, bool) {
		return answerTo(req, func(p *kmsg.FetchResponseTopicPartition) { p.Partition = 7 }), nil, true
	})
	r := start(t, c, plan)
	require.Equal(t, values(0, 3), r.awaitNext(t, 0, 3).values)
	n := trouble.awaitTrouble(t, "answer lacks partition 0")
	trouble.awaitPeace(t, n)
	r.stop()
}

// Such a topic would be asked for again without a pause.
func TestPartOfARecordBatchIsWaitedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := kafkatest.FakeVirtual(t)
		topic := b.CreateTopic(t, "part", 1, 1, nil)
		b.ProduceTo(t, 0, kv(topic, 0, 3)...)
		trouble, hear := listen()
		c := client(t, b, topic, hear)
		plan := Plan{Topic: described(t, c)}
		var requests seen
		b.Fake().ControlKey(key(new(kmsg.FetchRequest)), func(req kmsg.Request) (kmsg.Response, error, bool) {
			b.Fake().KeepControl()
			requests.add(req)
			return answerTo(req, func(p *kmsg.FetchResponseTopicPartition) {
				p.HighWatermark, p.LastStableOffset = 3, 3
				p.RecordBatches = batch(0, 0, 3).bytes()[:40]
			}), nil, true
		})
		r := start(t, c, plan)
		trouble.awaitTrouble(t, "no whole record batch")
		time.Sleep(time.Minute)
		require.Less(t, len(requests.all()), 40)
		require.NotContains(t, trouble.all(), nil)
		require.Zero(t, r.got(0).batches)
		r.stop()
	})
}

func TestADamagedBatchIsNeverPassed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := kafkatest.FakeVirtual(t)
		topic := b.CreateTopic(t, "damaged", 2, 1, nil)
		trouble, hear := listen()
		c := client(t, b, topic, hear, func(c *Config) { c.Connections = 1 })
		plan := Plan{Topic: described(t, c)}
		sound := batch(0, 4, 3).bytes()
		damaged := batch(3, 5, 3).bytes()
		damaged[70] ^= 1
		behind := batch(6, 5, 3).bytes()
		b.Fake().ControlKey(key(new(kmsg.FetchRequest)), func(req kmsg.Request) (kmsg.Response, error, bool) {
			b.Fake().KeepControl()
			for _, rp := range req.(*kmsg.FetchRequest).Topics[0].Partitions {
				if rp.Partition == 0 {
					from := map[int64]int{0: 0, 3: len(sound), 6: len(sound) + len(damaged)}[rp.FetchOffset]
					return answerTo(req, func(p *kmsg.FetchResponseTopicPartition) {
						p.Partition, p.HighWatermark, p.LastStableOffset = 0, 9, 9
						p.RecordBatches = bytes.Join([][]byte{sound, damaged, behind}, nil)[from:]
					}), nil, true
				}
			}
			return nil, nil, false
		})
		r := start(t, c, plan)
		trouble.awaitTrouble(t, "damaged record batch: partition 0 at offset 3")
		time.Sleep(time.Minute)
		got := r.got(0)
		require.Equal(t, []int64{0, 1, 2}, got.offsets, "what is before it is delivered")
		require.Equal(t, int64(3), got.next)
		require.Equal(t, int32(4), got.epoch)
		require.Error(t, trouble.all()[len(trouble.all())-1])
		require.Less(t, len(trouble.all()), 80, "it backs off")
		r.stop()
	})
}

// A broker that is over a quota answers at once with nothing, and says how long
// not to ask again.
func TestThrottlingIsObeyed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := kafkatest.FakeVirtual(t)
		topic := b.CreateTopic(t, "throttled", 1, 1, nil)
		c := client(t, b, topic)
		var requests seen
		b.Fake().ControlKey(key(new(kmsg.FetchRequest)), func(req kmsg.Request) (kmsg.Response, error, bool) {
			b.Fake().KeepControl()
			requests.add(req)
			resp := answerTo(req, func(p *kmsg.FetchResponseTopicPartition) {
				p.HighWatermark, p.LastStableOffset = 3, 3
			})
			resp.ThrottleMillis = 1000
			return resp, nil, true
		})
		r := start(t, c, Plan{})
		time.Sleep(time.Minute)
		require.InDelta(t, 60, len(requests.all()), 3)
		before := time.Now()
		r.stop()
		require.Zero(t, time.Since(before), "nor does it hold up the end")
	})
}

func TestAnIdleTopicIsAskedForOncePerWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := kafkatest.FakeVirtual(t, kfake.NumBrokers(1))
		topic := b.CreateTopic(t, "idle", 6, 1, nil)
		var requests seen
		observe(b, new(kmsg.FetchRequest), requests.add)
		r := start(t, client(t, b, topic, func(c *Config) { c.Connections = 1 }), Plan{})
		time.Sleep(time.Minute)
		require.InDelta(t, 120, len(requests.all()), 4)
		r.stop()
	})
}

// What other partitions do meanwhile does not depend on the one that fails.
func TestAFailingPartitionDoesNotHoldUpOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := kafkatest.FakeVirtual(t, kfake.NumBrokers(1))
		topic := b.CreateTopic(t, "others", 4, 1, nil)
		trouble, hear := listen()
		c := client(t, b, topic, hear, func(c *Config) { c.Connections = 1 })
		plan := Plan{Topic: described(t, c)}
		fault := b.Fake().Fault(
			kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: topic, Partitions: []int32{0}, Err: kerr.KafkaStorageError, Count: -1},
			kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Topic: topic, Partitions: []int32{1}, Err: kerr.NotLeaderForPartition, Count: -1},
		)
		r := start(t, c, plan)
		for i := range 30 {
			b.ProduceTo(t, 2, kv(topic, i, 1)...)
			before := time.Now()
			r.awaitNext(t, 2, int64(i+1))
			require.LessOrEqual(t, time.Since(before), 600*time.Millisecond)
			time.Sleep(time.Second)
		}
		require.Less(t, fault.Hits(), 80, "and is asked for ever less often")
		require.NotContains(t, trouble.all(), nil, "no peace is reported in between")
		n := len(trouble.all())
		fault.Remove()
		trouble.awaitPeace(t, n)
		r.stop()
	})
}

// Brokers before 3.1 fetch by name: what comes may be another topic's.
func TestFetchByNameReadsTheTopicOfTheIDOnly(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		topic := b.CreateTopic(t, "by-name", 1, 1, nil)
		b.ProduceTo(t, 0, kv(topic, 0, 10)...)
		old := func(c *Config) {
			v := kversion.Stable()
			v.SetMaxKeyVersion(1, topicIDsSince-1)
			c.Opts = append(c.Opts, kgo.MaxVersions(v))
			// Only the fetch can notice.
			c.MetadataInterval = time.Hour
		}
		c := client(t, b, topic, old)
		plan := Plan{Topic: described(t, c), Starts: at(0)}
		require.True(t, plan.Topic.ID.Known())
		require.Equal(t, values(0, 10), readUntil(t, c, map[int32]int64{0: 10})[0].values)

		adm := b.Admin(t)
		_, err := adm.DeleteTopic(t.Context(), topic)
		require.NoError(t, err)
		recreate(t, b, adm, topic, 1)
		b.ProduceTo(t, 0, kv(topic, 100, 5)...)
		r := start(t, c, plan)
		err = r.wait()
		var changed *TopicChangedError
		if !errors.As(err, &changed) {
			require.ErrorIs(t, err, ErrTopicAbsent)
		}
		require.Empty(t, r.all(), "nothing of the new topic is delivered")
	})
}

// recreate creates a topic again, which works once the old one is gone for good.
func recreate(t *testing.T, b *kafkatest.Broker, adm *kadm.Client, topic string, partitions int32) {
	t.Helper()
	require.Eventually(t, func() bool {
		_, err := adm.CreateTopic(t.Context(), partitions, 1, nil, topic)
		return err == nil
	}, patience, 20*time.Millisecond)
	b.AwaitTopic(t, topic, partitions)
}

func TestWithoutAnIDTheTopicIsFetchedByName(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		topic := b.CreateTopic(t, "no-id", 1, 1, nil)
		b.ProduceTo(t, 0, kv(topic, 0, 10)...)
		var requests seen
		if !b.Real() {
			observe(b, new(kmsg.FetchRequest), requests.add)
		}
		c := client(t, b, topic, func(c *Config) {
			v := kversion.Stable()
			v.SetMaxKeyVersion(3, 9) // metadata before topic ids
			c.Opts = append(c.Opts, kgo.MaxVersions(v))
			c.MaxWait = 20 * time.Millisecond
		})
		plan := Plan{Topic: described(t, c)}
		require.False(t, plan.Topic.ID.Known())
		r := start(t, c, plan)
		require.Equal(t, values(0, 10), r.await(t, 0, func(r read) bool { return r.batches > 3 }).values)
		r.stop()
		for _, req := range requests.all() {
			require.Equal(t, int16(topicIDsSince-1), req.Version)
			require.Equal(t, topic, req.Topics[0].Topic)
		}
	})
}
