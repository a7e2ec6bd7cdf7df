package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/codec"
)

// Sink is the end of a chain of operators: what [Run] and [New] take. It is
// made by [To] or [ForEach].
type Sink struct {
	plan plan
	open func(p *partition) rawHandler
}

// To writes the stream's records to a topic, encoded with the two codecs.
// Null keys and values are written as null. Timestamp and headers are kept.
// Records with one key go to one partition, chosen as Kafka's own clients
// choose it, and keep the order they have within their input partition.
//
// Producing is asynchronous, idempotent, and waits for all in-sync replicas.
// A record that cannot be encoded goes to the policy set by [OnBadRecord], at
// stage "encode". One that Kafka refuses for good, for example because it is
// too large, ends Run with a [*ProduceError].
func To[K, V any](s *Stream[K, V], topic string, key codec.Codec[K], value codec.Codec[V]) Sink {
	if s == nil {
		return Sink{plan: plan{err: errors.New("stream: To needs a stream")}}
	}
	pl := s.plan
	if topic == "" {
		pl = pl.with(errors.New("stream: To needs a topic"))
	}
	if key == nil || value == nil {
		pl = pl.with(fmt.Errorf("stream: To(%q) needs a key codec and a value codec", topic))
	}
	pl.outputs = append(slices.Clip(pl.outputs), topic)
	return Sink{plan: pl, open: func(p *partition) rawHandler {
		enc := encoder[K, V]{topic: topic, key: key, value: value}
		var out outputs
		return s.open(p, func(b batch[K, V]) error {
			return p.each("encode", b.ins, func(i int) error {
				o := out.next()
				if err := enc.encode(&o.rec, &b.recs[i]); err != nil {
					return err
				}
				out.take()
				return p.produce(b.ins[i], o)
			}, nil)
		})
	}}
}

// arenaSize is the size of the blocks that encoded records share.
const arenaSize = 64 << 10

// encoder makes Kafka records. Small keys and values are cut from a shared
// block, so that a record does not cost an allocation for each.
type encoder[K, V any] struct {
	topic string
	key   codec.Codec[K]
	value codec.Codec[V]
	arena []byte
}

// encode fills out, which is empty.
func (e *encoder[K, V]) encode(out *kgo.Record, r *Record[K, V]) (err error) {
	// A codec may append headers; the clip keeps it off the memory that
	// records made from the same input share.
	out.Topic, out.Timestamp, out.Headers = e.topic, r.Timestamp, slices.Clip(r.Headers)
	if !r.NullKey {
		if out.Key, err = encodePart(&e.arena, e.key, r.Key, codec.Meta{Topic: e.topic, Part: codec.Key, Headers: &out.Headers}); err != nil {
			return err
		}
	}
	if !r.NullValue {
		if out.Value, err = encodePart(&e.arena, e.value, r.Value, codec.Meta{Topic: e.topic, Part: codec.Value, Headers: &out.Headers}); err != nil {
			return err
		}
	}
	return nil
}

// encodePart never returns nil without an error: to Kafka nil is null, and an
// empty key or value is not.
func encodePart[T any](arena *[]byte, c codec.Codec[T], v T, m codec.Meta) ([]byte, error) {
	if cap(*arena)-len(*arena) < arenaSize/8 {
		*arena = make([]byte, 0, arenaSize)
	}
	start := len(*arena)
	b, err := c.Encode(*arena, v, m)
	if err != nil {
		return nil, namePart(m.Part, err)
	}
	if len(b) < start {
		return nil, fmt.Errorf("stream: the %s codec of topic %s returned less than it was given; Encode has to append", m.Part, m.Topic)
	}
	*arena = b
	return b[start:len(b):len(b)], nil
}

// ForEach calls fn for every record and treats it as done when fn returns nil.
// fn is called in order within a partition, and for several partitions at
// once. Its context stays alive through a stop, so that what has begun can
// finish; it ends when [ShutdownTimeout] has passed.
//
// An error or a panic goes to the policy set by [OnBadRecord], at stage
// "foreach". For work that fails for a while, such as a server that is away,
// return an error marked by [codec.Retryable] rather than wait in fn: the
// record is tried again, with back-off, and a stop does not have to wait.
func ForEach[K, V any](s *Stream[K, V], fn func(context.Context, Record[K, V]) error) Sink {
	if s == nil || fn == nil {
		return Sink{plan: plan{err: errors.New("stream: ForEach needs a stream and a function")}}
	}
	return Sink{plan: s.plan, open: func(p *partition) rawHandler {
		return s.open(p, func(b batch[K, V]) error {
			return p.each("foreach", b.ins, func(i int) error {
				b.ins[i].began = true
				if err := fn(p.ctx, b.recs[i]); err != nil {
					return err
				}
				b.ins[i].release()
				return nil
			}, nil)
		})
	}}
}
