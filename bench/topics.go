package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// rowsTopic describes the topic of a table.
type rowsTopic struct {
	Rows int
	// RowBytes is the size of the values; 0 is about 160.
	RowBytes int
	Zstd     bool
}

func (r rowsTopic) String() string {
	out := fmt.Sprintf("devices %s", count(r.Rows))
	if r.RowBytes > 0 {
		out += fmt.Sprintf(" of %d B", r.RowBytes)
	}
	if r.Zstd {
		out += " zstd"
	}
	return out
}

// count writes a number of rows as people do.
func count(n int) string {
	switch {
	case n >= 1_000_000 && n%100_000 == 0:
		return fmt.Sprintf("%g M", float64(n)/1e6)
	case n >= 1000 && n%100 == 0:
		return fmt.Sprintf("%g k", float64(n)/1e3)
	}
	return fmt.Sprint(n)
}

// A writer produces records, and keeps the first error.
type writer struct {
	cl *kgo.Client
	wg sync.WaitGroup

	mu  sync.Mutex
	err error
}

func newWriter(addrs []string, zstd bool) (*writer, error) {
	codec := kgo.NoCompression()
	if zstd {
		codec = kgo.ZstdCompression()
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(addrs...), kgo.ProducerBatchMaxBytes(900_000), kgo.MaxBufferedRecords(1_000_000), kgo.MaxBufferedBytes(64<<20),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(5*time.Millisecond), kgo.ProducerBatchCompression(codec))
	return &writer{cl: cl}, err
}

func (w *writer) write(ctx context.Context, r *kgo.Record) {
	w.wg.Add(1)
	w.cl.Produce(ctx, r, func(_ *kgo.Record, err error) {
		if err != nil {
			w.mu.Lock()
			if w.err == nil {
				w.err = err
			}
			w.mu.Unlock()
		}
		w.wg.Done()
	})
}

// close waits until all is acknowledged.
func (w *writer) close() error {
	w.wg.Wait()
	w.cl.Close()
	return w.err
}

// createTopic creates a topic. If it is just being deleted, it waits for that.
func createTopic(ctx context.Context, addrs []string, topic string, partitions int32, config map[string]string) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addrs...))
	if err != nil {
		return err
	}
	defer cl.Close()
	values := map[string]*string{}
	for k, v := range config {
		values[k] = &v
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := kadm.NewClient(cl).CreateTopic(ctx, partitions, -1, values, topic)
		if !errors.Is(err, kerr.TopicAlreadyExists) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// tableConfig is that of a table's topic. The lag keeps the log as it was
// written, duplicates and tombstones included: all read the same.
func tableConfig() map[string]string {
	return map[string]string{"cleanup.policy": "compact", "min.compaction.lag.ms": "86400000"}
}

// makeRows makes the topic of a table. progress is told how many records are
// written.
func makeRows(ctx context.Context, addrs []string, topic string, r rowsTopic, progress func(done, all int)) error {
	if err := createTopic(ctx, addrs, topic, devicePartitions, tableConfig()); err != nil {
		return err
	}
	return writeRows(ctx, addrs, topic, r, progress)
}

func writeRows(ctx context.Context, addrs []string, topic string, r rowsTopic, progress func(done, all int)) error {
	w, err := newWriter(addrs, r.Zstd)
	if err != nil {
		return err
	}
	all := records(r.Rows)
	seen := map[int32]bool{}
	rng := rand.New(rand.NewPCG(3, 4))
	for i, n := range all {
		rec := &kgo.Record{Topic: topic, Key: appendKey(nil, int(n))}
		rec.Partition = partitionOf(rec.Key)
		if int(n) < r.Rows || !seen[n] {
			rec.Value = appendRow(make([]byte, 0, max(192, r.RowBytes)), int(n), rng.Uint64(), r.RowBytes)
		}
		if int(n) >= r.Rows {
			seen[n] = true
		}
		w.write(ctx, rec)
		if i%100_000 == 0 && progress != nil {
			progress(i, len(all))
		}
	}
	return w.close()
}

// deleteTopic deletes a topic that is there.
func deleteTopic(ctx context.Context, addrs []string, topic string) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addrs...))
	if err != nil {
		return err
	}
	defer cl.Close()
	_, err = kadm.NewClient(cl).DeleteTopic(ctx, topic)
	return err
}

// ends returns the end offset of each partition of a topic.
func ends(ctx context.Context, cl *kgo.Client, topic string) (map[int32]int64, error) {
	listed, err := kadm.NewClient(cl).ListEndOffsets(ctx, topic)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, err
	}
	out := map[int32]int64{}
	listed.Each(func(o kadm.ListedOffset) { out[o.Partition] = o.Offset })
	return out, nil
}
