package store

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// rowVersion stands in the upper four bits of a row's first byte, flags in the
// lower four. No flag is defined yet besides flagHeaders.
const (
	rowVersion  byte = 0x10
	versionMask byte = 0xf0
	flagHeaders byte = 0x01
	knownFlags       = flagHeaders
)

// A Row is what is kept for one key.
type Row struct {
	// Timestamp is the record's timestamp in milliseconds since the epoch.
	Timestamp int64
	// Partition and Offset are where the record stood.
	Partition int32
	Offset    int64
	// Headers are the record's headers in the caller's encoding; nil when
	// headers are not kept.
	Headers []byte
	// Value is the row's value, never null.
	Value []byte
}

// appendRow appends the row's stored form: a version-and-flags byte, the
// timestamp (zigzag varint), partition and offset (varints), the headers with
// their length if there are any, then the value to the end.
func appendRow(dst []byte, r *Row) []byte {
	first := rowVersion
	if r.Headers != nil {
		first |= flagHeaders
	}
	dst = append(dst, first)
	dst = binary.AppendVarint(dst, r.Timestamp)
	dst = binary.AppendUvarint(dst, uint64(uint32(r.Partition)))
	dst = binary.AppendUvarint(dst, uint64(r.Offset))
	if r.Headers != nil {
		dst = binary.AppendUvarint(dst, uint64(len(r.Headers)))
		dst = append(dst, r.Headers...)
	}
	return append(dst, r.Value...)
}

var errShortRow = errors.New("row ends early")

// parseRow reads a row's stored form. Headers and Value alias b.
func parseRow(b []byte) (r Row, err error) {
	if len(b) == 0 {
		return r, corrupt(errShortRow)
	}
	first := b[0]
	if first&versionMask != rowVersion || first&^(versionMask|knownFlags) != 0 {
		return r, corrupt(fmt.Errorf("row has version and flags %#02x", first))
	}
	b = b[1:]
	ts, n := binary.Varint(b)
	if n <= 0 {
		return r, corrupt(errShortRow)
	}
	b = b[n:]
	part, n := binary.Uvarint(b)
	if n <= 0 || part > 1<<31-1 {
		return r, corrupt(errShortRow)
	}
	b = b[n:]
	off, n := binary.Uvarint(b)
	if n <= 0 || off > 1<<63-1 {
		return r, corrupt(errShortRow)
	}
	b = b[n:]
	if first&flagHeaders != 0 {
		l, n := binary.Uvarint(b)
		if n <= 0 || l > uint64(len(b)-n) {
			return r, corrupt(errShortRow)
		}
		end := n + int(l)
		r.Headers = b[n:end:end]
		b = b[end:]
	}
	r.Timestamp, r.Partition, r.Offset, r.Value = ts, int32(part), int64(off), b
	return r, nil
}

func corrupt(err error) error { return fmt.Errorf("%w: %w", ErrCorrupt, err) }
