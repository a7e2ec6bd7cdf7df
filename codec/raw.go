package codec

// Bytes returns a codec that keeps bytes as they are. What it decodes is a
// copy, and is never nil: no bytes are an empty slice.
func Bytes() Codec[[]byte] { return bytesCodec{} }

type bytesCodec struct{}

func (bytesCodec) Encode(dst []byte, v []byte, _ Meta) ([]byte, error) { return append(dst, v...), nil }

func (bytesCodec) Decode(b []byte, _ Meta) ([]byte, error) {
	return append(make([]byte, 0, len(b)), b...), nil
}

// String returns a codec that keeps a string's bytes as they are. It does not
// check that they are UTF-8: a key's bytes must survive, whatever they are.
func String() Codec[string] { return stringCodec{} }

type stringCodec struct{}

func (stringCodec) Encode(dst []byte, v string, _ Meta) ([]byte, error) {
	return append(dst, v...), nil
}

func (stringCodec) Decode(b []byte, _ Meta) (string, error) { return string(b), nil }
