package stream

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

// sent is an output that is on its way.
func sent(t *testing.T, p *partition) (*output, *input) {
	t.Helper()
	in := p.inputs(1)[0]
	o := &output{in: in, from: p, acked: &p.w.count.outputs}
	o.rec = kgo.Record{Topic: "out", Value: []byte("v")}
	p.unacked.Add(1)
	return o, in
}

func TestAcknowledgedOutputsFinishTheirInput(t *testing.T) {
	p := bare(t)
	o, in := sent(t, p)
	acknowledged(&o.rec, nil)
	require.True(t, in.done())
	require.EqualValues(t, 1, p.w.count.outputs.Load())
	require.Zero(t, p.unacked.Load())
}

func TestOutputsThatFailHoldTheirInput(t *testing.T) {
	for name, tc := range map[string]struct {
		err   error
		fails bool
	}{
		"refused":           {errors.New("too large"), true},
		"the client closed": {kgo.ErrClientClosed, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := bare(t)
			o, in := sent(t, p)
			acknowledged(&o.rec, tc.err)
			require.False(t, in.done(), "it is not committed")
			require.Zero(t, p.w.count.outputs.Load())
			require.Zero(t, p.unacked.Load(), "and nobody waits for it")
			pe, ok := errors.AsType[*ProduceError](p.w.err)
			require.Equal(t, tc.fails, ok)
			if ok {
				require.Equal(t, &ProduceError{Topic: "out", FromTopic: "topic", FromOffset: 0, Err: tc.err}, pe)
			}
		})
	}
}

func TestAcknowledgementsWakeWhoWaits(t *testing.T) {
	p := bare(t)
	o, _ := sent(t, p)
	waited := make(chan bool)
	go func() { waited <- p.wait(t.Context(), func() bool { return p.unacked.Load() == 0 }) }()
	require.Eventually(t, p.waiting.Load, patience, 1)
	acknowledged(&o.rec, nil)
	require.True(t, receive(t, waited))
}

func TestOutputsAreHandedOutOnce(t *testing.T) {
	var out outputs
	first := out.next()
	first.rec.Value = []byte("could not be encoded")
	require.Same(t, first, out.next())
	require.Equal(t, output{}, *first, "nothing is left of the attempt")
	seen := make(map[*output]bool)
	for range 3 * outputsAtOnce {
		o := out.next()
		out.take()
		require.False(t, seen[o])
		seen[o] = true
	}
	perRun := testing.AllocsPerRun(10, func() {
		for range outputsAtOnce {
			out.next()
			out.take()
		}
	})
	require.LessOrEqual(t, perRun, 1.0)
}
