package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAlertStateMachine(t *testing.T) {
	const limitC, clearC = 30.0, 28.0
	type move struct {
		sec  int
		c    float64
		want transition
	}
	var s alertState
	for i, m := range []move{
		{0, 30, moveNone},                 // the limit itself is not above it
		{1, 30.0000001, raised},           // not rounded
		{2, 35, moveNone},                 // raised already
		{1, 20, moveLate},                 // older than the last: moves nothing
		{2, 29, moveNone},                 // as old as the last is not late
		{3, 28, moveNone},                 // clear_c itself is not below it
		{4, 27.9999999, resolved},         //
		{5, 27, moveNone},                 // resolved already
		{6, 29, moveNone},                 // within the band
		{7, 31, raised}, {8, 5, resolved}, // another episode
		{7, 50, moveLate},
	} {
		require.Equal(t, m.want, s.step(time.Unix(int64(m.sec), 0), m.c, limitC, clearC), "move %d", i)
	}
	require.Equal(t, time.Unix(8, 0), s.Last)
	require.Equal(t, time.Unix(7, 0), s.Since, "the episode's first reading")
	require.Equal(t, 31.0, s.PeakC)
}

func TestChangedLimitsTakeEffectWithTheNextReading(t *testing.T) {
	var s alertState
	require.Equal(t, raised, s.step(time.Unix(0, 0), 31, 30, 28))
	require.Equal(t, resolved, s.step(time.Unix(1, 0), 31, 40, 38))
	require.Equal(t, raised, s.step(time.Unix(2, 0), 31, 30, 28))
}

func TestMessageIDIsOfEpisodeAndTransition(t *testing.T) {
	since := at("2017-09-18T09:00:49.012054Z")
	id := messageID("dev", since, raised, "example.com")
	require.Regexp(t, `^[0-9a-f]{32}@example\.com$`, id)
	require.Equal(t, id, messageID("dev", since.In(time.FixedZone("", 3600)), raised, "example.com"))
	for _, other := range []string{
		messageID("dev", since, resolved, "example.com"),
		messageID("dev2", since, raised, "example.com"),
		messageID("dev", since.Add(time.Microsecond), raised, "example.com"),
	} {
		require.NotEqual(t, id, other)
	}
}
