package stream

import (
	"errors"
	"fmt"

	"github.com/globaltable/enrich/codec"
)

// Stream is a description of records of one type: a source topic and the
// operators applied to it. It does nothing until a [Sink] made from it runs.
// A Stream may be shared and is never changed.
type Stream[K, V any] struct {
	plan plan
	// open builds the operators for one partition. Each partition has its
	// own, so an operator may keep scratch memory without a lock.
	open func(p *partition, next handler[K, V]) rawHandler
}

// plan is what the typed chain needs the runtime to know.
type plan struct {
	sources []string
	outputs []string
	deps    []Dependency
	err     error // what was wrong in building the chain; New returns it
}

// with returns a copy of pl with an error added, if there is one.
func (pl plan) with(err error) plan {
	pl.err = errors.Join(pl.err, err)
	return pl
}

// From is the stream of all records of a topic, decoded with the two codecs.
// Null keys and values are not decoded: the record says so instead. A record
// that cannot be decoded goes to the policy set by [OnBadRecord], at stage
// "decode".
func From[K, V any](topic string, key codec.Codec[K], value codec.Codec[V]) *Stream[K, V] {
	s := &Stream[K, V]{plan: plan{sources: []string{topic}}}
	if topic == "" {
		s.plan.err = errors.New("stream: From needs a topic")
	}
	if key == nil || value == nil {
		s.plan = s.plan.with(fmt.Errorf("stream: From(%q) needs a key codec and a value codec", topic))
	}
	s.open = func(p *partition, next handler[K, V]) rawHandler {
		d := newDecoder(key, value)
		out := new(batch[K, V])
		flush := func() error { return pass(out, next) }
		return func(ins []*input) error {
			return p.each("decode", ins, func(i int) error {
				decoded := false // the codec may panic too
				defer func() {
					if !decoded {
						out.undo()
					}
				}()
				err := d.decode(ins[i].rec, out.next(ins[i]))
				decoded = err == nil
				return err
			}, flush)
		}
	}
	return s
}

// pass hands out's records on and empties it.
func pass[K, V any](out *batch[K, V], next handler[K, V]) error {
	if len(out.recs) == 0 {
		return nil
	}
	err := next(*out)
	out.reset()
	return err
}
