package stream

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"

	"github.com/globaltable/enrich/codec"
)

// Dependency is something that has to be ready before a stream consumes, such
// as a joined table.
type Dependency interface {
	// Name names it in logs and errors.
	Name() string
	// WaitReady returns nil when it is ready, and an error if it never will
	// be, or when ctx ends.
	WaitReady(ctx context.Context) error
}

// Processor is an operator that works on many records at once. It is the
// extension point on which package join is built.
type Processor[K, V, K2, V2 any] interface {
	// Process receives records of one partition, in order: those of one poll,
	// or fewer. It says in out what becomes of each; an input that it does
	// not mention is done. It is called for several partitions at once. in is
	// valid only until Process returns; keys, values and headers may be kept.
	//
	// An error ends Run with that error and out is ignored, unless it is
	// marked by codec.Retryable: then Process is called again, after a
	// back-off, with the same records. Process should return such an error
	// (or use [Output.Fail] with one) rather than wait: ctx ends only when
	// the work is abandoned, so that a stop would have to wait for it.
	Process(ctx context.Context, in []Record[K, V], out *Output[K2, V2]) error
}

// Output takes what a [Processor] makes of its input. It is valid only during
// the call and not safe for concurrent use.
type Output[K, V any] struct {
	n     int
	emits []emit[K, V]
	drops []dropped
	fails []failure
	err   error
}

type emit[K, V any] struct {
	i   int
	rec Record[K, V]
}

type dropped struct {
	i      int
	reason string
}

type failure struct {
	i   int
	err error
}

// Emit hands on a record made from input i. An input may have any number of
// outputs. Outputs go on in the order of their inputs, and those of one input
// in the order emitted. Of rec's place and time, see [Record].
func (o *Output[K, V]) Emit(i int, rec Record[K, V]) {
	if o.check(i) {
		o.emits = append(o.emits, emit[K, V]{i, rec})
	}
}

// Drop counts input i as dropped for a reason, which is a short constant text.
func (o *Output[K, V]) Drop(i int, reason string) {
	if o.check(i) {
		o.drops = append(o.drops, dropped{i, reason})
	}
}

// Fail gives input i, and none other, to the error policy. What was emitted or
// dropped for it is ignored. If err is marked by codec.Retryable, the inputs
// before i are finished, and Process is called again, after a back-off, with i
// and those after it.
func (o *Output[K, V]) Fail(i int, err error) {
	if err == nil {
		err = errors.New("stream: Fail was called without an error")
	}
	if o.check(i) {
		o.fails = append(o.fails, failure{i, err})
	}
}

func (o *Output[K, V]) check(i int) bool {
	if i < 0 || i >= o.n {
		o.err = fmt.Errorf("output for input %d of %d", i, o.n)
		return false
	}
	return true
}

func (o *Output[K, V]) reset(n int) {
	clear(o.emits)
	o.n, o.emits, o.drops, o.fails, o.err = n, o.emits[:0], o.drops[:0], o.fails[:0], nil
}

// sort puts everything in the order of inputs.
func (o *Output[K, V]) sort() {
	if byEmit := func(a, b emit[K, V]) int { return a.i - b.i }; !slices.IsSortedFunc(o.emits, byEmit) {
		slices.SortStableFunc(o.emits, byEmit)
	}
	slices.SortStableFunc(o.fails, func(a, b failure) int { return a.i - b.i })
}

// Process applies a [Processor]. name is its stage in errors and dead letters.
// Run waits until every dependency is ready before it consumes anything.
func Process[K, V, K2, V2 any](s *Stream[K, V], name string, p Processor[K, V, K2, V2], deps ...Dependency) *Stream[K2, V2] {
	if s == nil || p == nil || name == "" || slices.Contains(deps, nil) {
		return &Stream[K2, V2]{plan: plan{err: errors.New("stream: Process needs a stream, a name, a processor, and no nil dependency")}}
	}
	pl := s.plan
	pl.deps = append(slices.Clip(pl.deps), deps...)
	return &Stream[K2, V2]{plan: pl, open: func(pt *partition, next handler[K2, V2]) rawHandler {
		st := &stage[K, V, K2, V2]{name: name, proc: p, pt: pt, next: next}
		return s.open(pt, st.handle)
	}}
}

// Invalid is a stream that [New] refuses with err. It is for functions that build
// on [Process] and were given arguments that they cannot use. s may be nil.
func Invalid[K, V, K2, V2 any](s *Stream[K, V], err error) *Stream[K2, V2] {
	var pl plan
	if s != nil {
		pl = s.plan
	}
	return &Stream[K2, V2]{plan: pl.with(err)}
}

// stage runs a Processor for one partition.
type stage[K, V, K2, V2 any] struct {
	name string
	proc Processor[K, V, K2, V2]
	pt   *partition
	next handler[K2, V2]
	out  Output[K2, V2]
	send batch[K2, V2]
}

func (st *stage[K, V, K2, V2]) handle(b batch[K, V]) error {
	for attempt := 0; len(b.recs) > 0; attempt++ {
		if st.pt.stopping() && !b.ins[0].began {
			return errAbandoned
		}
		st.out.reset(len(b.recs))
		err := st.call(b.recs)
		if err == nil && st.out.err != nil {
			err = st.out.err
		}
		done := 0
		if err == nil {
			done, err = st.settle(b)
			if err == nil && done == len(b.recs) {
				return nil
			}
			if done > 0 {
				attempt = 0
			}
			b.recs, b.ins = b.recs[done:], b.ins[done:]
		}
		switch {
		case errors.Is(err, errAbandoned), err != nil && st.pt.ctx.Err() != nil:
			return errAbandoned
		case !codec.IsRetryable(err):
			return err
		case !st.pt.backoff(attempt, st.name, b.ins[0], err):
			return errAbandoned
		}
	}
	return nil
}

func (st *stage[K, V, K2, V2]) call(recs []Record[K, V]) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = panicError(st.name, v)
		}
	}()
	if err := st.proc.Process(st.pt.ctx, recs, &st.out); err != nil {
		return fmt.Errorf("stream: %s: %w", st.name, err)
	}
	return nil
}

// settle does what the processor said, up to the first input that has to be
// tried again or that ends the run. It returns how many inputs are settled and
// the error of the one after them.
func (st *stage[K, V, K2, V2]) settle(b batch[K, V]) (int, error) {
	st.out.sort()
	end := len(b.recs)
	var stop error
	rejected := make(map[int]bool, len(st.out.fails))
	for _, f := range st.out.fails {
		if rejected[f.i] {
			continue
		}
		if codec.IsRetryable(f.err) {
			end, stop = f.i, f.err
			break
		}
		if err := st.pt.reject(b.ins[f.i], st.name, f.err); err != nil {
			end, stop = f.i, err
			break
		}
		rejected[f.i] = true
	}
	for _, d := range st.out.drops {
		if d.i < end && !rejected[d.i] {
			st.pt.drop(b.ins[d.i], d.reason)
		}
	}
	for i := range st.out.emits {
		e := &st.out.emits[i]
		if e.i < end && !rejected[e.i] {
			inherit(&e.rec, &b.recs[e.i])
			b.ins[e.i].retain()
			st.send.add(e.rec, b.ins[e.i])
		}
	}
	for _, in := range b.ins[:end] {
		in.release()
	}
	if err := pass(&st.send, st.next); err != nil {
		// It is about a record before the one that stop is about.
		return end, err
	}
	return end, stop
}

func panicError(stage string, v any) error {
	return &PanicError{Stage: stage, Value: fmt.Sprint(v), Stack: debug.Stack()}
}
