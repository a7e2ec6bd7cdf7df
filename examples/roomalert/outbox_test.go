package main

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

func TestOutboxIsInOrderAndSurvives(t *testing.T) {
	fs := vfs.NewMem()
	s := memState(t, fs)
	for i, c := range []float64{31, 27, 32, 26} {
		require.NoError(t, s.apply(hot(0, int64(i), "a", i, c), "example.com"))
	}
	<-s.wake
	require.NoError(t, s.close())

	s = memState(t, fs)
	<-s.wake // what an earlier run left is to be sent
	take := func() letter {
		q, ok := s.head()
		require.True(t, ok)
		return q.letter
	}
	first := take()
	require.Equal(t, raised, first.Kind)
	require.NoError(t, s.delivered())
	second := take()
	require.Equal(t, resolved, second.Kind)
	require.Equal(t, first.ID, second.InReplyTo)
	require.NoError(t, s.refused("550 no such user"))
	third := take()
	require.Equal(t, raised, third.Kind)
	require.NotEqual(t, first.ID, third.ID, "another episode")
	require.Empty(t, third.InReplyTo)
	require.NoError(t, s.apply(hot(0, 4, "a", 4, 33), "example.com"))
	require.NoError(t, s.close())

	s = memState(t, fs)
	require.Equal(t, third, take())
	n := s.snapshot()
	require.Equal(t, int64(1), n.Mails, "a refused mail is not one that was delivered")
	require.Equal(t, 3, n.waiting)
	require.Equal(t, []failedMail{{second, "550 no such user"}}, n.failed)
	for range 2 {
		require.NoError(t, s.delivered())
	}
	require.Equal(t, raised, take().Kind)
	require.NoError(t, s.delivered())
	_, ok := s.head()
	require.False(t, ok)
	require.NoError(t, s.close())
}

// The counters are written with each delivery; a crash right after it must not
// leave them ahead of the offsets that say what they count.
func TestDeliveryKeepsCountersAndOffsetsTogether(t *testing.T) {
	for _, end := range []func(*state) error{(*state).delivered, func(s *state) error { return s.refused("no") }} {
		fs := vfs.NewCrashableMem()
		s := memState(t, fs)
		feed := []outcome{hot(0, 0, "a", 0, 31), hot(0, 1, "a", 1, 29), hot(0, 2, "b", 1, 20)}
		for _, o := range feed {
			require.NoError(t, s.apply(o, "example.com"))
		}
		require.NoError(t, end(s))
		after := memState(t, fs.CrashClone(vfs.CrashCloneCfg{}))
		for _, o := range feed {
			require.NoError(t, after.apply(o, "example.com"))
		}
		require.Equal(t, s.snapshot(), after.snapshot())
		require.Equal(t, int64(3), after.snapshot().Readings)
		require.NoError(t, after.close())
		require.NoError(t, s.close())
	}
}
