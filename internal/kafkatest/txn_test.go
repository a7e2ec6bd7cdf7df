package kafkatest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// readUntil reads a one-partition topic up to the record with the given value.
func readUntil(t *testing.T, b *Broker, topic, value string, level kgo.IsolationLevel) []string {
	t.Helper()
	cl := b.Client(t, kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(level))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var values []string
	for {
		fetches := cl.PollFetches(ctx)
		require.NoError(t, fetches.Err())
		for _, r := range fetches.Records() {
			values = append(values, string(r.Value))
			if string(r.Value) == value {
				return values
			}
		}
	}
}

func TestProduceTxn(t *testing.T) {
	Each(t, func(t *testing.T, b *Broker) {
		topic := b.CreateTopic(t, "txn", 1, 1, nil)
		record := func(v string) *kgo.Record { return &kgo.Record{Topic: topic, Value: []byte(v)} }
		ProduceTxn(t, b, true, record("a"), record("b"))
		ProduceTxn(t, b, false, record("c"))

		// Two records and a marker, one record and a marker, and all of it
		// stable on return: nothing is awaited here.
		stable, err := b.Admin(t).ListCommittedOffsets(t.Context(), topic)
		require.NoError(t, err)
		require.EqualValues(t, 5, stable.Offsets()[topic][0].At)

		b.Produce(t, record("d"))
		require.Equal(t, []string{"a", "b", "d"}, readUntil(t, b, topic, "d", kgo.ReadCommitted()))
		require.Equal(t, []string{"a", "b", "c", "d"}, readUntil(t, b, topic, "d", kgo.ReadUncommitted()))
	})
}

func TestProduceTxnOverPartitions(t *testing.T) {
	Each(t, func(t *testing.T, b *Broker) {
		topic := b.CreateTopic(t, "txn", 4, 1, nil)
		var records []*kgo.Record
		for _, key := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
			records = append(records, &kgo.Record{Topic: topic, Key: []byte(key)})
		}
		ProduceTxn(t, b, true, records...)
		want := map[int32]int64{}
		for _, r := range records {
			want[r.Partition] = max(want[r.Partition], r.Offset+2)
		}
		require.Greater(t, len(want), 1)
		stable, err := b.Admin(t).ListCommittedOffsets(t.Context(), topic)
		require.NoError(t, err)
		for p, at := range want {
			require.Equal(t, at, stable.Offsets()[topic][p].At, "partition %d", p)
		}
	})
}

func TestProduceTxnFailureEndsTheTest(t *testing.T) {
	r := &recorder{TB: t}
	require.False(t, r.run(func() { ProduceTxn(r, &Broker{name: nameFake}, true, &kgo.Record{}) }))
	require.Contains(t, r.failed, "transaction")
}

func TestEnded(t *testing.T) {
	for state, want := range map[string]bool{
		"CompleteCommit": true, "CompleteAbort": true, "Empty": true,
		"Ongoing": false, "PrepareCommit": false, "PrepareAbort": false, "Dead": false,
	} {
		require.Equal(t, want, ended(kadm.DescribedTransaction{State: state}) == nil, state)
	}
	cause := errors.New("no coordinator")
	require.ErrorIs(t, ended(kadm.DescribedTransaction{State: "Empty", Err: cause}), cause)
}
