package main

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

func TestProgressIsShownEverySecondOffATerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out output
		ctx, cancel := context.WithTimeout(t.Context(), 3500*time.Millisecond)
		defer cancel()
		n := 0
		showProgress(ctx, newConsole(&out, &out, false), func() string { n++; return fmt.Sprint("line ", n) })
		require.Equal(t, "line 1\nline 2\nline 3\n", out.String())
	})
}

func TestProgressIsLiveOnATerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out output
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		n := 0
		showProgress(ctx, newConsole(&out, &out, true), func() string { n++; return fmt.Sprint(n) })
		require.Equal(t, "1\r \r2\r \r", out.String(), "and it is gone at the end")
	})
}

func TestProgressLine(t *testing.T) {
	s := memState(t, vfs.NewMem())
	defer func() { require.NoError(t, s.close()) }()
	a := &app{state: s, in: &inputs{}, mailer: &mailer{}, cluster: &cluster{reach: new(reach)}, load: &loader{}}
	a.setPhase("topics")
	require.Equal(t, "topics | 0 readings, 0 joined | 0 alerts, 0 mails", a.progressLine())

	a.in.readings = make([]Reading, 10)
	a.load.done.Store(4)
	ready, trouble, away := func() string { return "ready" }, "broker b:9092: refused", "away"
	a.table.Store(&ready)
	a.cluster.reach.trouble.Store(&trouble)
	a.mailer.trouble.Store(&away)
	a.setPhase("loading readings")
	require.NoError(t, s.apply(hot(0, 0, "a", 0, 31), "example.com"))
	require.Equal(t, "loading readings | loaded 4 of 10 | devices ready | 1 readings, 1 joined | 1 alerts, 0 mails | 1 waiting | SMTP server away | broker b:9092: refused", a.progressLine())
	a.load.done.Store(10)
	require.NotContains(t, a.progressLine(), "loaded")
}
