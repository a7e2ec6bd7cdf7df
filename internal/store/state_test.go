package store

import (
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
		b := appendIdentity(nil, &id)
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

func FuzzParseState(f *testing.F) {
	f.Add(appendState(nil, sampleState()))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseState(b)
		if err != nil {
			return
		}
		got, err := parseState(appendState(nil, s))
		require.NoError(t, err)
		require.Equal(t, s, got)
	})
}
