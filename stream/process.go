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
	// or fewer, and rarely more than some thousand. It says in out what becomes
	// of each; an input that it does not mention is done. It is called for
	// several partitions at once. in is valid only until Process returns; keys,
	// values and headers may be kept.
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
	recs  []Record[K, V] // emitted
	from  []int          // the input of each
	mixed bool           // they are not in the order of inputs
	drops []dropped
	fails []failure
	err   error
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
		o.mixed = o.mixed || len(o.from) > 0 && i < o.from[len(o.from)-1]
		o.recs = append(o.recs, rec)
		o.from = append(o.from, i)
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
	clear(o.recs)
	o.n, o.recs, o.from, o.mixed, o.drops, o.fails, o.err = n, o.recs[:0], o.from[:0], false, o.drops[:0], o.fails[:0], nil
}

// sort puts everything in the order of inputs.
func (o *Output[K, V]) sort() {
	if o.mixed {
		order := make([]int, len(o.from))
		for j := range order {
			order[j] = j
		}
		slices.SortStableFunc(order, func(a, b int) int { return o.from[a] - o.from[b] })
		recs, from := make([]Record[K, V], len(order)), make([]int, len(order))
		for j, k := range order {
			recs[j], from[j] = o.recs[k], o.from[k]
		}
		o.recs, o.from = recs, from
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
	ins  []*input // of what is handed on
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
	out := &st.out
	out.sort()
	end := len(b.recs)
	var stop error
	rejected := out.fails[:0] // one of each input
	for _, f := range out.fails {
		if len(rejected) > 0 && rejected[len(rejected)-1].i == f.i {
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
		rejected = append(rejected, f)
	}
	isRejected := func(i int) bool {
		return slices.ContainsFunc(rejected, func(f failure) bool { return f.i == i })
	}
	for _, d := range out.drops {
		if d.i < end && !isRejected(d.i) {
			st.pt.drop(b.ins[d.i], d.reason)
		}
	}
	st.handOver(b, end, rejected)
	err := st.passOn()
	if err != nil {
		// It is about a record before the one that stop is about.
		return end, err
	}
	return end, stop
}

// handOver moves what was emitted for the inputs below end, and not rejected, to
// the front of out.recs, with its inputs in st.ins. An input's reference goes to
// its first record; it is given up if there is none.
func (st *stage[K, V, K2, V2]) handOver(b batch[K, V], end int, rejected []failure) {
	out := &st.out
	st.ins = st.ins[:0]
	next := 0 // the first input that still has its reference
	for j, i := range out.from {
		if i >= end {
			break
		}
		for len(rejected) > 0 && rejected[0].i < i {
			rejected = rejected[1:]
		}
		if len(rejected) > 0 && rejected[0].i == i {
			continue
		}
		in := b.ins[i]
		if i < next {
			in.retain()
		} else {
			for ; next < i; next++ {
				b.ins[next].release()
			}
			next++
		}
		n := len(st.ins)
		if n != j {
			out.recs[n] = out.recs[j]
		}
		inherit(&out.recs[n], &b.recs[i])
		st.ins = append(st.ins, in)
	}
	for ; next < end; next++ {
		b.ins[next].release()
	}
}

// passOn hands on what handOver has left, and keeps nothing of it.
func (st *stage[K, V, K2, V2]) passOn() error {
	n := len(st.ins)
	if n == 0 {
		return nil
	}
	err := st.next(batch[K2, V2]{recs: st.out.recs[:n], ins: st.ins})
	clear(st.out.recs)
	clear(st.ins)
	st.out.recs, st.ins = st.out.recs[:0], st.ins[:0]
	return err
}

func panicError(stage string, v any) error {
	return &PanicError{Stage: stage, Value: fmt.Sprint(v), Stack: debug.Stack()}
}
