package main

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

func TestStateCountsEveryReadingOnce(t *testing.T) {
	fs := vfs.NewMem()
	s := memState(t, fs)
	lost := hot(0, 1, "x", 0, 0)
	lost.found = false
	bad := hot(0, 2, "x", 0, 0)
	bad.bad = dropReading
	late := hot(0, 5, "a", 1, 20)
	feed := []outcome{hot(0, 0, "a", 2, 31), lost, bad, hot(0, 4, "a", 3, 27), late, hot(1, 0, "b", 1, 31)}
	for range 2 { // Kafka hands them out again
		for _, o := range feed {
			require.NoError(t, s.apply(o, "example.com"))
		}
	}
	want := counters{Readings: 6, Joined: 4, Unmatched: 1, Dropped: map[string]int64{dropReading: 1}, Late: 1, Alerts: 2, Resolved: 1}
	require.Equal(t, want, s.snapshot().counters)
	require.Equal(t, int64(1), want.dropped())

	group := s.group()
	require.Regexp(t, `^roomalert-[0-9a-f]{16}$`, group)
	require.NoError(t, s.close())
	s = memState(t, fs)
	require.Equal(t, group, s.group())
	for _, o := range feed {
		require.NoError(t, s.apply(o, "example.com"))
	}
	n := s.snapshot()
	require.Equal(t, want, n.counters)
	require.Equal(t, 3, n.waiting)
	require.Equal(t, "readings=6 joined=4 unmatched=1 dropped=1 alerts=2 resolved=1 mails=0", n.line())
	require.NoError(t, s.close())
}
