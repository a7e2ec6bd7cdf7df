package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/codec"
)

// bare is a partition without a broker, a goroutine or operators. Its client
// exists but is told nothing.
func bare(t *testing.T, opts ...Opt) *partition {
	t.Helper()
	cl, err := kgo.NewClient()
	require.NoError(t, err)
	t.Cleanup(cl.Close)
	w := &Worker{
		cfg: newConfig(opts), base: t.Context(), client: cl, log: slog.New(slog.DiscardHandler),
		halt: func(error) {}, sink: Sink{open: func(*partition) rawHandler { return func([]*input) error { return nil } }},
	}
	w.hooks = w.cfg.hooks
	p := newPartition(w, "topic", 0)
	t.Cleanup(p.cancel)
	return p
}

func (p *partition) inputs(n int) []*input {
	var offsets []int64
	for i := range n {
		offsets = append(offsets, p.track.next.Offset+1+int64(i))
	}
	return slices.Clone(p.track.add(raws(offsets...)))
}

// trace records what each does.
type trace struct {
	out     []string
	flushed []string
}

func (tr *trace) flush() error {
	tr.flushed = append(tr.flushed, strings.Join(tr.out, ""))
	tr.out = nil
	return nil
}

func TestEachGoesThroughAll(t *testing.T) {
	p := bare(t)
	ins := p.inputs(3)
	var tr trace
	err := p.each("map", ins, func(i int) error {
		tr.out = append(tr.out, fmt.Sprint(i))
		return nil
	}, tr.flush)
	require.NoError(t, err)
	require.Equal(t, []string{"012"}, tr.flushed)
	require.EqualValues(t, 1, ins[0].refs, "a reference that was taken over is not released")
}

func TestEachFlushesWhatIsBeforeAFatalError(t *testing.T) {
	p := bare(t)
	var tr trace
	err := p.each("map", p.inputs(3), func(i int) error {
		if i == 2 {
			return errors.New("bad")
		}
		tr.out = append(tr.out, fmt.Sprint(i))
		return nil
	}, tr.flush)
	require.EqualError(t, err, "stream: map of record topic/0 offset 2: bad")
	require.Equal(t, []string{"01"}, tr.flushed)
}

func TestEachPrefersTheErrorOfAnEarlierRecord(t *testing.T) {
	p := bare(t)
	earlier := errors.New("of an earlier record")
	err := p.each("map", p.inputs(2), func(i int) error { return errors.New("own") }, func() error { return earlier })
	require.ErrorIs(t, err, earlier)
	err = p.each("map", p.inputs(2), func(int) error { return &notOwn{earlier} }, nil)
	require.Same(t, earlier, err, "and passes on what is not about its record, whatever the policy")
	require.EqualValues(t, 1, p.w.count.failed.Load())
}

func TestEachReleasesWhatItSkips(t *testing.T) {
	p := bare(t, OnBadRecord(Skip))
	ins := p.inputs(3)
	require.NoError(t, p.each("map", ins, func(i int) error {
		if i == 1 {
			return errors.New("bad")
		}
		return nil
	}, nil))
	require.Equal(t, []int32{1, 0, 1}, []int32{ins[0].refs, ins[1].refs, ins[2].refs})
	require.EqualValues(t, 1, p.w.count.skipped.Load())
}

func TestEachAbandonsOnlyWhatHasNotBegun(t *testing.T) {
	for name, tc := range map[string]struct {
		of   []int // the input of each record
		stop int   // halted while record stop is worked on
		done int
	}{
		"next input":              {[]int{0, 1, 2}, 0, 1},
		"same input":              {[]int{0, 1, 1, 1, 2}, 1, 4},
		"an output of it is out":  {[]int{0, 9, 2}, 0, 2}, // input 9 has begun
		"begun, but not the next": {[]int{9, 9, 1}, 0, 2},
	} {
		t.Run(name, func(t *testing.T) {
			p := bare(t)
			all := p.inputs(10)
			all[9].began = true
			var ins []*input
			for _, i := range tc.of {
				ins = append(ins, all[i])
			}
			var tr trace
			err := p.each("map", ins, func(i int) error {
				if i == tc.stop {
					p.halt()
				}
				tr.out = append(tr.out, "x")
				return nil
			}, tr.flush)
			if tc.done == len(tc.of) {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, errAbandoned)
			}
			require.Equal(t, []string{strings.Repeat("x", tc.done)}, tr.flushed)
		})
	}
}

func TestEachRetriesTheSameRecordAfterFlushing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := bare(t, OnBadRecord(Skip))
		var tr trace
		tries := 0
		began := time.Now()
		err := p.each("map", p.inputs(3), func(i int) error {
			if i == 1 && tries < 3 {
				tries++
				return fmt.Errorf("wrapped: %w", codec.Retryable(errors.New("away")))
			}
			tr.out = append(tr.out, fmt.Sprint(i))
			return nil
		}, tr.flush)
		require.NoError(t, err)
		require.Equal(t, "0", tr.flushed[0], "what is before it does not wait")
		require.Equal(t, "012", strings.Join(tr.flushed, ""))
		require.Equal(t, 700*time.Millisecond, time.Since(began))
		require.EqualValues(t, 3, p.w.count.retries.Load())
		p.w.client.Close()
	})
}

func TestEachGivesUpWhenTheContextHasEnded(t *testing.T) {
	p := bare(t)
	p.cancel()
	err := p.each("foreach", p.inputs(1), func(int) error { return p.ctx.Err() }, nil)
	require.ErrorIs(t, err, errAbandoned)
	require.Zero(t, p.w.count.failed.Load(), "the record is not a bad one")
}

func TestOutputsAreBounded(t *testing.T) {
	e := onFake(t)
	in, out := e.topic("in", 1), e.topic("out", 1)
	hold := e.holdProduce(out, 0)
	const limit, n = 10, 1000
	many := FlatMap(strs(in), func(r Record[string, string]) ([]Record[string, string], error) {
		return make([]Record[string, string], n), nil
	})
	e.put(in, 0, "k", "v")
	r := e.start(toStrs(many, out), MaxInFlight(limit))
	receive(t, hold.holding)
	p := r.allParts()[0]
	require.Eventually(t, func() bool { return p.waiting.Load() && p.unacked.Load() == limit }, patience, time.Millisecond)
	hold.letGo()
	r.until("done", func(s Stats) bool { return s.Outputs == n && s.Partitions[0].Committed == 1 })
	require.NoError(t, r.stop())
}

func TestWaitEndsWithItsContext(t *testing.T) {
	p := bare(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.False(t, p.wait(ctx, func() bool { return false }))
	require.True(t, p.wait(ctx, func() bool { return true }), "what is ready needs no waiting")
	require.False(t, p.waiting.Load())
}

func TestSkipToLeavesAPartitionAloneThatIsNotIdle(t *testing.T) {
	p := bare(t)
	p.start = 3
	position, idle := p.position()
	require.EqualValues(t, 3, position)
	require.True(t, idle)
	p.skipTo(3, 5)
	require.EqualValues(t, 5, p.frontier().Offset)

	p.deliver(raws(6), 7)
	p.skipTo(5, 9)
	require.EqualValues(t, 5, p.frontier().Offset, "records have come")
	ins, _ := p.take()
	p.skipTo(7, 9)
	require.EqualValues(t, 5, p.frontier().Offset, "they are worked on")
	_, idle = p.position()
	require.False(t, idle)
	ins[0].release()
	require.EqualValues(t, 7, p.frontier().Offset)
}
