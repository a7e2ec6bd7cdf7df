package codec

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Header is a Kafka record header. It is the same type as kgo's, so that
// headers pass between a record and a codec without being copied.
type Header = kgo.RecordHeader

// Part says which half of a record a codec works on.
type Part uint8

const (
	// Key is a record's key.
	Key Part = iota
	// Value is a record's value.
	Value
)

// String returns "key" or "value".
func (p Part) String() string {
	if p == Key {
		return "key"
	}
	return "value"
}

// Meta tells a codec where the bytes come from or go to. Codecs that look a
// schema up by subject need it; the ones in this package only use it to name
// the place in their errors.
type Meta struct {
	// Topic is the record's topic.
	Topic string
	// Part is the half of the record that is encoded or decoded.
	Part Part
	// Headers are the record's headers. When decoding they are nil if the
	// caller did not keep them (a table keeps them only when asked to). When
	// encoding, a codec may append to the slice they point to; nil means
	// that the place written to has no headers. The slice is the caller's:
	// do not keep it.
	Headers *[]Header
}

// Codec turns values of one type into bytes and back.
//
// A codec must be safe for use by several goroutines at once. Neither method
// sees a null key or a null value: nulls are the caller's business.
type Codec[T any] interface {
	// Encode appends v's encoding to dst and returns the longer slice, like
	// the append built-in: it is nil for an empty encoding appended to a nil
	// dst, which to Kafka would be a null. After an error the returned slice
	// is dst, unchanged.
	Encode(dst []byte, v T, m Meta) ([]byte, error)

	// Decode returns the value that b encodes. It must use all of b: bytes
	// left over are an error. It may not change b, and the value may not
	// refer to b's memory after Decode returned, unless the codec documents
	// that it does.
	Decode(b []byte, m Meta) (T, error)
}

// An Error says what could not be encoded or decoded, and why.
type Error struct {
	// Op is "encode" or "decode".
	Op string
	// Codec is the codec's name, for example "json" or "int64".
	Codec string
	// Topic and Part are those of the Meta that the codec was given.
	Topic string
	Part  Part
	// Err is what was wrong.
	Err error
}

// Error implements the error interface.
func (e *Error) Error() string {
	where := e.Part.String()
	if e.Topic != "" {
		where += " of topic " + e.Topic
	}
	return fmt.Sprintf("codec: %s %s as %s: %v", e.Op, where, e.Codec, e.Err)
}

// Unwrap returns what was wrong.
func (e *Error) Unwrap() error { return e.Err }

// errOf wraps err, which is not nil, with what the codec was doing.
func errOf(op, name string, m Meta, err error) error {
	return &Error{Op: op, Codec: name, Topic: m.Topic, Part: m.Part, Err: err}
}

type retryableError struct{ err error }

func (e *retryableError) Error() string { return e.err.Error() }
func (e *retryableError) Unwrap() error { return e.err }

// Retryable marks err as one that may go away by itself, such as a schema
// registry that does not answer. A caller waits and tries the same record
// again; it never treats the record as bad. Retryable(nil) is nil.
func Retryable(err error) error {
	if err == nil {
		return nil
	}
	return &retryableError{err}
}

// IsRetryable reports whether err, or an error it wraps, was marked by
// [Retryable].
func IsRetryable(err error) bool {
	var r *retryableError
	return errors.As(err, &r)
}
