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
		out := new(batch[K, V])
		flush := func() error { return pass(out, next) }
		return func(ins []*input) error {
			return p.each("decode", ins, func(i int) error {
				r, err := decode(ins[i], key, value)
				if err == nil {
					out.add(r, ins[i])
				}
				return err
			}, flush)
		}
	}
	return s
}

func decode[K, V any](in *input, key codec.Codec[K], value codec.Codec[V]) (Record[K, V], error) {
	raw := in.rec
	r := Record[K, V]{
		NullKey: raw.Key == nil, NullValue: raw.Value == nil,
		Timestamp: raw.Timestamp, Headers: raw.Headers,
		Topic: raw.Topic, Partition: raw.Partition, Offset: raw.Offset,
	}
	var err error
	if !r.NullKey {
		m := codec.Meta{Topic: raw.Topic, Part: codec.Key, Headers: &raw.Headers}
		if r.Key, err = key.Decode(raw.Key, m); err != nil {
			return r, namePart(codec.Key, err)
		}
	}
	if !r.NullValue {
		m := codec.Meta{Topic: raw.Topic, Part: codec.Value, Headers: &raw.Headers}
		if r.Value, err = value.Decode(raw.Value, m); err != nil {
			return r, namePart(codec.Value, err)
		}
	}
	return r, nil
}

// namePart makes sure that the error of a user's own codec says which half of
// the record it is about.
func namePart(part codec.Part, err error) error {
	if _, ok := errors.AsType[*codec.Error](err); ok {
		return err
	}
	return fmt.Errorf("%s: %w", part, err)
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
