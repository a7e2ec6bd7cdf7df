package feed

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/globaltable/enrich/internal/kafkatest"
)

// A record that cannot be taken yet holds its own partition only, is reported,
// and is delivered again; what was taken before it is not.
func TestALaterErrorHoldsOnePartition(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		topic := b.CreateTopic(t, "later", 2, -1, nil)
		b.ProduceTo(t, 0, kv(topic, 0, 10)...)
		b.ProduceTo(t, 1, kv(topic, 0, 10)...)
		told, listening := listen()
		c := client(t, b, topic, listening)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		got := newCollector()
		away := errors.New("registry is away")
		open := make(chan struct{})
		plan := Plan{Topic: described(t, c)}
		done := make(chan error, 1)
		go func() {
			done <- c.Read(ctx, plan, func(ctx context.Context, batch *Batch) error {
				var later error
				select {
				case <-open:
				default:
					for i, r := range batch.Records {
						if batch.Partition == 0 && r.Offset == 4 {
							batch.Records, batch.Next = batch.Records[:i], 4
							later = &LaterError{Next: 4, Err: away}
							break
						}
					}
				}
				return errors.Join(got.deliver(ctx, batch), later)
			})
		}()
		told.awaitTrouble(t, "registry is away")
		require.Equal(t, values(0, 4), got.awaitNext(t, 0, 4).values)
		b.ProduceTo(t, 1, kv(topic, 10, 5)...)
		require.Equal(t, values(0, 15), got.awaitNext(t, 1, 15).values, "the other one goes on")
		require.EqualValues(t, 4, got.got(0).next)
		close(open)
		require.Equal(t, values(0, 10), got.awaitNext(t, 0, 10).values, "each once")
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
		got.check(t)
	})
}

// The answer goes on into a later leader epoch than that of what was taken.
func TestALaterErrorKeepsTheEpochOfWhatWasTaken(t *testing.T) {
	b := kafkatest.Fake(t, kfake.NumBrokers(1))
	topic := b.CreateTopic(t, "later", 1, 1, nil)
	b.ProduceTo(t, 0, kv(topic, 0, 5)...)
	require.NoError(t, b.Fake().MoveTopicPartition(topic, 0, 0)) // leader epoch 1
	b.ProduceTo(t, 0, kv(topic, 5, 5)...)
	var requests seen
	observe(b, new(kmsg.FetchRequest), requests.add)
	c := client(t, b, topic)
	calls := 0
	full := errors.New("enough")
	err := c.Read(t.Context(), Plan{Topic: described(t, c)}, func(context.Context, *Batch) error {
		calls++
		return []error{&LaterError{Next: 0, Err: full}, &LaterError{Next: 3, Err: full}, &LaterError{Next: 7, Err: full}, full}[calls-1]
	})
	require.Same(t, full, err)
	var offsets []int64
	var epochs []int32
	for _, req := range requests.all() {
		p := req.Topics[0].Partitions[0]
		offsets, epochs = append(offsets, p.FetchOffset), append(epochs, p.LastFetchedEpoch)
	}
	require.Equal(t, []int64{0, 0, 3, 7}, offsets)
	require.Equal(t, []int32{-1, -1, 0, 1}, epochs)
}
