package stream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/globaltable/enrich/codec"
)

// said is what a processor says of one input.
type said struct {
	emits int
	drop  bool
	fail  error
}

// saying is a processor that says it, in any order of inputs.
func saying(rng *rand.Rand, all []said) processFunc {
	return func(_ context.Context, in []Record[string, string], out *Output[string, string]) error {
		for _, i := range rng.Perm(len(in)) {
			s := all[in[i].Offset]
			for k := range s.emits {
				out.Emit(i, Record[string, string]{Value: fmt.Sprint(in[i].Offset, ".", k)})
			}
			if s.drop {
				out.Drop(i, "said")
			}
			if s.fail != nil {
				out.Fail(i, s.fail)
			}
		}
		return nil
	}
}

// What a stage hands on, and what becomes of every input's references, against the
// obvious definition, for processors that say anything in any order.
func TestStageAgainstModel(t *testing.T) {
	bad, later := errors.New("bad"), codec.Retryable(errors.New("later"))
	rng := rand.New(rand.NewPCG(5, 6))
	for range 300 {
		p := bare(t, OnBadRecord(Skip))
		ins := p.inputs(1 + rng.IntN(30))
		all := make([]said, len(ins))
		waits := -1 // the first input that is to be tried again
		var want []string
		drops, skips := int64(0), int64(0)
		refs := make([]int32, len(ins))
		for i := range all {
			s := &all[i]
			s.emits, s.drop = rng.IntN(4), rng.IntN(4) == 0
			switch rng.IntN(25) {
			case 0, 1:
				s.fail = bad
			case 2:
				s.fail = later
			}
			switch {
			case waits >= 0: // untouched
				refs[i] = 1
			case errors.Is(s.fail, later):
				waits = i
				refs[i] = 1
			case s.fail != nil:
				skips++
			default:
				for k := range s.emits {
					want = append(want, fmt.Sprint(i, ".", k))
				}
				refs[i] = int32(s.emits)
				if s.drop {
					drops++
				}
			}
		}
		var got []string
		st := &stage[string, string, string, string]{name: "stage", proc: saying(rng, all), pt: p, next: func(b batch[string, string]) error {
			require.Len(t, b.ins, len(b.recs))
			for j, r := range b.recs {
				got = append(got, r.Value)
				require.Equal(t, b.ins[j].rec.Offset, r.Offset, "what is handed on stands beside its input")
				require.Equal(t, "topic", r.Topic)
			}
			return nil
		}}
		var b batch[string, string]
		for _, in := range ins {
			b.add(Record[string, string]{Topic: "topic", Offset: in.rec.Offset}, in)
		}
		st.out.reset(len(ins))
		require.NoError(t, st.call(b.recs))
		done, err := st.settle(b)
		if waits < 0 {
			require.NoError(t, err)
			require.Equal(t, len(ins), done)
		} else {
			require.ErrorIs(t, err, later)
			require.Equal(t, waits, done)
		}
		require.Equal(t, want, got)
		require.Equal(t, skips, p.w.count.skipped.Load())
		require.Equal(t, drops, dropsOf(&p.w.count))
		for i, in := range ins {
			require.Equal(t, refs[i], in.refs, "input %d of %+v", i, all)
		}
		require.False(t, slices.ContainsFunc(st.ins, func(in *input) bool { return in != nil }), "nothing is kept")
	}
}

func dropsOf(c *counters) (n int64) {
	c.dropped.Range(func(_, count any) bool {
		n += count.(*atomic.Int64).Load()
		return true
	})
	return n
}
