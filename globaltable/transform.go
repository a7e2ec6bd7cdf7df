package globaltable

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/codec"
)

// verdict is what a transform says of a record.
type verdict uint8

const (
	undone verdict = iota // the function did not return
	keep
	filtered
	rejected
)

// shaper makes the value to keep of a record that has a key and a value. why is
// set for rejected. An error means that the record has to be tried again.
type shaper func(r *kgo.Record) (value []byte, v verdict, why, again error)

// shaperOf returns the shaper of a Transform option, nil if there is none.
func shaperOf[K, V any](topic string, key codec.Codec[K], value codec.Codec[V], o *transformOpt) (shaper, error) {
	if !o.set {
		return nil, nil
	}
	fn, ok := o.fn.(func(Entry[K, V]) (V, bool, error))
	if !ok {
		return nil, fmt.Errorf("globaltable: the table needs a Transform of type %T, not %T", fn, o.fn)
	}
	if fn == nil {
		return nil, fmt.Errorf("globaltable: Transform needs a function")
	}
	run := func(r *kgo.Record) (out []byte, keep bool, err error) {
		defer func() {
			if v := recover(); v != nil {
				err = newPanicError("transform", v)
			}
		}()
		entry := Entry[K, V]{Found: true, Timestamp: r.Timestamp, Partition: r.Partition, Offset: r.Offset, Headers: r.Headers}
		if entry.Key, err = key.Decode(r.Key, codec.Meta{Topic: topic, Part: codec.Key, Headers: &r.Headers}); err != nil {
			return nil, false, err
		}
		if entry.Value, err = value.Decode(r.Value, codec.Meta{Topic: topic, Part: codec.Value, Headers: &r.Headers}); err != nil {
			return nil, false, err
		}
		v, keep, err := fn(entry)
		if err != nil || !keep {
			return nil, false, err
		}
		out, err = value.Encode([]byte{}, v, codec.Meta{Topic: topic, Part: codec.Value})
		return out, true, err
	}
	return func(r *kgo.Record) ([]byte, verdict, error, error) {
		out, kept, err := run(r)
		switch {
		case codec.IsRetryable(err):
			return nil, rejected, nil, err
		case err != nil:
			return nil, rejected, err, nil
		case !kept:
			return nil, filtered, nil, nil
		}
		return out, keep, nil, nil
	}, nil
}
