package main

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/globaltable/enrich/internal/kafkatest"
)

func newTestCluster(t *testing.T, b *kafkatest.Broker) (*cluster, *output) {
	t.Helper()
	notes := new(output)
	c, err := newCluster(b.Addrs(), nil, newConsole(notes, notes, false))
	require.NoError(t, err)
	t.Cleanup(c.close)
	return c, notes
}

// readAll returns the values of a topic's committed records.
func readAll(t *testing.T, c *cluster, topic string) (values []string) {
	t.Helper()
	spans, err := c.spans(t.Context(), topic)
	require.NoError(t, err)
	for _, s := range spans {
		require.NoError(t, c.read(t.Context(), topic, s, func(r *kgo.Record) {
			require.Equal(t, s.partition, r.Partition)
			values = append(values, string(r.Value))
		}))
	}
	return values
}

func rows(topic string, from, to int) (records []*kgo.Record) {
	for i := from; i < to; i++ {
		records = append(records, record(topic, "k", fmt.Sprint(i)))
	}
	return records
}

func TestReadEndsBehindWhatNobodyIsShown(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		topic := b.CreateTopic(t, "t", 1, 1, nil)
		c, notes := newTestCluster(t, b)
		require.Empty(t, readAll(t, c, topic), "empty")
		kafkatest.ProduceTxn(t, b, false, rows(topic, 0, 2)...)
		require.Empty(t, readAll(t, c, topic), "nothing but an aborted transaction")
		kafkatest.ProduceTxn(t, b, true, rows(topic, 2, 4)...)
		require.Equal(t, []string{"2", "3"}, readAll(t, c, topic), "a marker at the end")
		b.Produce(t, rows(topic, 4, 5)...)
		kafkatest.ProduceTxn(t, b, false, rows(topic, 5, 7)...)
		require.Equal(t, []string{"2", "3", "4"}, readAll(t, c, topic), "an aborted transaction at the end")

		_, err := b.Admin(t).DeleteRecords(t.Context(), offsetsOf(topic, 3))
		require.NoError(t, err)
		require.Equal(t, []string{"2", "3", "4"}, readAll(t, c, topic), "deleted are only aborted ones")
		ends, err := b.Admin(t).ListEndOffsets(t.Context(), topic)
		require.NoError(t, err)
		end, _ := ends.Lookup(topic, 0)
		_, err = b.Admin(t).DeleteRecords(t.Context(), offsetsOf(topic, end.Offset))
		require.NoError(t, err)
		require.Empty(t, readAll(t, c, topic), "deleted")
		require.Empty(t, notes.String())
	})
}

func offsetsOf(topic string, at int64) kadm.Offsets {
	offsets := make(kadm.Offsets)
	offsets.AddOffset(topic, 0, at, -1)
	return offsets
}

// A transaction that is open is not waited for, and not read.
func TestReadEndsBeforeAnOpenTransaction(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		topic := b.CreateTopic(t, "t", 1, 1, nil)
		b.Produce(t, rows(topic, 0, 3)...)
		open := b.Client(t, kgo.TransactionalID(kafkatest.Unique("txn")))
		require.NoError(t, open.BeginTransaction())
		require.NoError(t, open.ProduceSync(t.Context(), rows(topic, 3, 5)...).FirstErr())
		c, _ := newTestCluster(t, b)
		require.Equal(t, []string{"0", "1", "2"}, readAll(t, c, topic))
		require.NoError(t, open.EndTransaction(t.Context(), kgo.TryAbort))
	})
}

// The in-process broker takes a transaction that a kill left open as aborted,
// and no marker of it ever comes.
func TestReadEndsInTheLogOfAKilledBroker(t *testing.T) {
	dir := t.TempDir()
	b := ownBroker(t, dir)
	topic := b.CreateTopic(t, "t", 1, 1, nil)
	kafkatest.ProduceTxn(t, b, true, rows(topic, 0, 2)...)
	open := b.Client(t, kgo.TransactionalID("open"))
	require.NoError(t, open.BeginTransaction())
	require.NoError(t, open.ProduceSync(t.Context(), rows(topic, 2, 5)...).FirstErr())

	c, _ := newTestCluster(t, ownBroker(t, killed(t, dir)))
	spans, err := c.spans(t.Context(), topic)
	require.NoError(t, err)
	require.Equal(t, []span{{partition: 0, from: 0, to: 6}}, spans, "no marker behind the three records")
	require.Equal(t, []string{"0", "1"}, readAll(t, c, topic))
	require.NoError(t, open.EndTransaction(t.Context(), kgo.TryAbort))
}

// ownBroker starts the kind of broker that runs in the program's process.
func ownBroker(t *testing.T, dir string) *kafkatest.Broker {
	t.Helper()
	return kafkatest.Fake(t, kfake.NumBrokers(1), kfake.DataDir(dir), kfake.SyncWrites())
}

// killed returns a copy of a broker's directory as a kill at this moment would
// leave it.
func killed(t *testing.T, dir string) string {
	t.Helper()
	image := t.TempDir()
	require.NoError(t, os.CopyFS(image, os.DirFS(dir)))
	return image
}

func TestReadTakesSeveralRequests(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		topic := b.CreateTopic(t, "t", 1, 1, nil)
		big := make([]byte, 700<<10)
		var want []string
		for i := range 3 * fetchBytes / len(big) {
			copy(big, fmt.Sprintf("%08d", i))
			want = append(want, string(big))
			b.Produce(t, record(topic, "k", string(big)))
		}
		c, _ := newTestCluster(t, b)
		got := readAll(t, c, topic)
		require.Len(t, got, len(want))
		for i := range want {
			require.Equal(t, want[i][:8], got[i][:8])
		}
	})
}

// What was there when the ends were asked may be deleted before it is read, or
// be lost.
func TestReadOfWhatIsGone(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		topic := b.CreateTopic(t, "t", 1, 1, nil)
		b.Produce(t, rows(topic, 0, 5)...)
		c, _ := newTestCluster(t, b)
		_, err := b.Admin(t).DeleteRecords(t.Context(), offsetsOf(topic, 3))
		require.NoError(t, err)
		var got []string
		require.NoError(t, c.read(t.Context(), topic, span{0, 1, 5}, func(r *kgo.Record) { got = append(got, string(r.Value)) }))
		require.Equal(t, []string{"3", "4"}, got)

		err = c.read(t.Context(), topic, span{0, 50, 60}, func(*kgo.Record) { t.Error("a record") })
		require.ErrorIs(t, err, errLogCut)
		require.EqualError(t, err, "read topic "+topic+", partition 0 at offset 50: its log has become shorter")
	})
}

func TestDecodeOfAnswersWithoutARecord(t *testing.T) {
	c := &cluster{con: newConsole(&output{}, &output{}, false)}
	s := span{partition: 3, from: 5, to: 9}
	answer := func(stable int64, batches []byte) *kmsg.FetchResponseTopicPartition {
		p := kmsg.NewFetchResponseTopicPartition()
		p.Partition, p.HighWatermark, p.LastStableOffset, p.RecordBatches = 3, stable, stable, batches
		return &p
	}
	got, err := c.decode(t.Context(), "t", s, answer(9, nil))
	require.NoError(t, err)
	require.Equal(t, fetched{next: 9}, got, "there is no batch up to the end")

	got, err = c.decode(t.Context(), "t", s, answer(7, nil))
	require.NoError(t, err)
	require.True(t, got.cut, "the end is not where it was")

	_, err = c.decode(t.Context(), "t", s, answer(9, make([]byte, 5)))
	require.EqualError(t, err, "partition 3 is read up to offset 5, and the broker does not say what follows up to 9", "a batch cut short")

	wrong := answer(9, nil)
	wrong.ErrorCode = 2 // CORRUPT_MESSAGE
	_, err = c.decode(t.Context(), "t", s, wrong)
	require.ErrorContains(t, err, "partition 3 at offset 5: CORRUPT_MESSAGE")
}

// A broker that slows a client down answers without any partition, and one whose
// leader changes with an error; both are asked again.
func TestReadAsksAgain(t *testing.T) {
	b := kafkatest.Fake(t)
	topic := b.CreateTopic(t, "t", 1, 1, nil)
	b.Produce(t, rows(topic, 0, 3)...)
	answers := []func(*kmsg.FetchResponse){
		func(*kmsg.FetchResponse) {},
		func(r *kmsg.FetchResponse) { r.ErrorCode = 70 }, // FETCH_SESSION_ID_NOT_FOUND
		func(r *kmsg.FetchResponse) {
			p := kmsg.NewFetchResponseTopicPartition()
			p.ErrorCode = 6 // NOT_LEADER_FOR_PARTITION
			r.Topics = []kmsg.FetchResponseTopic{{Partitions: []kmsg.FetchResponseTopicPartition{p}}}
		},
	}
	asked := 0
	b.Fake().ControlKey(kmsg.Fetch.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		if asked == len(answers) {
			b.Fake().DropControl()
			return nil, nil, false
		}
		b.Fake().KeepControl()
		resp := req.ResponseKind().(*kmsg.FetchResponse)
		answers[asked](resp)
		asked++
		return resp, nil, true
	})
	c, _ := newTestCluster(t, b)
	require.Equal(t, []string{"0", "1", "2"}, readAll(t, c, topic))
	require.Equal(t, len(answers), asked)

	_, err := c.fetch(t.Context(), topic, span{7, 0, 1})
	require.ErrorContains(t, err, "partition 7: UNKNOWN_TOPIC_OR_PARTITION")
	_, err = c.fetch(t.Context(), "unknown", span{0, 0, 1})
	require.ErrorContains(t, err, "UNKNOWN_TOPIC_OR_PARTITION")
}
