package feed

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPlanPartitions(t *testing.T) {
	topic := &Topic{}
	for _, tc := range []struct {
		name string
		plan Plan
		want map[int32]partition
	}{
		{"nothing said", Plan{Topic: topic}, map[int32]partition{}},
		{"starts", Plan{Topic: topic, Starts: []Start{{1, 7, 2}, {3, LogStart, -1}}}, map[int32]partition{
			1: {number: 1, next: 7, epoch: 2, leader: -1, leaderEpoch: -1},
			3: {number: 3, next: LogStart, epoch: -1, open: true, leader: -1, leaderEpoch: -1},
		}},
		{"until", Plan{Topic: topic, Starts: []Start{{1, 7, 2}, {2, 7, 2}, {3, 9, 2}, {9, 0, -1}}, Until: map[int32]int64{0: 0, 1: 8, 2: 7, 3: 7}}, map[int32]partition{
			0: {number: 0, next: LogStart, epoch: -1, open: true, leader: -1, leaderEpoch: -1},
			1: {number: 1, next: 7, epoch: 2, leader: -1, leaderEpoch: -1},
			2: {number: 2, next: 7, epoch: 2, done: true, leader: -1, leaderEpoch: -1},
			3: {number: 3, next: 9, epoch: 2, done: true, leader: -1, leaderEpoch: -1},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			parts, err := tc.plan.partitions()
			require.NoError(t, err)
			got := map[int32]partition{}
			for n, p := range parts {
				got[n] = *p
			}
			require.Equal(t, tc.want, got)
		})
	}
}

func TestMove(t *testing.T) {
	end := func(o int64) *int64 { return &o }
	s := &session{until: map[int32]int64{0: 10}}
	for _, tc := range []struct {
		partition int32
		next      int64
		end       *int64
		done      bool
	}{
		{0, 9, nil, false},
		{0, 10, nil, true},
		{0, 11, nil, true},
		{0, 9, end(10), false},
		{0, 9, end(9), true}, // there is no more to read
		{1, 50, end(50), false},
	} {
		p := newPartition(Start{Partition: tc.partition})
		s.move(p, tc.next, tc.end)
		require.Equal(t, tc.next, p.next)
		require.Equal(t, tc.done, p.done, "%+v", tc)
	}
	require.NoError(t, (&session{}).allRead(), "a session without an end has none")
}

func TestBoundOfASession(t *testing.T) {
	require.EqualValues(t, 100, (&Plan{}).maxBytes(100))
	require.EqualValues(t, 10, (&Plan{MaxBytes: 10}).maxBytes(100))
	require.EqualValues(t, 100, (&Plan{MaxBytes: 1000}).maxBytes(100))
}
