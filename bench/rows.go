package main

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strconv"
)

// devicePartitions is the number of partitions of a table's topic.
const devicePartitions = 4

// key is the key of row n.
func key(n int) string { return string(appendKey(nil, n)) }

func appendKey(dst []byte, n int) []byte {
	dst = append(dst, "dev-"...)
	for at := 10_000_000; at > 0; at /= 10 {
		dst = append(dst, byte('0'+n/at%10))
	}
	return dst
}

// absentKey is a key that no row has, and that lies among those that rows have.
func absentKey(n int) string { return string(append(appendKey(nil, n), 'x')) }

// partitionOf spreads keys as goka does, which finds a row only in the partition
// that its own hash says. The others find rows wherever they are.
func partitionOf(key []byte) int32 {
	h := fnv.New32a()
	_, _ = h.Write(key) // never fails
	hash := int32(h.Sum32())
	if hash < 0 {
		hash = -hash
	}
	return hash % devicePartitions
}

// appendRow appends the value of row n: about 160 B of JSON that vary as those of
// real master data do, and notes up to size bytes if that is more. The serial is
// what an update changes.
func appendRow(dst []byte, n int, serial uint64, size int) []byte {
	from := len(dst)
	dst = append(appendKey(append(dst, `{"device":"`...), n), `","room":"`...)
	dst = strconv.AppendInt(dst, int64(n%40), 10)
	dst = fmt.Appendf(dst, `-%03d","site":"hotel-`, n%997)
	dst = strconv.AppendInt(dst, int64(n%211), 10)
	dst = strconv.AppendInt(append(dst, `","owner":"floor`...), int64(n%40), 10)
	dst = strconv.AppendInt(append(dst, `@hotel-`...), int64(n%211), 10)
	dst = strconv.AppendInt(append(dst, `.example.com","limit_c":`...), int64(20+n%15), 10)
	dst = strconv.AppendInt(append(dst, '.'), int64(n%10), 10)
	dst = strconv.AppendInt(append(dst, `,"clear_c":`...), int64(18+n%15), 10)
	dst = append(dst, `.5,"serial":"`...)
	dst = append(appendSerial(dst, serial), '"')
	if missing := size - (len(dst) - from) - len(`,"notes":""}`); missing > 0 {
		dst = appendNotes(append(dst, `,"notes":"`...), serial, missing)
		dst = append(dst, '"')
	}
	return append(dst, '}')
}

// appendSerial appends a serial in 16 hexadecimal digits.
func appendSerial(dst []byte, serial uint64) []byte {
	const digits = "0123456789abcdef"
	for shift := 60; shift >= 0; shift -= 4 {
		dst = append(dst, digits[serial>>shift&15])
	}
	return dst
}

// serialMark stands before the serial in a row's value.
var serialMark = []byte(`"serial":"`)

// serialOf returns the serial that a row's value has, or false if it is none.
func serialOf(value []byte) (uint64, bool) {
	_, rest, ok := bytes.Cut(value, serialMark)
	if !ok || len(rest) < 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(rest[:16]), 16, 64)
	return n, err == nil
}

// noteWords are what notes are made of.
var noteWords = [...]string{
	"replaced", "battery", "sensor", "moved", "to", "the", "corridor", "near", "window", "calibrated", "by", "service",
	"before", "winter", "checked", "again", "because", "guest", "reported", "cold", "air", "since", "monday", "ok",
}

// appendNotes appends n bytes of words.
func appendNotes(dst []byte, seed uint64, n int) []byte {
	rng := rand.New(rand.NewPCG(seed, 5))
	end := len(dst) + n
	for len(dst) < end {
		dst = append(append(dst, noteWords[rng.IntN(len(noteWords))]...), ' ')
	}
	return dst[:end]
}

// device is a row decoded.
type device struct {
	Device string  `json:"device"`
	Room   string  `json:"room"`
	Site   string  `json:"site"`
	Owner  string  `json:"owner"`
	LimitC float64 `json:"limit_c"`
	ClearC float64 `json:"clear_c"`
	Serial string  `json:"serial"`
	Notes  string  `json:"notes,omitempty"`
}

// markerRows returns, for each partition, the first row in it: their updates tell
// that all that was written before has arrived.
func markerRows(rows int) []int {
	var out []int
	for p := range int32(devicePartitions) {
		for n := range rows {
			if partitionOf(appendKey(nil, n)) == p {
				out = append(out, n)
				break
			}
		}
	}
	return out
}

// records is the sequence of records that makes a table of rows live rows: every
// 20th has an older version before it, and one in a hundred further rows is
// written and deleted again. Their order is random.
func records(rows int) []int32 {
	out := make([]int32, 0, rows+rows/20+rows/50+4)
	for n := range rows {
		out = append(out, int32(n))
		if n%20 == 3 {
			out = append(out, int32(n))
		}
	}
	for n := rows; n < rows+rows/100; n++ {
		out = append(out, int32(n), int32(n))
	}
	rng := rand.New(rand.NewPCG(1, 2))
	rng.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}
