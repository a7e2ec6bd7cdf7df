package codec

import "encoding/json"

// JSON returns a codec that uses encoding/json with its defaults: unknown
// fields are ignored, bytes after the value are an error. JSON null decodes to
// T's zero value; it is a value, not a deletion.
//
// It is unsafe as a key codec, see the package's caveats.
func JSON[T any]() Codec[T] { return jsonCodec[T]{} }

type jsonCodec[T any] struct{}

func (jsonCodec[T]) Encode(dst []byte, v T, m Meta) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return dst, errOf("encode", "json", m, err)
	}
	return append(dst, b...), nil
}

func (jsonCodec[T]) Decode(b []byte, m Meta) (T, error) {
	var v T
	if err := json.Unmarshal(b, &v); err != nil {
		var zero T
		return zero, errOf("decode", "json", m, err)
	}
	return v, nil
}
