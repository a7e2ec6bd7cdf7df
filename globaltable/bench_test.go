package globaltable

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/internal/kafkatest"
)

// BenchmarkBootstrap reads a topic of four partitions into an empty directory,
// until the table is ready, on a real broker where there is one. ENRICH_ROWS
// sets the number of rows of about 175 B; the default is 200,000.
func BenchmarkBootstrap(b *testing.B) {
	rows := 200_000
	if s := os.Getenv("ENRICH_ROWS"); s != "" {
		var err error
		rows, err = strconv.Atoi(s)
		require.NoError(b, err)
	}
	broker := kafkatest.Real(b)
	topic := broker.CreateTopic(b, "bench", 4, -1, kafkatest.Compacted())
	produceDevices(b, broker, topic, rows)
	b.Run("read only", func(b *testing.B) {
		for b.Loop() {
			readOnly(b, broker, topic, rows)
		}
		b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
	})
	b.Run("table", func(b *testing.B) {
		for b.Loop() {
			tb, err := Open(topic, stringKey, stringKey, Brokers(broker.Addrs()...), Dir(b.TempDir()+"/t"))
			require.NoError(b, err)
			done := make(chan error, 1)
			go func() { done <- tb.Run(b.Context()) }()
			require.NoError(b, tb.WaitReady(b.Context()))
			b.StopTimer()
			require.NoError(b, tb.Close())
			require.ErrorIs(b, <-done, ErrClosed)
			b.StartTimer()
		}
		b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
	})
}

func readOnly(b *testing.B, broker *kafkatest.Broker, topic string, rows int) {
	cl, err := kgo.NewClient(append(broker.Opts(), kgo.ConsumeTopics(topic), kgo.FetchMaxBytes(64<<20))...)
	require.NoError(b, err)
	defer cl.Close()
	for n := 0; n < rows; {
		fs := cl.PollFetches(b.Context())
		require.NoError(b, fs.Err())
		n += fs.NumRecords()
	}
}

// produceDevices writes rows of about 175 B with keys in random order.
func produceDevices(b *testing.B, broker *kafkatest.Broker, topic string, rows int) {
	cl, err := kgo.NewClient(append(broker.Opts(), kgo.ProducerBatchMaxBytes(900_000), kgo.ProducerLinger(5*time.Millisecond), kgo.ProducerBatchCompression(kgo.NoCompression()))...)
	require.NoError(b, err)
	defer cl.Close()
	rng := rand.New(rand.NewPCG(1, 2))
	var wg sync.WaitGroup
	wg.Add(rows)
	for i, n := range rng.Perm(rows) {
		r := &kgo.Record{Topic: topic, Key: fmt.Appendf(nil, "dev-%08d", n), Value: fmt.Appendf(nil,
			`{"device":"dev-%08d","room":"%d-%03d","site":"hotel-%d","owner":"floor%d@hotel-%d.example.com","limit_c":%d.%d,"clear_c":%d.5,"note":"serial %016x"}`,
			n, n%40, n%997, n%211, n%40, n%211, 20+n%15, n%10, 18+n%15, rng.Uint64())}
		cl.Produce(b.Context(), r, func(_ *kgo.Record, err error) {
			if err != nil {
				b.Error(err)
			}
			wg.Done()
		})
		if i%50_000 == 0 {
			runtime.Gosched()
		}
	}
	wg.Wait()
}
