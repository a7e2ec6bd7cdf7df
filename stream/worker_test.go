package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestOrderWithinAPartitionAndParallelPartitions(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		const partitions, n = 3, 200
		in := e.topic("in", partitions)
		for p := range int32(partitions) {
			e.putN(in, p, 0, n)
		}
		// The first call of every partition waits until all have been called:
		// that only ends if partitions work in parallel.
		var all sync.WaitGroup
		all.Add(partitions)
		var mu sync.Mutex
		seen := make(map[int32][]string)
		var busy [partitions]atomic.Int32
		stats, err := e.runToEnd(ForEach(strs(in), func(_ context.Context, r Record[string, string]) error {
			if busy[r.Partition].Add(1) != 1 {
				return errors.New("two calls at once for one partition")
			}
			defer busy[r.Partition].Add(-1)
			if r.Offset == 0 {
				all.Done()
				all.Wait()
			}
			mu.Lock()
			defer mu.Unlock()
			seen[r.Partition] = append(seen[r.Partition], r.Value)
			return nil
		}))
		require.NoError(t, err)
		for p := range int32(partitions) {
			require.Equal(t, numbered("v", 0, n), seen[p])
			require.EqualValues(t, n, e.committed(e.group(), in, p))
		}
		require.EqualValues(t, partitions*n, stats.Records)
	})
}

func TestOutputsKeepTheInputsOrder(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		in, out := e.topic("in", 2), e.topic("out", 3)
		const n = 500
		for p := range int32(2) {
			var rs []*kgo.Record
			for i := range n {
				rs = append(rs, &kgo.Record{Topic: in, Partition: p, Key: fmt.Appendf(nil, "p%d-k%d", p, i%7), Value: fmt.Appendf(nil, "%06d", i)})
			}
			require.NoError(t, e.client.ProduceSync(e.ctx(), rs...).FirstErr())
		}
		_, err := e.runToEnd(toStrs(strs(in), out), MaxInFlight(50))
		require.NoError(t, err)
		got := e.read(out)
		require.Len(t, got, 2*n)
		last := make(map[string]string)
		for _, r := range got {
			require.Greater(t, string(r.Value), last[string(r.Key)], "key %s", r.Key)
			last[string(r.Key)] = string(r.Value)
		}
		require.Len(t, last, 14)
	})
}

func TestCleanStopRedoesNothing(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		in, out := e.topic("in", 3), e.topic("out", 2)
		// There is always something left to do.
		n := 0
		more := func() {
			const some = 600
			for p := range int32(3) {
				var rs []*kgo.Record
				for i := range some {
					rs = append(rs, &kgo.Record{Topic: in, Partition: p, Key: fmt.Appendf(nil, "%d-%d", p, n+i)})
				}
				require.NoError(t, e.client.ProduceSync(e.ctx(), rs...).FirstErr())
			}
			n += some
		}
		twice := FlatMap(strs(in), func(r Record[string, string]) ([]Record[string, string], error) {
			return []Record[string, string]{WithKey(r, r.Key+"a"), WithKey(r, r.Key+"b")}, nil
		})
		slow := Map(twice, func(r Record[string, string]) (Record[string, string], error) { return r, nil })
		// Stopped over and over, in the middle of things.
		for range 5 {
			more()
			r := e.start(toStrs(slow, out), MaxInFlight(100))
			r.until("something is done", func(s Stats) bool { return s.Outputs > 0 })
			require.NoError(t, r.stop())
		}
		_, err := e.runToEnd(toStrs(slow, out))
		require.NoError(t, err)
		count := make(map[string]int)
		for _, r := range e.read(out) {
			count[string(r.Key)]++
		}
		require.Len(t, count, 3*n*2)
		for k, c := range count {
			require.Equal(t, 1, c, k)
		}
	})
}

func TestStopIsPromptWithFullQueues(t *testing.T) {
	e := onFake(t)
	in := e.topic("in", 1)
	e.putN(in, 0, 0, 1000)
	begun, goOn := make(chan int64, 1000), make(chan struct{})
	var r *running
	started := make(chan struct{})
	r = e.start(ForEach(strs(in), func(_ context.Context, rec Record[string, string]) error {
		<-started
		// Block in the first record that has others behind it.
		if r.Stats().Partitions[0].Position > rec.Offset+1 {
			begun <- rec.Offset
			<-goOn
		}
		return nil
	}))
	close(started)
	at := receive(t, begun)
	r.cancel()
	r.until("stopping", func(s Stats) bool { return s.State == StateStopping })
	require.Eventually(t, func() bool { return r.allParts()[0].stopping() }, patience, time.Millisecond)
	close(goOn)
	require.NoError(t, r.wait())
	require.Empty(t, begun, "records not begun are left")
	require.EqualValues(t, at+1, e.committed(e.group(), in, 0))
}

func TestRunTwice(t *testing.T) {
	e := onFake(t)
	in := e.topic("in", 1)
	w, err := New(ForEach(strs(in), new(collector).add), e.opts(StopAtEnd())...)
	require.NoError(t, err)
	require.Equal(t, StateNew, w.Stats().State)
	require.NoError(t, w.Run(e.ctx()))
	require.Equal(t, StateStopped, w.Stats().State)
	require.ErrorIs(t, w.Run(e.ctx()), ErrRunTwice)
}

func TestMissingTopicsAreAwaitedVisibly(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		var log bytes.Buffer
		in, out := e.prefix+"in", e.prefix+"out"
		r := e.start(toStrs(strs(in), out), Logger(slog.New(slog.NewTextHandler(&log, nil))))
		r.until("it says so", func(s Stats) bool { return s.State == StateWaitingForTopics && s.LastError != nil })
		require.ErrorContains(t, r.Stats().LastError, in)
		require.ErrorContains(t, r.Stats().LastError, out)
		require.ErrorIs(t, r.Stats().LastError, kerr.UnknownTopicOrPartition)
		e.topic("in", 1)
		e.topic("out", 1)
		e.put(in, 0, "k", "v")
		r.until("it works", func(s Stats) bool { return s.Outputs == 1 })
		require.NoError(t, r.stop())
		require.Contains(t, log.String(), "UNKNOWN_TOPIC_OR_PARTITION")
	})
}

func TestUnreachableBrokerIsTriedForEver(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	require.NoError(t, l.Close())
	w, err := New(ForEach(strs("in"), new(collector).add), Brokers(addr), Group("g"))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	require.Eventually(t, func() bool { return w.Stats().LastError != nil }, patience, time.Millisecond)
	require.ErrorContains(t, w.Stats().LastError, addr)
	require.Equal(t, StateWaitingForTopics, w.Stats().State)
	cancel()
	require.NoError(t, receive(t, done), "a stop is a stop, also here")
}

func TestDeniedAccessEndsTheRun(t *testing.T) {
	e := onFake(t)
	in := e.topic("in", 1)
	e.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Topic: in, Err: kerr.TopicAuthorizationFailed, Count: 1})
	r := e.start(ForEach(strs(in), new(collector).add))
	require.ErrorIs(t, r.wait(), kerr.TopicAuthorizationFailed)
	require.ErrorContains(t, r.err, in)
}
