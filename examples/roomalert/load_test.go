package main

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/globaltable/enrich/internal/kafkatest"
)

// forever keeps the brokers from deleting readings of 2017.
func forever() map[string]string { return map[string]string{"retention.ms": "-1"} }

func newLoader(t *testing.T, b *kafkatest.Broker) (*loader, *bytes.Buffer) {
	t.Helper()
	var notes bytes.Buffer
	con := newConsole(&notes, &notes, false)
	c, err := newCluster(b.Addrs(), nil, con)
	require.NoError(t, err)
	t.Cleanup(c.close)
	return &loader{c: c, brokers: b.Addrs(), con: con}, &notes
}

func manyReadings(n int) []Reading {
	readings := make([]Reading, n)
	for i := range readings {
		readings[i] = Reading{Device: fmt.Sprint("dev-", i%17), Time: time.UnixMilli(int64(1_500_000_000_000 + i)).UTC(), TempF: float64(i % 100)}
	}
	return readings
}

// committed returns what a reader of committed records sees, by partition.
func committed(t *testing.T, b *kafkatest.Broker, topic string) map[int32][]*kgo.Record {
	t.Helper()
	adm := b.Admin(t)
	starts, err := adm.ListStartOffsets(t.Context(), topic)
	require.NoError(t, err)
	ends, err := adm.ListCommittedOffsets(t.Context(), topic)
	require.NoError(t, err)
	left := make(map[int32]int64)
	ends.Each(func(o kadm.ListedOffset) {
		if starts[topic][o.Partition].Offset < o.Offset {
			left[o.Partition] = o.Offset
		}
	})
	cl := b.Client(t, kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	all := make(map[int32][]*kgo.Record)
	for len(left) > 0 {
		fs := cl.PollFetches(ctx)
		require.NoError(t, fs.Err())
		fs.EachRecord(func(r *kgo.Record) {
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
			if !r.Attrs.IsControl() {
				all[r.Partition] = append(all[r.Partition], r)
			}
		})
	}
	return all
}

// requireLoaded checks that the topic holds the first n of the readings, each
// once, and those of a device in order.
func requireLoaded(t *testing.T, b *kafkatest.Broker, topic, id string, readings []Reading, n int) {
	t.Helper()
	seen := make(map[int]bool)
	last := make(map[string]int)
	for _, rs := range committed(t, b, topic) {
		for _, r := range rs {
			i, ok := indexOf(r, id)
			if !ok {
				continue
			}
			require.False(t, seen[i], "reading %d is there twice", i)
			seen[i] = true
			got, err := decodeReading(r.Value)
			require.NoError(t, err)
			require.Equal(t, readings[i], got)
			require.Equal(t, readings[i].Device, string(r.Key))
			require.True(t, readings[i].Time.Truncate(time.Millisecond).Equal(r.Timestamp), "event time is the record's")
			before, ok := last[got.Device]
			require.True(t, !ok || before < i, "order of %s", got.Device)
			last[got.Device] = i
		}
	}
	require.Len(t, seen, n)
}

func TestLoadGoesOnWhereItWasCutShort(t *testing.T) {
	scenario := func(t *testing.T, b *kafkatest.Broker, own bool) {
		topic := b.CreateTopic(t, "readings", 3, 1, forever())
		readings := manyReadings(5*loadChunk + 123)
		for _, at := range []int64{1, loadChunk + 1, 3*loadChunk + 1} {
			l, _ := newLoader(t, b)
			l.own = own
			ctx, cut := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- l.readings(ctx, topic, "id", readings) }()
			require.Eventually(t, func() bool { return l.done.Load() >= at || len(done) > 0 }, patience, 100*time.Microsecond)
			cut()
			if err := <-done; err != nil { // it may have been quicker
				require.ErrorIs(t, err, context.Canceled)
			}
			// Others write to the topic as well.
			b.Produce(t, record(topic, "other", "not ours"))
		}
		l, notes := newLoader(t, b)
		l.own = own
		require.NoError(t, l.readings(t.Context(), topic, "id", readings))
		require.EqualValues(t, len(readings), l.done.Load())
		requireLoaded(t, b, topic, "id", readings, len(readings))

		l, _ = newLoader(t, b)
		l.own = own
		require.NoError(t, l.readings(t.Context(), topic, "id", readings), "all there")
		require.NoError(t, l.readings(t.Context(), topic, "id2", readings[:10]), "another load")
		requireLoaded(t, b, topic, "id", readings, len(readings))
		requireLoaded(t, b, topic, "id2", readings, 10)
		require.Empty(t, notes.String())
	}
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) { scenario(t, b, false) })
	t.Run("in-process broker", func(t *testing.T) { scenario(t, ownBroker(t, t.TempDir()), true) })
}

// A kill leaves a beginning of each partition's log, and may tear the batch that
// was being written.
func TestLoadGoesOnAfterAKillOfItsBroker(t *testing.T) {
	dir := t.TempDir()
	b := ownBroker(t, dir)
	topic := b.CreateTopic(t, "readings", 3, 1, forever())
	readings := manyReadings(2*loadChunk + 123)
	l, _ := newLoader(t, b)
	l.own = true
	require.NoError(t, l.readings(t.Context(), topic, "id", readings))
	requireLoaded(t, b, topic, "id", readings, len(readings))

	rng := rand.New(rand.NewPCG(1, 2))
	for n := range 8 {
		image := killed(t, dir)
		for p := range 3 {
			segment := filepath.Join(image, "partitions", fmt.Sprintf("%s-%d", topic, p), "0.dat")
			info, err := os.Stat(segment)
			require.NoError(t, err)
			keep := rng.Int64N(info.Size() + 1)
			if n == 0 && p == 1 {
				keep = 0 // the file was made, and no more
			}
			require.NoError(t, os.Truncate(segment, keep))
		}
		b := ownBroker(t, image)
		l, notes := newLoader(t, b)
		l.own = true
		missing, err := l.missing(t.Context(), topic, "id", len(readings))
		require.NoError(t, err)
		require.NotEmpty(t, missing)
		require.NoError(t, l.readings(t.Context(), topic, "id", readings))
		requireLoaded(t, b, topic, "id", readings, len(readings))

		b = ownBroker(t, killed(t, image)) // and again, with all of it there
		requireLoaded(t, b, topic, "id", readings, len(readings))
		l, _ = newLoader(t, b)
		l.own = true
		missing, err = l.missing(t.Context(), topic, "id", len(readings))
		require.NoError(t, err)
		require.Empty(t, missing)
		require.Empty(t, notes.String())
	}
}

type batchCount struct{ n *atomic.Int64 }

func (c batchCount) OnProduceBatchWritten(kgo.BrokerMetadata, string, int32, kgo.ProduceBatchMetrics) {
	c.n.Add(1)
}

// One flush is one batch of each partition. Were it more, one could be written
// behind one that was refused, for example because the disk is full.
func TestLoadWritesOneBatchPerPartitionAtATime(t *testing.T) {
	b := ownBroker(t, t.TempDir())
	topic := b.CreateTopic(t, "readings", 3, 1, forever())
	l, _ := newLoader(t, b)
	l.own = true
	var batches atomic.Int64
	l.opts = append(l.opts, kgo.WithHooks(batchCount{&batches}), kgo.ProducerLinger(0))
	require.NoError(t, l.readings(t.Context(), topic, "id", manyReadings(1+2*loadChunk)))
	require.EqualValues(t, 1+3+3, batches.Load())
}

// With transactions what the topic holds is a beginning: what is not there any
// more was deleted by age, and is not written again.
func TestLoadDoesNotBringBackWhatWasDeleted(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		topic := b.CreateTopic(t, "readings", 1, 1, forever())
		readings := manyReadings(30)
		l, _ := newLoader(t, b)
		require.NoError(t, l.readings(t.Context(), topic, "id", readings[:20]))
		_, err := b.Admin(t).DeleteRecords(t.Context(), offsetsOf(topic, 5))
		require.NoError(t, err)
		l, _ = newLoader(t, b)
		require.NoError(t, l.readings(t.Context(), topic, "id", readings))
		var got []int
		for _, r := range committed(t, b, topic)[0] {
			i, ok := indexOf(r, "id")
			require.True(t, ok)
			got = append(got, i)
		}
		require.Equal(t, 29, got[len(got)-1])
		require.Len(t, got, 25)
	})
}

func TestChunk(t *testing.T) {
	readings := manyReadings(10)
	records, err := chunk("t", "id", readings, []int{3, 4, 8})
	require.NoError(t, err)
	require.Len(t, records, 3)
	for n, want := range []int{3, 4, 8} {
		i, ok := indexOf(records[n], "id")
		require.True(t, ok)
		require.Equal(t, want, i)
		require.Equal(t, readings[want].Device, string(records[n].Key))
	}

	// Of large ones it takes as many as fit into a batch, and at least one.
	for i := range readings {
		readings[i].Device = strings.Repeat("d", chunkBytes/8)
	}
	records, err = chunk("t", "id", readings, []int{0, 1, 2, 3, 4, 5})
	require.NoError(t, err)
	require.Len(t, records, 3, "the device is in the key and in the value")
	readings[0].Device = strings.Repeat("d", chunkBytes)
	records, err = chunk("t", "id", readings, []int{0, 1, 2})
	require.NoError(t, err)
	require.Len(t, records, 1)

	readings[0].TempF = math.NaN()
	_, err = chunk("t", "id", readings, []int{0})
	require.ErrorContains(t, err, "reading of d")
}

// A process that was killed may still have a request on its way to the brokers,
// and an open transaction.
func TestLoadOfADeadProcessCannotGoOn(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		topic := b.CreateTopic(t, "readings", 2, 1, forever())
		readings := manyReadings(100)
		l, _ := newLoader(t, b)
		dead, err := l.client(kgo.TransactionalID("roomalert-"+topic+"-id"), kgo.TransactionTimeout(10*time.Minute))
		require.NoError(t, err)
		defer dead.Close()
		require.NoError(t, dead.BeginTransaction())
		var rs []*kgo.Record
		for i, r := range readings {
			rs = append(rs, &kgo.Record{Topic: topic, Key: []byte(r.Device), Headers: []kgo.RecordHeader{
				{Key: headerLoad, Value: []byte("id")}, {Key: headerIndex, Value: strconv.AppendInt(nil, int64(i), 10)},
			}})
		}
		require.NoError(t, dead.ProduceSync(t.Context(), rs...).FirstErr())

		ctx, cancel := context.WithTimeout(t.Context(), patience) // and not when the transaction times out
		defer cancel()
		require.NoError(t, l.readings(ctx, topic, "id", readings))
		require.Error(t, dead.EndTransaction(t.Context(), kgo.TryCommit))
		requireLoaded(t, b, topic, "id", readings, len(readings))
	})
}

func TestLoadGoesOnAfterPartitionsWereAdded(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		topic := b.CreateTopic(t, "readings", 1, 1, forever())
		readings := manyReadings(200)
		l, _ := newLoader(t, b)
		require.NoError(t, l.readings(t.Context(), topic, "id", readings[:120]))
		_, err := b.Admin(t).CreatePartitions(t.Context(), 3, topic)
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			list, err := b.Admin(t).ListTopics(t.Context(), topic)
			return err == nil && len(list[topic].Partitions) == 4
		}, patience, 50*time.Millisecond)
		l, _ = newLoader(t, b)
		require.NoError(t, l.readings(t.Context(), topic, "id", readings))
		seen := make(map[int]bool)
		for _, rs := range committed(t, b, topic) {
			for _, r := range rs {
				i, ok := indexOf(r, "id")
				require.True(t, ok)
				require.False(t, seen[i])
				seen[i] = true
			}
		}
		require.Len(t, seen, len(readings))
	})
}

// When a load has returned, a reader that stops at the end of committed records
// sees all of it, however late the brokers write the transactions' markers.
func TestLoadReturnsWhenAllIsReadable(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		for range 5 {
			topic := b.CreateTopic(t, "readings", 3, 1, forever())
			l, _ := newLoader(t, b)
			readings := manyReadings(50)
			require.NoError(t, l.readings(t.Context(), topic, "id", readings))
			requireLoaded(t, b, topic, "id", readings, len(readings))
		}
	})
}

func TestLoadIsTriedAgainVisibly(t *testing.T) {
	b := kafkatest.Fake(t)
	topic := b.CreateTopic(t, "readings", 2, 1, forever())
	failed := 0
	b.Fake().ControlKey(kmsg.EndTxn.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		if failed++; failed > 1 {
			b.Fake().DropControl()
			return nil, nil, false
		}
		b.Fake().KeepControl()
		resp := req.ResponseKind().(*kmsg.EndTxnResponse)
		resp.ErrorCode = 47 // INVALID_PRODUCER_EPOCH: someone else took over
		return resp, nil, true
	})
	l, notes := newLoader(t, b)
	readings := manyReadings(loadChunk + 10)
	require.NoError(t, l.readings(t.Context(), topic, "id", readings))
	requireLoaded(t, b, topic, "id", readings, len(readings))
	require.Contains(t, notes.String(), "trying again until it works")
}

func TestDevicesAreLoaded(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		topic := b.CreateTopic(t, "devices", 3, 1, kafkatest.Compacted())
		l, _ := newLoader(t, b)
		d := Device{"dev-1", "Room 1", "Hotel", "owner@example.com", 30, 28.5}
		require.NoError(t, l.devices(t.Context(), topic, []Device{d}))
		var rs []*kgo.Record
		for _, part := range committed(t, b, topic) {
			rs = append(rs, part...)
		}
		require.Len(t, rs, 1)
		require.Equal(t, "dev-1", string(rs[0].Key))
		require.JSONEq(t, `{"device":"dev-1","room":"Room 1","site":"Hotel","owner":"owner@example.com","limit_c":30,"clear_c":28.5}`, string(rs[0].Value))
	})
}

func TestDevicesAreLoadedAtTheNextAttempt(t *testing.T) {
	b := kafkatest.Fake(t)
	topic := b.CreateTopic(t, "devices", 1, 1, kafkatest.Compacted())
	refused := 0
	b.Fake().ControlKey(kmsg.Produce.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		if refused++; refused > 2 {
			b.Fake().DropControl()
			return nil, nil, false
		}
		b.Fake().KeepControl()
		resp := req.ResponseKind().(*kmsg.ProduceResponse)
		for _, topic := range req.(*kmsg.ProduceRequest).Topics {
			p := kmsg.NewProduceResponseTopicPartition()
			p.ErrorCode = kerr.UnknownServerError.Code
			answer := kmsg.NewProduceResponseTopic()
			answer.Topic, answer.TopicID, answer.Partitions = topic.Topic, topic.TopicID, append(answer.Partitions, p)
			resp.Topics = append(resp.Topics, answer)
		}
		return resp, nil, true
	})
	l, _ := newLoader(t, b)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, l.devices(ctx, topic, []Device{{"dev-1", "Room 1", "Hotel", "owner@example.com", 30, 28.5}}))
	require.Equal(t, 3, refused)
	require.Len(t, committed(t, b, topic)[0], 1)
}

func TestIndexOf(t *testing.T) {
	h := func(kv ...string) *kgo.Record {
		r := new(kgo.Record)
		for pair := range slices.Chunk(kv, 2) {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: pair[0], Value: []byte(pair[1])})
		}
		return r
	}
	i, ok := indexOf(h(headerLoad, "id", "x", "y", headerIndex, "7"), "id")
	require.True(t, ok)
	require.Equal(t, 7, i)
	for _, r := range []*kgo.Record{h(), h(headerLoad, "id"), h(headerIndex, "7"), h(headerLoad, "other", headerIndex, "7"), h(headerLoad, "id", headerIndex, "x"), h(headerLoad, "id", headerIndex, "-1")} {
		_, ok := indexOf(r, "id")
		require.False(t, ok)
	}
}
