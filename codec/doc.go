// Package codec turns keys and values into bytes and back.
//
// A [Codec] is given to a table or a stream for each half of a record. The
// codecs here are [Bytes], [String], [JSON] and the fixed-size integers
// [Int64], [Int32], [Uint64] and [Uint32], which are big-endian as those of
// Kafka's own serializers are.
//
// # Guarantees
//
//   - A decoder uses all of its input: trailing bytes are an error. White space
//     around a JSON value is part of it.
//   - No input makes a decoder panic, and what it returns shares no memory with
//     its input.
//   - An error is an [*Error]; it names the operation, the codec, the topic and
//     the half of the record, and wraps the cause.
//   - Encoding appends to the caller's buffer. Where that is large enough
//     nothing is allocated, except for JSON. After an error the buffer is as it
//     was.
//
// # Caveats
//
//   - As a key codec JSON is unsafe. A key is its encoded bytes, and one value
//     has many JSON encodings (other field order, other spacing): two producers
//     can write two keys for what a reader takes as one.
//   - JSON replaces bytes in strings that are not UTF-8, as encoding/json does;
//     [Bytes] and [String] keep all bytes.
//   - The signed integers sort by their two's complement bytes: in an ordered
//     iteration negative keys come after positive ones.
package codec
