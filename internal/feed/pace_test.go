package feed

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/internal/kafkatest"
)

func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pace{perSecond: 1000}
		began := time.Now()
		for range 5 {
			require.NoError(t, p.wait(t.Context()))
			p.took(500)
		}
		require.Equal(t, 2*time.Second, time.Since(began), "the last is not paid for yet")
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		require.ErrorIs(t, p.wait(ctx), context.DeadlineExceeded)
		time.Sleep(time.Minute)
		p.took(1000) // what was not used is lost
		began = time.Now()
		require.NoError(t, p.wait(t.Context()))
		require.Equal(t, time.Second, time.Since(began))

		none := &pace{}
		none.took(1 << 40)
		require.NoError(t, none.wait(t.Context()))
		require.EqualValues(t, 7, none.most(7))
		require.EqualValues(t, paceLeast, p.most(1<<20))
		require.EqualValues(t, 1<<18, (&pace{perSecond: 1 << 20}).most(1<<20))
	})
}

// A client that is paced takes as long as the bytes need.
func TestPaceOfAClient(t *testing.T) {
	b := kafkatest.Fake(t)
	topic := b.CreateTopic(t, "paced", 2, 1, nil)
	var rs []*kgo.Record
	for range 400 {
		rs = append(rs, &kgo.Record{Topic: topic, Value: make([]byte, 1000)})
	}
	client := b.Client(t, kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerBatchMaxBytes(16<<10))
	require.NoError(t, client.ProduceSync(t.Context(), rs...).FirstErr())
	read := func(perSecond int64) time.Duration {
		c, err := New(Config{Topic: topic, Opts: b.Opts(), BytesPerSecond: perSecond})
		require.NoError(t, err)
		defer c.Close()
		found, err := c.Describe(t.Context())
		require.NoError(t, err)
		began, n := time.Now(), 0
		require.NoError(t, c.Read(t.Context(), Plan{Topic: found, Until: map[int32]int64{0: 1 << 40, 1: 1 << 40}}, func(_ context.Context, b *Batch) error {
			n += len(b.Records)
			return nil
		}))
		require.Equal(t, len(rs), n)
		return time.Since(began)
	}
	// 400 kB, of which the last answers are not waited for.
	require.Greater(t, read(400_000), 300*time.Millisecond)
}
