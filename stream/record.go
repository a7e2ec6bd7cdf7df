package stream

import (
	"time"

	"github.com/globaltable/enrich/codec"
)

// Header is a Kafka record header.
type Header = codec.Header

// Record is one record of a stream. Operators receive records decoded and
// hand on records of the same or another type.
type Record[K, V any] struct {
	// Key and Value are the decoded key and value; the zero value of their
	// type when NullKey or NullValue is set.
	Key   K
	Value V

	// NullKey and NullValue say that the record has no key, or no value (a
	// tombstone). A null is never given to a codec, and is written as null.
	NullKey, NullValue bool

	// Timestamp is the record's time, in milliseconds, as Kafka keeps it. A
	// record returned by a user function with a zero Timestamp gets that of
	// the record it was made from.
	Timestamp time.Time

	// Headers are the record's headers. They are shared with other records
	// made from the same input: append to them, but do not change them in
	// place.
	Headers []Header

	// Topic, Partition and Offset name the input record that this record
	// comes from, through all operators. What a user function puts here is
	// replaced.
	Topic     string
	Partition int32
	Offset    int64
}

// WithValue returns r with another value, which may have another type. The
// new value is not null.
func WithValue[K, V, V2 any](r Record[K, V], value V2) Record[K, V2] {
	return Record[K, V2]{
		Key: r.Key, NullKey: r.NullKey, Value: value,
		Timestamp: r.Timestamp, Headers: r.Headers,
		Topic: r.Topic, Partition: r.Partition, Offset: r.Offset,
	}
}

// WithKey returns r with another key, which may have another type. The new
// key is not null.
func WithKey[K, V, K2 any](r Record[K, V], key K2) Record[K2, V] {
	return Record[K2, V]{
		Key: key, Value: r.Value, NullValue: r.NullValue,
		Timestamp: r.Timestamp, Headers: r.Headers,
		Topic: r.Topic, Partition: r.Partition, Offset: r.Offset,
	}
}

// inherit gives out what it takes over from the record it was made from.
func inherit[K, V, K2, V2 any](out *Record[K2, V2], from *Record[K, V]) {
	out.Topic, out.Partition, out.Offset = from.Topic, from.Partition, from.Offset
	if out.Timestamp.IsZero() {
		out.Timestamp = from.Timestamp
	}
}

// batch is what flows between operators: records, and beside each the input
// it counts towards. Whoever holds a batch holds one reference on an input
// for every record in it.
type batch[K, V any] struct {
	recs []Record[K, V]
	ins  []*input
}

func (b *batch[K, V]) add(r Record[K, V], in *input) {
	b.recs = append(b.recs, r)
	b.ins = append(b.ins, in)
}

// next adds a record for an input and returns it, to be filled in. It holds
// whatever was there before.
func (b *batch[K, V]) next(in *input) *Record[K, V] {
	n := len(b.recs)
	if n < cap(b.recs) {
		b.recs = b.recs[:n+1]
	} else {
		b.recs = append(b.recs, Record[K, V]{})
	}
	b.ins = append(b.ins, in)
	return &b.recs[n]
}

// undo removes the record that was added last.
func (b *batch[K, V]) undo() {
	n := len(b.recs) - 1
	b.recs[n] = Record[K, V]{}
	b.recs, b.ins = b.recs[:n], b.ins[:n]
}

// reset empties b and keeps its memory, but nothing that its records refer to.
func (b *batch[K, V]) reset() {
	clear(b.recs)
	clear(b.ins)
	b.recs, b.ins = b.recs[:0], b.ins[:0]
}

// handler takes a batch and its references over.
type handler[K, V any] func(b batch[K, V]) error

// rawHandler takes the inputs of one partition, in order.
type rawHandler func(ins []*input) error
