package stream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/globaltable/enrich/codec"
)

// processFunc is a Processor made of a function.
type processFunc func(ctx context.Context, in []Record[string, string], out *Output[string, string]) error

func (f processFunc) Process(ctx context.Context, in []Record[string, string], out *Output[string, string]) error {
	return f(ctx, in, out)
}

type passThrough struct{}

func (passThrough) Process(_ context.Context, in []Record[string, string], out *Output[string, string]) error {
	for i, r := range in {
		out.Emit(i, r)
	}
	return nil
}

func process(s *Stream[string, string], f processFunc, deps ...Dependency) *Stream[string, string] {
	return Process(s, "stage", Processor[string, string, string, string](f), deps...)
}

func TestProcessEmitsInOrderOfInputs(t *testing.T) {
	e := onFake(t)
	in, out := e.topic("in", 1), e.topic("out", 1)
	e.putN(in, 0, 0, 5)
	var calls atomic.Int32
	s := process(strs(in), func(_ context.Context, in []Record[string, string], out *Output[string, string]) error {
		calls.Add(1)
		for i := len(in) - 1; i >= 0; i-- {
			switch in[i].Value {
			case "v1":
				out.Drop(i, "no match")
			case "v3": // an input without output is done
			default:
				out.Emit(i, WithValue(in[i], in[i].Value+"a"))
				out.Emit(i, WithValue(in[i], in[i].Value+"b"))
			}
		}
		return nil
	})
	stats, err := e.runToEnd(toStrs(s, out))
	require.NoError(t, err)
	require.Equal(t, []string{"v0a", "v0b", "v2a", "v2b", "v4a", "v4b"}, values(e.read(out)))
	require.Equal(t, map[string]int64{"no match": 1}, stats.Dropped)
	require.EqualValues(t, 1, calls.Load(), "one call for the records of one poll")
	require.EqualValues(t, 5, e.committed(e.group(), in, 0))
}

func TestProcessFailFollowsThePolicy(t *testing.T) {
	for _, tc := range []struct {
		policy    BadRecordPolicy
		want      []string
		committed int64
	}{
		{Fail, []string{"v0", "v1"}, 2},
		{Skip, []string{"v0", "v1", "v3", "v4"}, 5},
	} {
		t.Run(string(tc.policy), func(t *testing.T) {
			e := onFake(t)
			in, out := e.topic("in", 1), e.topic("out", 1)
			e.putN(in, 0, 0, 5)
			s := process(strs(in), func(_ context.Context, in []Record[string, string], out *Output[string, string]) error {
				for i, r := range in {
					out.Emit(i, r)
					if r.Value == "v2" {
						out.Drop(i, "not counted")
						out.Fail(i, errors.New("bad"))
						out.Fail(i, errors.New("bad again"))
					}
				}
				return nil
			})
			stats, err := e.runToEnd(toStrs(s, out), OnBadRecord(tc.policy))
			if tc.policy == Fail {
				re, ok := errors.AsType[*RecordError](err)
				require.True(t, ok, "%v", err)
				require.Equal(t, "stage", re.Stage)
				require.EqualValues(t, 2, re.Offset)
			} else {
				require.NoError(t, err)
				require.EqualValues(t, 1, stats.BadRecords.Skipped)
			}
			require.Empty(t, stats.Dropped)
			require.Equal(t, tc.want, values(e.read(out)))
			require.Equal(t, tc.committed, e.committed(e.group(), in, 0))
		})
	}
}

func TestProcessRetriesFromTheRecordThatAsksForIt(t *testing.T) {
	e := onFake(t)
	in, out := e.topic("in", 1), e.topic("out", 1)
	e.putN(in, 0, 0, 4)
	var mu sync.Mutex
	var calls [][]string
	s := process(strs(in), func(_ context.Context, in []Record[string, string], out *Output[string, string]) error {
		mu.Lock()
		defer mu.Unlock()
		var vs []string
		for _, r := range in {
			vs = append(vs, r.Value)
		}
		calls = append(calls, vs)
		if len(calls) == 1 {
			return codec.Retryable(errors.New("table away"))
		}
		for i, r := range in {
			if len(calls) == 2 && r.Value == "v2" {
				out.Fail(i, codec.Retryable(errors.New("not yet")))
			}
			out.Emit(i, r)
		}
		return nil
	})
	stats, err := e.runToEnd(toStrs(s, out), OnBadRecord(Skip))
	require.NoError(t, err)
	require.Equal(t, [][]string{{"v0", "v1", "v2", "v3"}, {"v0", "v1", "v2", "v3"}, {"v2", "v3"}}, calls)
	require.Equal(t, numbered("v", 0, 4), values(e.read(out)), "nothing twice, nothing lost, in order")
	require.EqualValues(t, 2, stats.Retries)
	require.Zero(t, stats.BadRecords)
}

func TestProcessErrorsEndTheRun(t *testing.T) {
	bad := errors.New("table failed")
	for name, tc := range map[string]struct {
		f    processFunc
		want string
	}{
		"returned": {func(context.Context, []Record[string, string], *Output[string, string]) error { return bad }, "stream: stage: table failed"},
		"panic":    {func(context.Context, []Record[string, string], *Output[string, string]) error { panic("oops") }, "panic in stage: oops"},
		"wrong index": {func(_ context.Context, in []Record[string, string], out *Output[string, string]) error {
			out.Emit(len(in), in[0])
			return nil
		}, "output for input 2 of 2"},
		"nil failure": {func(_ context.Context, in []Record[string, string], out *Output[string, string]) error {
			out.Fail(0, nil)
			return nil
		}, "Fail was called without an error"},
	} {
		t.Run(name, func(t *testing.T) {
			e := onFake(t)
			in, out := e.topic("in", 1), e.topic("out", 1)
			e.putN(in, 0, 0, 2)
			err := Run(e.ctx(), toStrs(process(strs(in), tc.f), out), e.opts()...)
			require.ErrorContains(t, err, tc.want)
			require.EqualValues(t, -1, e.committed(e.group(), in, 0))
			require.Empty(t, e.read(out))
		})
	}
}

// gate is a dependency that becomes ready, or fails, when told.
type gate struct {
	asked chan struct{}
	c     chan error
}

func newGate() *gate { return &gate{asked: make(chan struct{}), c: make(chan error, 1)} }

func (g *gate) Name() string { return "gate" }

func (g *gate) WaitReady(ctx context.Context) error {
	close(g.asked)
	select {
	case err := <-g.c:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestDependenciesHoldTheStream(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		in, out := e.topic("in", 1), e.topic("out", 1)
		e.putN(in, 0, 0, 3)
		a, b := newGate(), newGate()
		s := process(process(strs(in), passThrough{}.Process, a), passThrough{}.Process, b)
		r := e.start(toStrs(s, out))
		receive(t, a.asked)
		receive(t, b.asked)
		require.Equal(t, StateWaitingForDependencies, r.Stats().State)
		a.c <- nil
		require.Zero(t, r.Stats().Records)
		groups, err := e.adm.ListGroups(e.ctx())
		require.NoError(t, err)
		require.NotContains(t, groups, e.group(), "the worker has not even joined its group")
		b.c <- nil
		r.until("outputs", func(s Stats) bool { return s.Outputs == 3 })
		require.NoError(t, r.stop())
	})
}

func TestFailedDependencyEndsTheRun(t *testing.T) {
	e := onFake(t)
	in, out := e.topic("in", 1), e.topic("out", 1)
	e.putN(in, 0, 0, 3)
	good, bad := newGate(), newGate()
	r := e.start(toStrs(process(strs(in), passThrough{}.Process, good, bad), out))
	failed := fmt.Errorf("its run has failed")
	bad.c <- failed
	require.ErrorIs(t, r.wait(), failed)
	require.ErrorContains(t, r.err, "waiting for gate")
	require.EqualValues(t, -1, e.committed(e.group(), in, 0))

	waiting := newGate()
	r = e.start(toStrs(process(strs(in), passThrough{}.Process, waiting), out))
	receive(t, waiting.asked)
	require.NoError(t, r.stop(), "a stop while waiting is a clean stop")
}
