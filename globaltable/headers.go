package globaltable

import (
	"encoding/binary"
	"errors"
	"slices"
	"unsafe"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/internal/store"
)

// Headers keeps the headers of records beside their rows: codecs are given them
// when a row is decoded, and [Entry] has them. By default they are not kept, and
// take no space. A store written with one setting is rebuilt for the other.
func Headers() Opt { return opt(func(c *config) { c.headers = true }) }

// appendHeaders appends the stored form of headers: their number, then key and
// value of each with its length. That of a value is one more, and 0 for a null.
func appendHeaders(dst []byte, hs []codec.Header) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(hs)))
	for _, h := range hs {
		dst = append(binary.AppendUvarint(dst, uint64(len(h.Key))), h.Key...)
		if h.Value == nil {
			dst = append(dst, 0)
			continue
		}
		dst = append(binary.AppendUvarint(dst, uint64(len(h.Value))+1), h.Value...)
	}
	return dst
}

var errHeaders = errors.New("the stored headers of the row cannot be read")

// headersOf returns the headers of a row, nil if they were not kept.
func headersOf(row *store.Row) (*[]codec.Header, error) {
	if row.Headers == nil {
		return nil, nil
	}
	hs, err := parseHeaders(row.Headers)
	if err != nil {
		return nil, err
	}
	return &hs, nil
}

// parseHeaders reads what appendHeaders wrote, and keeps nothing of b.
func parseHeaders(b []byte) ([]codec.Header, error) {
	n, b, ok := cutUvarint(b)
	if !ok || n > uint64(len(b)/2) { // each takes two bytes at least
		return nil, errHeaders
	}
	hs := make([]codec.Header, 0, n)
	for range n {
		var key, value []byte
		var size uint64
		if size, b, ok = cutUvarint(b); !ok || size > uint64(len(b)) {
			return nil, errHeaders
		}
		key, b = b[:size], b[size:]
		if size, b, ok = cutUvarint(b); !ok || size > uint64(len(b))+1 {
			return nil, errHeaders
		}
		if size > 0 {
			value, b = append([]byte{}, b[:size-1]...), b[size-1:]
		}
		hs = append(hs, codec.Header{Key: string(key), Value: value})
	}
	if len(b) > 0 {
		return nil, errHeaders
	}
	return slices.Clip(hs), nil
}

func cutUvarint(b []byte) (n uint64, rest []byte, ok bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 {
		return 0, nil, false
	}
	return n, b[size:], true
}

// headersWeight is about what kept headers take in memory.
func headersWeight(headers *[]codec.Header) (n int) {
	if headers != nil {
		for _, h := range *headers {
			n += int(unsafe.Sizeof(h)) + len(h.Key) + len(h.Value)
		}
	}
	return n
}
