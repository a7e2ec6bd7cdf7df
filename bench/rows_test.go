package main

import (
	"encoding/json"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// goka computes the partition of a key by this hash; it would not find the rows
// elsewhere.
func TestPartitionsAreThoseOfGoka(t *testing.T) {
	seen := map[int32]int{}
	for i := range 1000 {
		p := partitionOf(appendKey(nil, i))
		require.GreaterOrEqual(t, p, int32(0))
		require.Less(t, p, int32(devicePartitions))
		seen[p]++
	}
	require.Len(t, seen, devicePartitions)
}

func TestKeysHaveEightDigits(t *testing.T) {
	require.Equal(t, "dev-00000000", key(0))
	require.Equal(t, "dev-12345678", key(12345678))
	require.Equal(t, "dev-00000017x", absentKey(17))
}

// Rows are JSON of the size that the tables of results name, and have a serial
// that an update changes.
func TestRowsAreJSON(t *testing.T) {
	for _, size := range []int{0, 1000} {
		for n := range 500 {
			value := appendRow(nil, n, uint64(n)*0x9e3779b97f4a7c15, size)
			var d device
			require.NoError(t, json.Unmarshal(value, &d))
			require.Equal(t, key(n), d.Device)
			require.NotEmpty(t, d.Room)
			require.Positive(t, d.LimitC)
			if size == 0 {
				require.InDelta(t, 160, len(value), 12)
				require.Empty(t, d.Notes)
			} else {
				require.Len(t, value, size)
			}
			serial, ok := serialOf(value)
			require.True(t, ok)
			require.Equal(t, uint64(n)*0x9e3779b97f4a7c15, serial)
		}
	}
}

func TestNoSerial(t *testing.T) {
	for _, value := range []string{"", "{}", `{"serial":"12"}`, `{"serial":"zzzzzzzzzzzzzzzz"}`} {
		_, ok := serialOf([]byte(value))
		require.False(t, ok, value)
	}
}

// Played back, the sequence of records is a table of just the live rows; it has
// duplicates and tombstones, and its order is none.
func TestRecordsMakeTheRows(t *testing.T) {
	const rows = 10_000
	all := records(rows)
	times := map[int32]int{}
	ascending := 0
	for i, n := range all {
		times[n]++
		if i > 0 && all[i-1] < n {
			ascending++
		}
	}
	require.InDelta(t, len(all)/2, ascending, float64(len(all))/20, "not sorted")
	twice, deleted := 0, 0
	for n, k := range times {
		switch {
		case n >= rows:
			deleted++
			require.Equal(t, 2, k, "a row that is deleted is written before")
		case k == 2:
			twice++
		default:
			require.Equal(t, 1, k)
		}
	}
	require.Len(t, times, rows+deleted)
	require.Equal(t, rows/20, twice)
	require.Equal(t, rows/100, deleted)
	require.Equal(t, all, records(rows), "all processes make the same")
}

func TestMarkersAreOnePerPartition(t *testing.T) {
	seen := map[int32]bool{}
	for _, n := range markerRows(1000) {
		seen[partitionOf(appendKey(nil, n))] = true
	}
	require.Len(t, seen, devicePartitions)
}

// A few rows are named very often, by the readings as by the lookups, and they are
// not neighbours.
func TestZipfIsSkewedAndSpread(t *testing.T) {
	const rows, picks = 100_000, 200_000
	z := newZipf(rand.New(rand.NewPCG(1, 1)), rows)
	times := map[int]int{}
	for range picks {
		n := z.next()
		require.GreaterOrEqual(t, n, 0)
		require.Less(t, n, rows)
		times[n]++
	}
	hottest, most := 0, 0
	for n, k := range times {
		if k > most {
			hottest, most = n, k
		}
	}
	require.Greater(t, most, picks/20)
	require.Less(t, len(times), rows/2)
	require.Greater(t, len(times), rows/10)
	require.Less(t, times[hottest+1], most/10)
}

func TestReadingsAreJSON(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range 100 {
		var v struct {
			Celsius float64
			Seq     int
		}
		require.NoError(t, json.Unmarshal(appendReading(nil, i, rng), &v))
		require.Equal(t, i, v.Seq)
	}
}

func TestJoinedIsJSON(t *testing.T) {
	out := joined([]byte(`{"seq":1}`), []byte(`{"device":"d"}`))
	require.JSONEq(t, `{"reading":{"seq":1},"device":{"device":"d"}}`, string(out))
	require.Len(t, out, cap(out), "made at once")
}

func TestNumbersAsPeopleWriteThem(t *testing.T) {
	for n, want := range map[int]string{7: "7", 1000: "1 k", 1500: "1.5 k", 10_000: "10 k", 2_000_000: "2 M", 10_000_000: "10 M", 1_234_567: "1234567"} {
		require.Equal(t, want, count(n))
	}
	require.Equal(t, "devices 1 M of 1000 B zstd", rowsTopic{Rows: 1_000_000, RowBytes: 1000, Zstd: true}.String())
}
