package stream

import (
	"slices"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"
)

// input is one record read from a partition. It is done when nothing refers to
// it any more: each record made from it that is still on its way through the
// operators, and each output not yet acknowledged, holds one reference. A
// record that failed keeps its reference for ever, which is what holds commits
// back.
type input struct {
	rec  *kgo.Record
	refs int32 // atomic

	// began is set when an output was produced or a user's sink was called.
	// From then on a stop lets the input finish, so that a clean stop leaves
	// no input half done. Only the partition's goroutine uses it.
	began bool
	// rejected is set when the input was given to the error policy: several
	// records made from one input make one dead letter.
	rejected bool
}

// release gives one reference up.
func (in *input) release() { atomic.AddInt32(&in.refs, -1) }

// retain takes one more reference.
func (in *input) retain() { atomic.AddInt32(&in.refs, 1) }

// done reports whether nothing refers to the input any more.
func (in *input) done() bool { return atomic.LoadInt32(&in.refs) == 0 }

// keepSegments bounds the memory kept for inputs to come.
const keepSegments = 16

// tracker knows which offset of a partition may be committed: the one after
// the last input before the first that is not done. Inputs are kept in offset
// order; finishing them is lock-free and in any order, everything else needs
// the partition's lock.
type tracker struct {
	segments [][]input
	head     int       // inputs of segments[0] that the frontier has passed
	size     int       // inputs at or after the frontier
	free     [][]input // memory of segments that are done
	visible  []*input  // what add returned

	next     kgo.EpochOffset // after the last input added or skipped; -1 before any
	frontier kgo.EpochOffset // what may be committed; -1 before any
}

func newTracker() tracker {
	return tracker{next: kgo.EpochOffset{Epoch: -1, Offset: -1}, frontier: kgo.EpochOffset{Epoch: -1, Offset: -1}}
}

// add takes records in offset order and returns those that operators have to
// see, each with one reference. Control records are done at once: they only
// move the position. What is returned is valid until the next call.
func (t *tracker) add(recs []*kgo.Record) []*input {
	if len(recs) == 0 {
		return nil
	}
	segment := t.segment(len(recs))
	t.visible = t.visible[:0]
	for i, r := range recs {
		in := &segment[i]
		*in = input{rec: r}
		if !r.Attrs.IsControl() {
			in.refs = 1
			t.visible = append(t.visible, in)
		}
	}
	t.segments = append(t.segments, segment)
	t.size += len(segment)
	t.next = after(recs[len(recs)-1])
	return t.visible
}

// segment returns memory for n inputs: that of inputs which are done, if there is
// some. Whoever gives the last reference up does not touch the input again.
func (t *tracker) segment(n int) []input {
	if last := len(t.free) - 1; last >= 0 && cap(t.free[last]) >= n {
		s := t.free[last][:n]
		t.free = t.free[:last]
		return s
	}
	return make([]input, n, max(n, min(chunk, 2*n)))
}

// advance moves the frontier over inputs that are done and returns it. The
// offset is -1 while there is nothing to commit.
func (t *tracker) advance() kgo.EpochOffset {
	for len(t.segments) > 0 {
		segment := t.segments[0]
		from := t.head
		for t.head < len(segment) && segment[t.head].done() {
			t.head++
		}
		if t.head > from {
			t.frontier = after(segment[t.head-1].rec)
			t.size -= t.head - from
			for i := from; i < t.head; i++ {
				segment[i].rec.Recycle()
				segment[i].rec = nil
			}
		}
		if t.head < len(segment) {
			return t.frontier
		}
		t.segments = slices.Delete(t.segments, 0, 1)
		t.head = 0
		if len(t.free) < keepSegments {
			t.free = append(t.free, segment)
		}
	}
	// Everything is done, so what was skipped at the end counts too.
	t.frontier = t.next
	return t.frontier
}

// unfinished counts inputs that are not done.
func (t *tracker) unfinished() int {
	n := 0
	for i, segment := range t.segments {
		from := 0
		if i == 0 {
			from = t.head
		}
		for j := from; j < len(segment); j++ {
			if !segment[j].done() {
				n++
			}
		}
	}
	return n
}

// skip moves the position from one offset to a later one with nothing visible
// between them. It does nothing, and reports false, if the position is
// elsewhere.
func (t *tracker) skip(from, to int64) bool {
	if t.next.Offset != from || to <= from {
		return false
	}
	t.next = kgo.EpochOffset{Epoch: -1, Offset: to}
	return true
}

func after(r *kgo.Record) kgo.EpochOffset {
	return kgo.EpochOffset{Epoch: r.LeaderEpoch, Offset: r.Offset + 1}
}
