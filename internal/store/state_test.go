package store

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func sampleState() *State {
	s := &State{Counters: Counters{1, 2, 3, 4, 5, 6}, PendingVerify: "TombstonesExpired"}
	*s.At(2) = Partition{Known: true, Next: 99, Epoch: 7, LogStart: 3, AtEnd: time.UnixMilli(1758186049012)}
	return s
}

func TestStateRoundTrip(t *testing.T) {
	for _, s := range []*State{{Partitions: []Partition{}}, sampleState()} {
		b := appendState(nil, s)
		got, err := parseState(b)
		require.NoError(t, err)
		require.Equal(t, s, got)
		for i := range b {
			_, err := parseState(b[:i])
			require.ErrorIs(t, err, ErrCorrupt, "cut at %d", i)
		}
		_, err = parseState(append(b, 0))
		require.ErrorIs(t, err, ErrCorrupt)
	}
	require.Equal(t, Partition{Epoch: -1}, sampleState().Get(0))
	require.Equal(t, Partition{Epoch: -1}, sampleState().Get(17))
	require.Equal(t, Partition{Epoch: -1}, sampleState().Get(-1))
}

func TestIdentityRoundTrip(t *testing.T) {
	for _, id := range []Identity{{}, {
		ClusterID: "c", Topic: "devices", TopicID: [16]byte{1, 2}, ReadUncommitted: true,
		Transform: "v3", BadRecords: "skip", Headers: true,
	}} {
		b := encodeIdentity(&id)
		got, err := parseIdentity(b)
		require.NoError(t, err)
		require.Equal(t, id, got)
		for i := range b {
			_, err := parseIdentity(b[:i])
			require.ErrorIs(t, err, ErrCorrupt)
		}
	}
}

func TestCloneIsIndependent(t *testing.T) {
	s := sampleState()
	c := s.Clone()
	c.At(2).Next = 1
	require.Equal(t, int64(99), s.Get(2).Next)
}

func TestStateAtGrows(t *testing.T) {
	var s State
	require.Equal(t, Partition{Epoch: -1}, *s.At(2), "an unknown epoch is not epoch 0")
	require.Len(t, s.Partitions, 3)
	s.At(2).Next = 5
	s.At(0).Known = true
	require.Equal(t, int64(5), s.Get(2).Next)
	require.False(t, s.Get(1).Known)
	require.Len(t, s.Partitions, 3)
}

func TestGone(t *testing.T) {
	s := State{Partitions: []Partition{{LogStart: 5}, {}}}
	require.True(t, s.Gone(0, 4))
	require.False(t, s.Gone(0, 5))
	require.False(t, s.Gone(1, 0))
	require.False(t, s.Gone(2, 0), "nothing is known of the partition")
}

// TestTimesAreKeptInMilliseconds also expects the zero time, which means never,
// to stay apart from all others.
func TestTimesAreKeptInMilliseconds(t *testing.T) {
	for _, at := range []time.Time{{}, time.UnixMilli(1), time.UnixMilli(-1), time.UnixMilli(1758186049012).Add(999 * time.Microsecond)} {
		s := &State{Partitions: []Partition{{AtEnd: at}}}
		got, err := parseState(appendState(nil, s))
		require.NoError(t, err)
		require.Equal(t, at.IsZero(), got.Get(0).AtEnd.IsZero())
		require.Equal(t, at.UnixMilli(), got.Get(0).AtEnd.UnixMilli())
	}
}

// TestRecordsThatMakeNoSenseAreDamaged puts out-of-range numbers into otherwise
// whole records. None may be cut down to something else, or make the reader
// allocate what it says.
func TestRecordsThatMakeNoSenseAreDamaged(t *testing.T) {
	state := func(partitions uint64, entry ...byte) []byte {
		b := append([]byte{stateVersion}, make([]byte, 7)...) // counters, no verification
		return append(binary.AppendUvarint(b, partitions), entry...)
	}
	epoch := func(e int64) []byte { return append(binary.AppendVarint([]byte{1, 2}, e), 0, 0) }
	_, err := parseState(state(1, epoch(math.MaxInt32)...))
	require.NoError(t, err)
	for name, b := range map[string][]byte{
		"epoch too large":        state(1, epoch(math.MaxInt32+1)...),
		"epoch too small":        state(1, epoch(math.MinInt32-1)...),
		"flag that is none":      state(1, 2, 0, 0, 0, 0),
		"too many partitions":    state(1<<40, 0, 0, 0, 0, 0),
		"more than can be there": state(2, 0, 0, 0, 0, 0),
		"number without an end":  append([]byte{stateVersion}, bytes.Repeat([]byte{0xff}, 30)...),
		"another version":        {2},
	} {
		_, err := parseState(b)
		require.ErrorIs(t, err, ErrCorrupt, name)
	}
	id := encodeIdentity(&Identity{Topic: "devices"})
	for name, b := range map[string][]byte{
		"another version":   {9},
		"huge string":       append([]byte{identityVersion}, binary.AppendUvarint(nil, math.MaxUint64)...),
		"flag that is none": append(id[:len(id)-1:len(id)-1], 7),
		"left over":         append(id, 0),
	} {
		_, err := parseIdentity(b)
		require.ErrorIs(t, err, ErrCorrupt, name)
	}
}

func FuzzParseState(f *testing.F) {
	f.Add([]byte{})
	f.Add(appendState(nil, &State{}))
	f.Add(appendState(nil, sampleState()))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseState(b)
		if err != nil {
			require.ErrorIs(t, err, ErrCorrupt)
			return
		}
		got, err := parseState(appendState(nil, s))
		require.NoError(t, err)
		require.Equal(t, s, got)
	})
}

// FuzzStateRoundTrip makes a state of one partition behind a number of others.
func FuzzStateRoundTrip(f *testing.F) {
	f.Add(uint8(0), true, int64(0), int32(-1), int64(0), int64(0), uint64(0), "")
	f.Add(uint8(3), true, int64(7), int32(2), int64(5), int64(1_700_000_000_000), uint64(9), "BelowLogStart")
	f.Add(uint8(1), false, int64(math.MaxInt64), int32(math.MaxInt32), int64(math.MaxInt64), int64(-1), uint64(math.MaxUint64), "\xff")
	f.Fuzz(func(t *testing.T, others uint8, known bool, next int64, epoch int32, start, atEnd int64, count uint64, verify string) {
		s := &State{Partitions: []Partition{}, PendingVerify: verify, Counters: Counters{Records: count, Tombstones: count / 2, Verified: count ^ 1}}
		if known {
			at := s.At(int32(others))
			*at = Partition{Known: true, Next: max(next, 0), Epoch: max(epoch, -1), LogStart: max(start, 0)}
			if atEnd > 0 {
				at.AtEnd = time.UnixMilli(atEnd)
			}
		}
		got, err := parseState(appendState(nil, s))
		require.NoError(t, err)
		require.Equal(t, s, got)
	})
}

func FuzzParseIdentity(f *testing.F) {
	f.Add([]byte{})
	f.Add(encodeIdentity(&Identity{}))
	f.Add(encodeIdentity(&Identity{ClusterID: "c", Topic: "t", TopicID: [16]byte{1}, ReadUncommitted: true, Transform: "v", BadRecords: "skip", Headers: true}))
	f.Fuzz(func(t *testing.T, b []byte) {
		id, err := parseIdentity(b)
		if err != nil {
			require.ErrorIs(t, err, ErrCorrupt)
			return
		}
		got, err := parseIdentity(encodeIdentity(&id))
		require.NoError(t, err)
		require.Equal(t, id, got)
	})
}

func FuzzIdentityRoundTrip(f *testing.F) {
	f.Add("", "devices", []byte{}, false, "", "", true)
	f.Add("c", "", []byte("0123456789abcdef"), true, "v\x00", "\xff", false)
	f.Fuzz(func(t *testing.T, cluster, topic string, tid []byte, uncommitted bool, transform, bad string, headers bool) {
		id := Identity{ClusterID: cluster, Topic: topic, ReadUncommitted: uncommitted, Transform: transform, BadRecords: bad, Headers: headers}
		copy(id.TopicID[:], tid)
		got, err := parseIdentity(encodeIdentity(&id))
		require.NoError(t, err)
		require.Equal(t, id, got)
	})
}
