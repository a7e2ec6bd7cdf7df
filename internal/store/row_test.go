package store

import (
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
