package feed

import (
	"context"
	"errors"
	"net"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/internal/kafkatest"
)

func TestReadDeliversEachRecordOnceAndInOrder(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		topic := b.CreateTopic(t, "order", 3, 1, nil)
		for p := range int32(3) {
			for i := range 5 {
				b.ProduceTo(t, p, kv(topic, i*100, 100)...)
			}
		}
		// Small answers, so that there are many of each partition.
		c := client(t, b, topic, func(c *Config) { c.MaxPartitionBytes = 1000; c.MaxBytes = 2000 })
		r := start(t, c, Plan{})
		for p := range int32(3) {
			require.Equal(t, values(0, 500), r.awaitNext(t, p, 500).values)
		}
		require.Greater(t, r.got(0).batches, 1)

		// What comes later is read as it comes, from where it was left.
		for p := range int32(3) {
			b.ProduceTo(t, p, kv(topic, 500, 10)...)
			got := r.awaitNext(t, p, 510)
			require.Equal(t, values(0, 510), got.values)
			require.Equal(t, int64(510), got.end)
		}
		r.stop()
	})
}

func TestReadKnowsTheEnd(t *testing.T) {
	deleteBelow := func(t *testing.T, b *kafkatest.Broker, topic string, offset int64) {
		var o kadm.Offsets
		o.Add(kadm.Offset{Topic: topic, Partition: 0, At: offset})
		_, err := b.Admin(t).DeleteRecords(t.Context(), o)
		require.NoError(t, err)
	}
	for _, tc := range []struct {
		name        string
		config      map[string]string
		uncommitted bool
		fill        func(t *testing.T, b *kafkatest.Broker, topic string)
		values      []string
		end         int64
		logStart    int64
	}{
		{name: "of an empty topic", values: nil},
		{
			name:   "behind plain records",
			fill:   func(t *testing.T, b *kafkatest.Broker, topic string) { b.ProduceTo(t, 0, kv(topic, 0, 3)...) },
			values: values(0, 3), end: 3,
		},
		{
			name: "behind tombstones only",
			fill: func(t *testing.T, b *kafkatest.Broker, topic string) {
				b.ProduceTo(t, 0, &kgo.Record{Topic: topic, Key: []byte("a")}, &kgo.Record{Topic: topic, Key: []byte("b")})
			},
			values: []string{"", ""}, end: 2,
		},
		{
			name: "behind a commit marker",
			fill: func(t *testing.T, b *kafkatest.Broker, topic string) {
				kafkatest.ProduceTxn(t, b, true, kv(topic, 0, 2)...)
			},
			values: values(0, 2), end: 3,
		},
		{
			name: "behind two commit markers",
			fill: func(t *testing.T, b *kafkatest.Broker, topic string) {
				first, second := begin(t, b), begin(t, b)
				defer first.Close()
				defer second.Close()
				require.NoError(t, first.ProduceSync(t.Context(), kv(topic, 0, 1)...).FirstErr())
				require.NoError(t, second.ProduceSync(t.Context(), kv(topic, 1, 1)...).FirstErr())
				require.NoError(t, first.EndTransaction(t.Context(), kgo.TryCommit))
				require.NoError(t, second.EndTransaction(t.Context(), kgo.TryCommit))
			},
			values: values(0, 2), end: 4,
		},
		{
			name: "behind an aborted tail",
			fill: func(t *testing.T, b *kafkatest.Broker, topic string) {
				b.ProduceTo(t, 0, kv(topic, 0, 2)...)
				kafkatest.ProduceTxn(t, b, false, kv(topic, 2, 3)...)
			},
			values: values(0, 2), end: 6,
		},
		{
			name: "behind aborted records only",
			fill: func(t *testing.T, b *kafkatest.Broker, topic string) {
				kafkatest.ProduceTxn(t, b, false, kv(topic, 0, 3)...)
			},
			values: nil, end: 4,
		},
		{
			name: "before an open transaction",
			fill: func(t *testing.T, b *kafkatest.Broker, topic string) {
				b.ProduceTo(t, 0, kv(topic, 0, 2)...)
				open := begin(t, b)
				t.Cleanup(open.Close)
				require.NoError(t, open.ProduceSync(t.Context(), kv(topic, 2, 2)...).FirstErr())
				b.ProduceTo(t, 0, kv(topic, 4, 1)...)
			},
			values: values(0, 2), end: 2,
		},
		{
			name: "behind an open transaction, uncommitted", uncommitted: true,
			fill: func(t *testing.T, b *kafkatest.Broker, topic string) {
				kafkatest.ProduceTxn(t, b, false, kv(topic, 0, 2)...)
				open := begin(t, b)
				t.Cleanup(open.Close)
				require.NoError(t, open.ProduceSync(t.Context(), kv(topic, 2, 2)...).FirstErr())
			},
			values: values(0, 4), end: 5,
		},
		{
			name: "of a log that starts above 0",
			fill: func(t *testing.T, b *kafkatest.Broker, topic string) {
				b.ProduceTo(t, 0, kv(topic, 0, 5)...)
				deleteBelow(t, b, topic, 3)
			},
			values: values(3, 2), end: 5, logStart: 3,
		},
		{
			name: "of a log that was emptied",
			fill: func(t *testing.T, b *kafkatest.Broker, topic string) {
				b.ProduceTo(t, 0, kv(topic, 0, 5)...)
				deleteBelow(t, b, topic, 5)
			},
			values: nil, end: 5, logStart: 5,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
				topic := b.CreateTopic(t, "end", 1, 1, tc.config)
				if tc.fill != nil {
					tc.fill(t, b, topic)
				}
				c := client(t, b, topic, func(c *Config) { c.ReadUncommitted = tc.uncommitted })
				r := start(t, c, Plan{})
				got := r.await(t, 0, func(r read) bool { return r.next >= r.end && r.next >= tc.end })
				require.Equal(t, tc.values, got.values)
				require.Equal(t, tc.end, got.next)
				require.Equal(t, tc.end, got.end)
				require.Equal(t, tc.logStart, got.logStart)
				require.Equal(t, tc.logStart, got.from)
				r.stop()
			})
		})
	}
}

// begin returns a client in a transaction.
func begin(t *testing.T, b *kafkatest.Broker) *kgo.Client {
	cl := b.Client(t, kgo.TransactionalID(kafkatest.Unique("open")))
	require.NoError(t, cl.BeginTransaction())
	return cl
}

func TestReadCrossesWhatCompactionRemoved(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		topic := b.CreateTopic(t, "compacted", 1, 1, kafkatest.CompactedSoon(time.Hour))
		same := func(n int) (rs []*kgo.Record) {
			for _, r := range kv(topic, 0, n) {
				r.Key = []byte("same")
				rs = append(rs, r)
			}
			return rs
		}
		b.ProduceTo(t, 0, same(50)...)
		b.ProduceTo(t, 0, &kgo.Record{Topic: topic, Key: []byte("same"), Value: []byte("newest")})
		kafkatest.ForceCompaction(t, b, topic, 0, 0, 49, nil)
		ranges, err := client(t, b, topic).Ranges(t.Context())
		require.NoError(t, err)

		r := start(t, client(t, b, topic), Plan{})
		got := r.awaitNext(t, 0, ranges[0].End)
		require.Equal(t, "newest", got.values[0])
		require.Equal(t, int64(50), got.offsets[0])
		if b.Real() {
			require.Zero(t, got.from)
		}
		r.stop()

		// A position in the midst of what is gone is as good as any.
		if b.Real() {
			r := start(t, client(t, b, topic), Plan{Starts: at(20)})
			require.Equal(t, "newest", r.awaitNext(t, 0, 51).values[0])
			r.stop()
		}
	})
}

func TestReadResumesAtThePosition(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		topic := b.CreateTopic(t, "resume", 2, 1, nil)
		b.ProduceTo(t, 0, kv(topic, 0, 10)...)
		b.ProduceTo(t, 1, kv(topic, 0, 10)...)
		c := client(t, b, topic)
		first := readUntil(t, c, map[int32]int64{0: 10, 1: 10})
		require.Equal(t, int32(0), first[0].epoch)

		b.ProduceTo(t, 0, kv(topic, 10, 5)...)
		r := start(t, c, Plan{Starts: []Start{{Partition: 0, Offset: 10, Epoch: first[0].epoch}, {Partition: 1, Offset: 4, Epoch: -1}}})
		got := r.awaitNext(t, 0, 15)
		require.Equal(t, values(10, 5), got.values)
		require.Equal(t, int64(10), got.from)
		// In the midst of a batch too.
		require.Equal(t, values(4, 6), r.awaitNext(t, 1, 10).values)
		r.stop()
	})
}

func TestReadResumedAtTheEndTellsSoAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := kafkatest.FakeVirtual(t)
		topic := b.CreateTopic(t, "idle", 1, 1, nil)
		b.ProduceTo(t, 0, kv(topic, 0, 3)...)
		before := time.Now()
		r := start(t, client(t, b, topic, func(c *Config) { c.MaxWait = time.Minute }), Plan{Starts: at(3)})
		got := r.awaitNext(t, 0, 3)
		require.Equal(t, int64(3), got.end)
		require.Empty(t, got.values)
		require.Zero(t, time.Since(before))
		r.stop()
	})
}

func TestReadUncommittedEndsAtTheHighWatermark(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		topic := b.CreateTopic(t, "uncommitted", 1, 1, nil)
		open := begin(t, b)
		defer open.Close()
		require.NoError(t, open.ProduceSync(t.Context(), kv(topic, 0, 2)...).FirstErr())

		committed := start(t, client(t, b, topic), Plan{})
		got := committed.awaitNext(t, 0, 0)
		require.Zero(t, got.end)
		all := start(t, client(t, b, topic, func(c *Config) { c.ReadUncommitted = true }), Plan{})
		require.Equal(t, values(0, 2), all.awaitNext(t, 0, 2).values)

		// The end of the transaction brings its records.
		require.Empty(t, committed.got(0).values)
		require.NoError(t, open.EndTransaction(t.Context(), kgo.TryCommit))
		require.Equal(t, values(0, 2), committed.awaitNext(t, 0, 3).values)
		committed.stop()
		all.stop()
	})
}

func TestUntil(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		topic := b.CreateTopic(t, "until", 3, 1, nil)
		for p := range int32(3) {
			b.ProduceTo(t, p, kv(topic, 0, 10)...)
			b.ProduceTo(t, p, kv(topic, 10, 10)...)
		}
		c := client(t, b, topic, func(c *Config) { c.MaxPartitionBytes = 100 }) // one batch at a time
		t.Run("reads to the offset, from the log start unless told otherwise", func(t *testing.T) {
			got := readUntil(t, c, map[int32]int64{0: 10, 1: 20}, at(5)...)
			require.Len(t, got, 2)
			require.Equal(t, values(5, 5), got[0].values)
			require.Equal(t, values(0, 20), got[1].values)
		})
		t.Run("the last batch may go beyond", func(t *testing.T) {
			require.Equal(t, values(0, 10), readUntil(t, c, map[int32]int64{0: 7})[0].values)
		})
		t.Run("does not read others", func(t *testing.T) {
			got := readUntil(t, c, map[int32]int64{2: 20}, at(0, 0, 0)...)
			require.Len(t, got, 1)
			require.Equal(t, values(0, 20), got[2].values)
		})
		t.Run("beyond the end, to the end", func(t *testing.T) {
			got := readUntil(t, c, map[int32]int64{0: 1000})
			require.Equal(t, int64(20), got[0].next)
		})
		t.Run("reached at the start", func(t *testing.T) {
			require.Empty(t, readUntil(t, c, map[int32]int64{0: 10, 1: 10, 2: 0}, at(10, 11)...))
		})
		t.Run("of nothing", func(t *testing.T) {
			require.Empty(t, readUntil(t, c, map[int32]int64{}))
		})
	})
}

func TestUntilAfterRecordsWereDeleted(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		topic := b.CreateTopic(t, "deleted", 2, 1, nil)
		for p := range int32(2) {
			b.ProduceTo(t, p, kv(topic, 0, 10)...)
			var o kadm.Offsets
			o.Add(kadm.Offset{Topic: topic, Partition: p, At: 6})
			_, err := b.Admin(t).DeleteRecords(t.Context(), o)
			require.NoError(t, err)
		}
		// Partition 0 goes on at the log start. Partition 1 has nothing left to
		// read below where it is to end.
		got := readUntil(t, client(t, b, topic), map[int32]int64{0: 10, 1: 4},
			Start{Partition: 0, Offset: 2, Epoch: 0}, Start{Partition: 1, Offset: 2, Epoch: 0})
		require.Len(t, got, 1)
		require.Equal(t, values(6, 4), got[0].values)
		require.Equal(t, int64(6), got[0].from)
	})
}

func TestReadReturnsTheErrorOfDeliver(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		topic := b.CreateTopic(t, "deliver", 4, 1, nil)
		for p := range int32(4) {
			b.ProduceTo(t, p, kv(topic, 0, 3)...)
		}
		c := client(t, b, topic)
		full := errors.New("disk is full")
		var mu sync.Mutex
		calls := map[int32]int{}
		err := c.Read(t.Context(), Plan{Topic: described(t, c)}, func(ctx context.Context, b *Batch) error {
			mu.Lock()
			calls[b.Partition]++
			mu.Unlock()
			if b.Partition == 2 {
				return full
			}
			return nil
		})
		require.Same(t, full, err)
		require.Equal(t, 1, calls[2], "nothing is delivered after an error")
	})
}

func TestReadNeedsATopic(t *testing.T) {
	c, err := New(Config{Topic: "t"})
	require.NoError(t, err)
	defer c.Close()
	require.ErrorContains(t, c.Read(t.Context(), Plan{}, nil), "topic as it was described")
}

// The broker holds a fetch for an hour: only cancelling it ends it.
func TestReadEndsWithItsContextWhileABrokerHoldsTheFetch(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		topic := b.CreateTopic(t, "held", 2, 1, nil)
		c := client(t, b, topic, func(c *Config) { c.MaxWait = maxMaxWait })
		r := start(t, c, Plan{})
		r.awaitNext(t, 0, 0)
		r.awaitNext(t, 1, 0)
		before := time.Now()
		r.stop()
		require.Less(t, time.Since(before), 900*time.Millisecond)
	})
}

func TestReadEndsWithItsContextInNoTime(t *testing.T) {
	for name, away := range map[string]func(t *testing.T, b *kafkatest.Broker){
		"broker holds the fetch": func(*testing.T, *kafkatest.Broker) {},
		"broker never answers": func(_ *testing.T, b *kafkatest.Broker) {
			b.Fake().ControlKey(-1, hang(b))
		},
		"broker closes connections": func(_ *testing.T, b *kafkatest.Broker) {
			b.Fake().ControlKey(-1, hangUp(b))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := kafkatest.FakeVirtual(t)
				topic := b.CreateTopic(t, "held", 2, 1, nil)
				r := start(t, client(t, b, topic, func(c *Config) { c.MaxWait = time.Minute }), Plan{})
				r.awaitNext(t, 0, 0)
				away(t, b)
				for range 20 { // at whatever it is then
					time.Sleep(997 * time.Millisecond)
					synctest.Wait()
				}
				before := time.Now()
				r.stop()
				require.Zero(t, time.Since(before))
			})
		})
	}
}

func TestReadEndsWithItsContextWhileDialing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := New(Config{Topic: "t", Opts: []kgo.Opt{kgo.SeedBrokers("127.0.0.1:1"), kgo.Dialer(
			func(ctx context.Context, _, _ string) (net.Conn, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			})}})
		require.NoError(t, err)
		defer c.Close()
		r := start(t, c, Plan{Topic: &Topic{ID: TopicID{1}, Partitions: []TopicPartition{{Partition: 0, Leader: 1}}}})
		time.Sleep(25 * time.Second)
		before := time.Now()
		r.stop()
		require.Zero(t, time.Since(before))
	})
}

func TestReadDoesNotBeginWithAnEndedContext(t *testing.T) {
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	c, err := New(Config{Topic: "t"})
	require.NoError(t, err)
	defer c.Close()
	require.Equal(t, context.DeadlineExceeded, c.Read(ctx, Plan{Topic: &Topic{}}, nil))
}

func TestReadReturnsTheErrorOfItsContextItself(t *testing.T) {
	b := kafkatest.Fake(t)
	topic := b.CreateTopic(t, "ctx", 1, 1, nil)
	c := client(t, b, topic)
	ctx, cancel := context.WithCancel(t.Context())
	err := c.Read(ctx, Plan{Topic: described(t, c)}, func(ctx context.Context, _ *Batch) error {
		cancel()
		<-ctx.Done() // a deliver that waits is told to stop
		return errors.Join(errors.New("stopped"), ctx.Err())
	})
	require.Equal(t, context.Canceled, err)
}

func TestDeliveredRecordsAreNotKept(t *testing.T) {
	b := kafkatest.Fake(t)
	topic := b.CreateTopic(t, "memory", 1, 1, nil)
	b.ProduceTo(t, 0, kv(topic, 0, 10)...)
	c := client(t, b, topic, func(c *Config) { c.MaxWait = time.Minute })
	ctx, cancel := context.WithCancel(t.Context())
	kept := make(chan weak.Pointer[byte], 1)
	idle := make(chan struct{})
	ended := make(chan error)
	plan := Plan{Topic: described(t, c)}
	go func() {
		ended <- c.Read(ctx, plan, func(_ context.Context, b *Batch) error {
			kept <- weak.Make(&b.Records[0].Value[0])
			close(idle)
			return nil
		})
	}()
	<-idle
	value := <-kept
	deadline := time.After(patience)
	for value.Value() != nil {
		runtime.GC()
		select {
		case <-deadline:
			t.Fatal("the records of an answer stay in memory while the next is waited for")
		default:
			runtime.Gosched()
		}
	}
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
}

func TestSessionsOfOneClientDoNotDisturbEachOther(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		topic := b.CreateTopic(t, "two", 2, 1, nil)
		b.ProduceTo(t, 0, kv(topic, 0, 10)...)
		b.ProduceTo(t, 1, kv(topic, 0, 10)...)
		c := client(t, b, topic)
		tail := start(t, c, Plan{Starts: at(10, 10)})
		tail.awaitNext(t, 0, 10)
		require.Equal(t, values(0, 10), readUntil(t, c, map[int32]int64{0: 10, 1: 10})[1].values)
		b.ProduceTo(t, 0, kv(topic, 10, 1)...)
		require.Equal(t, values(10, 1), tail.awaitNext(t, 0, 11).values)
		tail.stop()
	})
}

func TestNoGoroutineOutlivesASession(t *testing.T) {
	b := kafkatest.Fake(t, kfake.NumBrokers(3))
	topic := b.CreateTopic(t, "leak", 6, 1, nil)
	c := client(t, b, topic, func(c *Config) { c.Connections = 3 })
	plan := Plan{Topic: described(t, c)}
	one := func() {
		r := start(t, c, plan)
		for p := range int32(6) {
			r.awaitNext(t, p, 0)
		}
		r.stop()
	}
	one()
	before := runtime.NumGoroutine()
	for range 10 {
		one()
	}
	// kgo lets goroutines of closed connections end by themselves.
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+5 }, patience, 10*time.Millisecond)
}
