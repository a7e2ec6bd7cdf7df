package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/globaltable"
	"github.com/globaltable/enrich/join"
	"github.com/globaltable/enrich/stream"
)

// joined is what a joiner makes where its output goes to a topic: the reading,
// and the row.
func joined(reading, row []byte) []byte {
	out := make([]byte, 0, len(reading)+len(row)+len(joinedText))
	out = append(append(out, joinedText[:11]...), reading...)
	out = append(append(out, joinedText[11:21]...), row...)
	return append(out, '}')
}

const joinedText = `{"reading":,"device":}`

// workJoin measures how fast a stream of readings is joined with a table; for raw,
// how fast it is read, or read and written, with nothing in between.
func workJoin(ctx context.Context, _ *child, j job) (sample, error) {
	if j.Peer == peerRaw {
		return joinRaw(ctx, j)
	}
	t, err := runEnrichBytes(ctx, j)
	if err != nil {
		return nil, err
	}
	// Opened again, so that the caches hold nothing of the bootstrap.
	if err := errors.Join(t.settle(ctx), t.close()); err != nil {
		return nil, err
	}
	if t, err = runEnrichBytes(ctx, j); err != nil {
		return nil, err
	}
	var took time.Duration
	runs := 2
	if j.Cold {
		runs = 1
	}
	for i := range runs {
		run := j
		if run.Group = fmt.Sprintf("%s-%d", j.Group, i); i < runs-1 {
			run.Out = "" // this one warms the caches
		}
		if took, err = joinOnce(ctx, t.Table, run); err != nil {
			return nil, errors.Join(err, t.close())
		}
	}
	s := sample{"readings_per_s": float64(j.Readings) / took.Seconds(), "rss_mb": peakRSS()}
	return s, t.close()
}

// A span is the time from the first record to the last.
type span struct {
	first atomic.Int64
	// left counts the records that have not ended, by partition.
	left [readingPartitions]struct {
		n atomic.Int64
		_ [56]byte // a cache line of its own
	}
	last atomic.Int64
}

func newSpan(readings int) *span {
	s := &span{}
	for i := range s.left {
		s.left[i].n.Store(int64((readings - i + readingPartitions - 1) / readingPartitions))
	}
	return s
}

func (s *span) begin() {
	if s.first.Load() == 0 {
		s.first.CompareAndSwap(0, time.Now().UnixNano())
	}
}

func (s *span) end(partition int32) {
	if s.left[partition].n.Add(-1) == 0 {
		s.last.Store(time.Now().UnixNano())
	}
}

func (s *span) complete() error {
	for i := range s.left {
		if n := s.left[i].n.Load(); n != 0 {
			return fmt.Errorf("partition %d: %d readings were not joined", i, n)
		}
	}
	return nil
}

func joinOnce(ctx context.Context, t *globaltable.Table[string, []byte], j job) (time.Duration, error) {
	sp := newSpan(j.Readings)
	keyOf := func(r stream.Record[string, []byte]) (string, bool) {
		sp.begin()
		return r.Key, true
	}
	readings := stream.From(j.Stream, codec.String(), codec.Bytes())
	var sink stream.Sink
	if j.Out == "" {
		// Bytes in and bytes out: nothing is made of them.
		out := join.Inner(readings, t, keyOf, func(_ stream.Record[string, []byte], d globaltable.Entry[string, []byte]) ([]byte, error) {
			return d.Value, nil
		})
		sink = stream.ForEach(out, func(_ context.Context, r stream.Record[string, []byte]) error {
			sp.end(r.Partition)
			return nil
		})
	} else {
		out := join.Inner(readings, t, keyOf, func(r stream.Record[string, []byte], d globaltable.Entry[string, []byte]) ([]byte, error) {
			sp.end(r.Partition)
			return joined(r.Value, d.Value), nil
		})
		sink = stream.To(out, j.Out, codec.String(), codec.Bytes())
	}
	w, err := stream.New(sink, stream.Brokers(j.Brokers...), stream.Group(j.Group), stream.StopAtEnd(),
		stream.Kafka(kgo.FetchMaxBytes(rawFetchBytes), kgo.ProducerBatchCompression(kgo.NoCompression())))
	if err != nil {
		return 0, err
	}
	ran := make(chan error, 1)
	go func() { ran <- w.Run(ctx) }()
	if j.Out != "" {
		before := w.Stats().Outputs
		err = every(ctx, 2*time.Millisecond, func() (bool, error) { return w.Stats().Outputs-before == int64(j.Readings), nil })
		sp.last.Store(time.Now().UnixNano())
	}
	if err = errors.Join(err, <-ran); err != nil {
		return 0, err
	}
	return time.Duration(sp.last.Load() - sp.first.Load()), sp.complete()
}

// joinRaw reads the readings and does nothing, or writes as many bytes as joined
// readings have.
func joinRaw(ctx context.Context, j job) (sample, error) {
	var each func(*kgo.Record)
	var w *writer
	if j.Out != "" {
		var err error
		cl, err := kgo.NewClient(kgo.SeedBrokers(j.Brokers...), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedRecords(100_000))
		if err != nil {
			return nil, err
		}
		w = &writer{cl: cl}
		row := appendRow(nil, 1, 2, 0)
		each = func(r *kgo.Record) {
			w.write(ctx, &kgo.Record{Topic: j.Out, Key: r.Key, Value: joined(r.Value, row), Timestamp: r.Timestamp})
		}
	}
	began := time.Now()
	res, err := readAll(ctx, j.Brokers, j.Stream, each)
	if w != nil {
		err = errors.Join(err, w.close())
		res.perSecond = float64(res.records) / time.Since(began).Seconds()
	}
	if err == nil && res.records != j.Readings {
		err = fmt.Errorf("it read %d readings of %d", res.records, j.Readings)
	}
	return sample{"readings_per_s": res.perSecond, "rss_mb": peakRSS()}, err
}
