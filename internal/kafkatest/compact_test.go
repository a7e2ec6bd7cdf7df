package kafkatest

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestForceCompactionOfSupersededRecords(t *testing.T) {
	Each(t, func(t *testing.T, b *Broker) {
		topic := b.CreateTopic(t, "compact", 2, 1, CompactedSoon(time.Hour))
		var last int64
		for i := range 10 {
			r := &kgo.Record{Topic: topic, Key: []byte("k"), Value: fmt.Append(nil, i)}
			b.ProduceTo(t, 1, r)
			last = r.Offset
		}
		ForceCompaction(t, b, topic, 1, 0, last-1, nil)

		left, err := b.offsets(t.Context(), topic, 1, 0, last)
		require.NoError(t, err)
		require.Equal(t, []int64{last}, left, "the newest record of a key stays")
	})
}

func TestForceCompactionOfTombstones(t *testing.T) {
	Each(t, func(t *testing.T, b *Broker) {
		topic := b.CreateTopic(t, "compact", 1, 1, CompactedSoon(0))
		kept := &kgo.Record{Topic: topic, Key: []byte("kept"), Value: []byte("v")}
		b.Produce(t, kept)
		b.Produce(t, &kgo.Record{Topic: topic, Key: []byte("k"), Value: []byte("v")})
		tombstone := &kgo.Record{Topic: topic, Key: []byte("k")}
		b.Produce(t, tombstone)

		calls := 0
		ForceCompaction(t, b, topic, 0, kept.Offset+1, tombstone.Offset, func() {
			calls++
			b.Produce(t, &kgo.Record{Topic: topic, Key: []byte("own"), Value: fmt.Append(nil, calls)})
		})
		require.Positive(t, calls)
		left, err := b.offsets(t.Context(), topic, 0, 0, tombstone.Offset)
		require.NoError(t, err)
		require.Equal(t, []int64{kept.Offset}, left)
	})
}

func TestOffsetsSkipWhatIsOutside(t *testing.T) {
	Each(t, func(t *testing.T, b *Broker) {
		topic := b.CreateTopic(t, "offsets", 1, 1, nil)
		for range 6 {
			b.Produce(t, &kgo.Record{Topic: topic, Value: []byte("v")})
		}
		found, err := b.offsets(t.Context(), topic, 0, 2, 4)
		require.NoError(t, err)
		require.Equal(t, []int64{2, 3, 4}, found)
	})
}
