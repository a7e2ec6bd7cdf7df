package store

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRowRoundTrip(t *testing.T) {
	for _, r := range []Row{
		{Value: []byte{}},
		{Timestamp: -1, Partition: math.MaxInt32, Offset: math.MaxInt64, Value: []byte("x")},
		{Timestamp: 1758186049012, Partition: 3, Offset: 17, Headers: []byte{}, Value: []byte("value")},
		{Timestamp: math.MinInt64, Headers: []byte("headers"), Value: []byte{}},
	} {
		b := appendRow(nil, &r)
		got, err := parseRow(b)
		require.NoError(t, err)
		require.Equal(t, r, got)
		for i := range len(b) - len(r.Value) {
			_, err := parseRow(b[:i])
			require.ErrorIs(t, err, ErrCorrupt, "cut at %d", i)
		}
	}
}

func TestRowOfAnotherVersionIsCorrupt(t *testing.T) {
	for _, first := range []byte{0x00, 0x20, rowVersion | 0x02} {
		_, err := parseRow([]byte{first, 0, 0, 0, 1})
		require.ErrorIs(t, err, ErrCorrupt)
	}
}

// TestRowEncodingIsFixed pins the stored form: other releases have to read it.
func TestRowEncodingIsFixed(t *testing.T) {
	require.Equal(t, []byte{0x10, 0x03, 0x07, 0x80, 0x01, 'v'}, appendRow(nil, &Row{Timestamp: -2, Partition: 7, Offset: 128, Value: []byte("v")}))
	require.Equal(t, []byte("x\x11\x00\x00\x00\x02hhv"), appendRow([]byte("x"), &Row{Headers: []byte("hh"), Value: []byte("v")}))
}

func TestRowWithNumbersOutOfRangeIsCorrupt(t *testing.T) {
	row := func(partition, offset, headers uint64) []byte {
		b := []byte{rowVersion | flagHeaders, 0}
		b = binary.AppendUvarint(b, partition)
		b = binary.AppendUvarint(b, offset)
		return binary.AppendUvarint(b, headers)
	}
	_, err := parseRow(row(math.MaxInt32, math.MaxInt64, 0))
	require.NoError(t, err)
	for _, b := range [][]byte{row(math.MaxInt32+1, 0, 0), row(0, math.MaxInt64+1, 0), row(0, 0, 1), row(0, 0, math.MaxUint64)} {
		_, err := parseRow(b)
		require.ErrorIs(t, err, ErrCorrupt)
	}
}

// TestHeadersAndValueDoNotRunIntoEachOther appends to the one and looks at the
// other: both share the stored row's memory.
func TestHeadersAndValueDoNotRunIntoEachOther(t *testing.T) {
	r, err := parseRow(appendRow(nil, &Row{Headers: []byte("h"), Value: []byte("value")}))
	require.NoError(t, err)
	_ = append(r.Headers, 'X')
	require.Equal(t, "value", string(r.Value))
}

func FuzzParseRow(f *testing.F) {
	f.Add([]byte{})
	f.Add(appendRow(nil, &Row{Timestamp: 1, Partition: 2, Offset: 3, Headers: []byte("h"), Value: []byte("v")}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRow(b)
		if err != nil {
			return
		}
		got, err := parseRow(appendRow(nil, &r))
		require.NoError(t, err)
		require.Equal(t, r, got)
	})
}

func FuzzRowRoundTrip(f *testing.F) {
	f.Add(int64(0), int32(0), int64(0), false, []byte{}, []byte{})
	f.Add(int64(-1), int32(math.MaxInt32), int64(math.MaxInt64), true, []byte("h"), []byte("v"))
	f.Fuzz(func(t *testing.T, ts int64, partition int32, offset int64, kept bool, headers, value []byte) {
		r := Row{Timestamp: ts, Partition: max(partition, 0), Offset: max(offset, 0), Value: append([]byte{}, value...)}
		if kept {
			r.Headers = append([]byte{}, headers...)
		}
		got, err := parseRow(appendRow(nil, &r))
		require.NoError(t, err)
		require.Equal(t, r, got)
	})
}
