package feed

import (
	"bytes"
	"context"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/internal/kafkatest"
)

func TestUnpackingBoundsWhatIsAskedFor(t *testing.T) {
	var u unpacking
	records := []*kgo.Record{{Key: make([]byte, 10), Value: make([]byte, 7990-recordBytes)}}
	require.EqualValues(t, 2<<20, u.bound(8<<20), "a quarter as long as nothing is known")
	u.saw(8000, records)
	require.EqualValues(t, 8<<20, u.bound(8<<20), "not compressed")
	u.saw(16_000, records)
	require.EqualValues(t, 8<<20, u.bound(8<<20), "never more than that")
	u.saw(1000, records)
	require.EqualValues(t, 1<<20, u.bound(8<<20), "at once")
	u.saw(8000, records)
	require.Less(t, u.bound(8<<20), int32(2<<20), "little by little")
	for range 100 {
		u.saw(8000, records)
	}
	require.EqualValues(t, 8<<20, u.bound(8<<20))
	headers := []*kgo.Record{{Headers: []kgo.RecordHeader{{Key: "h", Value: make([]byte, 15_999-recordBytes)}}}}
	u.saw(8000, headers)
	require.EqualValues(t, 4<<20, u.bound(8<<20), "headers are unpacked too")
	for range 100 {
		u.saw(8000, records)
	}
	u.saw(0, nil)
	u.saw(10, nil)
	require.EqualValues(t, 8<<20, u.bound(8<<20), "markers tell nothing")
	u.saw(1, records)
	require.EqualValues(t, leastAsked, u.bound(8<<20))
	require.EqualValues(t, 1000, u.bound(1000), "less is never made more")
}

// What is in memory at a time is divided among those who fetch.
func TestBrokersShareTheBound(t *testing.T) {
	s := &session{cfg: &Config{}, pace: &pace{}, maxBytes: 8 << 20, workers: map[workerKey]*worker{}}
	for i := range int32(4) {
		w := &worker{s: s, key: workerKey{leader: i}}
		s.workers[w.key] = w
		require.EqualValues(t, 8<<20/(i+1), w.most())
	}
}

// Of a compressed topic no answer unpacks to much more than the bound, though the
// broker counts what it sends.
func TestCompressedAnswersStayWithinTheBound(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		topic := b.CreateTopic(t, "zstd", 1, 1, nil)
		client := b.Client(t, kgo.ProducerBatchCompression(kgo.ZstdCompression()), kgo.ProducerBatchMaxBytes(16<<10))
		rng := rand.New(rand.NewPCG(1, 2))
		const records = 16_000
		var total int
		for i := range records {
			value := bytes.Repeat([]byte("so much of the same "), 50)
			for at := range 100 {
				value[at] = byte(rng.Uint32())
			}
			total += len(value)
			client.Produce(t.Context(), &kgo.Record{Topic: topic, Value: value}, func(_ *kgo.Record, err error) {
				if err != nil {
					t.Error(err)
				}
			})
			if i%100 == 99 {
				require.NoError(t, client.Flush(t.Context()))
			}
		}
		const bound = 1 << 20
		c, err := New(Config{Topic: topic, Opts: b.Opts(), Connections: 1, MaxBytes: bound, MaxPartitionBytes: bound})
		require.NoError(t, err)
		defer c.Close()
		found, err := c.Describe(t.Context())
		require.NoError(t, err)
		largest, read, n := 0, 0, 0
		err = c.Read(t.Context(), Plan{Topic: found, Until: map[int32]int64{0: records}}, func(_ context.Context, b *Batch) error {
			size := 0
			for _, r := range b.Records {
				size += len(r.Value)
			}
			// The first answers show how much it is.
			if n++; n > 2 {
				largest = max(largest, size)
			}
			read += size
			return nil
		})
		require.NoError(t, err)
		require.Equal(t, total, read)
		require.Positive(t, largest)
		t.Logf("the largest of %d answers has %d bytes", n, largest)
		require.LessOrEqual(t, largest, 3*bound/2)
	})
}
