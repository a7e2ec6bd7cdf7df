package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// devicePartitions is the number of partitions of the table's topic.
const devicePartitions = 4

func joined(errs ...error) error { return errors.Join(errs...) }

func key(n int) string { return fmt.Sprintf("dev-%08d", n) }

// partitionOf spreads keys as goka does, which finds a row only in the partition
// that its own hash says. The others find rows wherever they are.
func partitionOf(key string) int32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key)) // never fails
	hash := int32(h.Sum32())
	if hash < 0 {
		hash = -hash
	}
	return hash % devicePartitions
}

// makeDevices makes a compacted topic of device rows, about 175 B each, with
// distinct keys in random order. Their values vary as those of real ones do.
func makeDevices(ctx context.Context, addrs []string, rows int, progress io.Writer) (topic string, err error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addrs...), kgo.ProducerBatchMaxBytes(900_000),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(5*time.Millisecond), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		return "", err
	}
	defer cl.Close()
	topic = fmt.Sprintf("bench-devices-%d-%d", rows, time.Now().UnixNano())
	compact := "compact"
	if _, err := kadm.NewClient(cl).CreateTopic(ctx, devicePartitions, -1, map[string]*string{"cleanup.policy": &compact}, topic); err != nil {
		return "", err
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var wg sync.WaitGroup
	var mu sync.Mutex
	var first error
	for i, n := range rng.Perm(rows) {
		r := &kgo.Record{Topic: topic, Partition: partitionOf(key(n)), Key: []byte(key(n)), Value: fmt.Appendf(nil,
			`{"device":"%s","room":"%d-%03d","site":"hotel-%d","owner":"floor%d@hotel-%d.example.com","limit_c":%d.%d,"clear_c":%d.5,"serial":"%016x"}`,
			key(n), n%40, n%997, n%211, n%40, n%211, 20+n%15, n%10, 18+n%15, rng.Uint64())}
		wg.Add(1)
		cl.Produce(ctx, r, func(_ *kgo.Record, err error) {
			if err != nil {
				mu.Lock()
				first = errors.Join(first, err)
				mu.Unlock()
			}
			wg.Done()
		})
		if i%500_000 == 0 && i > 0 {
			fmt.Fprintf(progress, "made %d of %d rows\n", i, rows)
		}
	}
	wg.Wait()
	return topic, first
}
