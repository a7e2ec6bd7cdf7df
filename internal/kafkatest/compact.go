package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// FillerKey is the key of the records which [ForceCompaction] writes by itself.
const FillerKey = "kafkatest-filler"

// compactTimeout is for brokers not set up here, whose cleaner may look around
// every 15 s only.
const compactTimeout = 2 * time.Minute

// ForceCompaction returns when compaction has removed every record with an offset
// from first to last of a partition: records superseded by later ones of the same
// key, and tombstones past their retention. The topic has to be one that gets
// compacted soon, see [CompactedSoon].
//
// Kafka never cleans the newest segment, and looks at a partition again only when
// it has grown, so it has to go on growing. This is done by keepProducing, which
// is called repeatedly and writes to the partition at least one record, or, if
// that is nil, by records of the key [FillerKey].
//
// The fake removes leading offsets from the log altogether (its log start moves
// up), where Kafka leaves the log start as it is.
func ForceCompaction(t testing.TB, b *Broker, topic string, partition int32, first, last int64, keepProducing func()) {
	t.Helper()
	if keepProducing == nil {
		keepProducing = func() {
			b.ProduceTo(t, partition, &kgo.Record{Topic: topic, Key: []byte(FillerKey), Value: []byte("x")})
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), compactTimeout)
	defer cancel()
	err := poll(ctx, 150*time.Millisecond, func() error {
		keepProducing()
		if b.fake != nil {
			b.fake.Compact()
		}
		left, err := b.offsets(ctx, topic, partition, first, last)
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("%d records are left, the first at offset %d", len(left), left[0])
		}
		return err
	})
	if err != nil {
		t.Fatalf("kafkatest: compaction of %s[%d] from %d to %d did not happen; is each record there superseded, "+
			"and the topic made with CompactedSoon? %v", topic, partition, first, last, err)
	}
}

// offsets returns the offsets from first to last which have a record. Something
// must have been written behind last, or it waits for that.
func (b *Broker) offsets(ctx context.Context, topic string, partition int32, first, last int64) ([]int64, error) {
	cl, err := kgo.NewClient(append(b.Opts(), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
		// If the log no longer begins that early, from where it does.
		topic: {partition: kgo.NewOffset().At(first)},
	}), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	var found []int64
	for {
		fetches := cl.PollFetches(ctx)
		if err := errors.Join(ctx.Err(), fetches.Err()); err != nil {
			return nil, err
		}
		for it := fetches.RecordIter(); !it.Done(); {
			switch r := it.Next(); {
			case r.Offset > last:
				return found, nil
			case r.Offset >= first:
				found = append(found, r.Offset)
			}
		}
	}
}
