package stream

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/codec"
)

// decoder makes records of one partition's Kafka records.
type decoder[K, V any] struct {
	key   half[K]
	value half[V]
}

func newDecoder[K, V any](key codec.Codec[K], value codec.Codec[V]) *decoder[K, V] {
	return &decoder[K, V]{key: newHalf(key, codec.Key), value: newHalf(value, codec.Value)}
}

// decode fills r in, whatever it held before.
func (d *decoder[K, V]) decode(raw *kgo.Record, r *Record[K, V]) error {
	r.NullKey, r.NullValue = raw.Key == nil, raw.Value == nil
	r.Timestamp, r.Headers = raw.Timestamp, raw.Headers
	r.Topic, r.Partition, r.Offset = raw.Topic, raw.Partition, raw.Offset
	if err := d.key.decode(&r.Key, raw.Key, raw); err != nil {
		return err
	}
	return d.value.decode(&r.Value, raw.Value, raw)
}

// shared is the size of the blocks from which small values are cut, so that a
// record does not cost an allocation for its value. Whoever keeps a value keeps its
// block; keys, which are what is kept most, are allocated one by one.
const shared = 1 << 10

// half decodes keys or values.
type half[T any] struct {
	codec codec.Codec[T]
	part  codec.Part
	plain bool // the codec is codec.String or codec.Bytes, whose work is done here
	block []byte
}

func newHalf[T any](c codec.Codec[T], part codec.Part) half[T] {
	return half[T]{codec: c, part: part, plain: any(c) == any(codec.String()) || any(c) == any(codec.Bytes())}
}

func (h *half[T]) decode(to *T, b []byte, raw *kgo.Record) error {
	if b == nil {
		*to = *new(T)
		return nil
	}
	if h.plain {
		switch to := any(to).(type) {
		case *string:
			c := h.clone(b)
			*to = unsafe.String(unsafe.SliceData(c), len(c)) //nolint:gosec // nobody else has c, so it does not change
			return nil
		case *[]byte:
			*to = h.clone(b)
			return nil
		}
	}
	v, err := h.codec.Decode(b, codec.Meta{Topic: raw.Topic, Part: h.part, Headers: &raw.Headers})
	if err != nil {
		return namePart(h.part, err)
	}
	*to = v
	return nil
}

// clone returns a copy of b, which is the caller's. It is never nil.
func (h *half[T]) clone(b []byte) []byte {
	if h.part == codec.Key || len(b) > shared/4 {
		return append(make([]byte, 0, len(b)), b...)
	}
	n := len(h.block)
	if cap(h.block)-n < len(b) || h.block == nil {
		h.block, n = make([]byte, 0, shared), 0
	}
	h.block = append(h.block, b...)
	return h.block[n:len(h.block):len(h.block)]
}

// namePart makes sure that the error of a user's own codec says which half of
// the record it is about.
func namePart(part codec.Part, err error) error {
	if _, ok := errors.AsType[*codec.Error](err); ok {
		return err
	}
	return fmt.Errorf("%s: %w", part, err)
}
