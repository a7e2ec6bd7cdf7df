package codec

import (
	"encoding/binary"
	"fmt"
)

// Int64 returns a codec for 8 bytes, big-endian two's complement (as Kafka's
// LongSerializer).
func Int64() Codec[int64] {
	return fixed[int64]{"int64", 8,
		func(b []byte, v int64) []byte { return binary.BigEndian.AppendUint64(b, uint64(v)) },
		func(b []byte) int64 { return int64(binary.BigEndian.Uint64(b)) }}
}

// Int32 returns a codec for 4 bytes, big-endian two's complement (as Kafka's
// IntegerSerializer).
func Int32() Codec[int32] {
	return fixed[int32]{"int32", 4,
		func(b []byte, v int32) []byte { return binary.BigEndian.AppendUint32(b, uint32(v)) },
		func(b []byte) int32 { return int32(binary.BigEndian.Uint32(b)) }}
}

// Uint64 returns a codec for 8 bytes, big-endian. Its keys sort by number.
func Uint64() Codec[uint64] {
	return fixed[uint64]{"uint64", 8, binary.BigEndian.AppendUint64, binary.BigEndian.Uint64}
}

// Uint32 returns a codec for 4 bytes, big-endian. Its keys sort by number.
func Uint32() Codec[uint32] {
	return fixed[uint32]{"uint32", 4, binary.BigEndian.AppendUint32, binary.BigEndian.Uint32}
}

type fixed[T any] struct {
	name string
	size int
	put  func([]byte, T) []byte
	get  func([]byte) T
}

func (c fixed[T]) Encode(dst []byte, v T, _ Meta) ([]byte, error) { return c.put(dst, v), nil }

func (c fixed[T]) Decode(b []byte, m Meta) (T, error) {
	if len(b) != c.size {
		var zero T
		return zero, errOf("decode", c.name, m, fmt.Errorf("want exactly %d bytes, have %d", c.size, len(b)))
	}
	return c.get(b), nil
}
