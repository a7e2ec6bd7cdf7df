package feed

import (
	"bytes"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTroubleEndsWhenNobodyHasAny(t *testing.T) {
	var told []error
	var log bytes.Buffer
	cfg := Config{Topic: "t", OnTrouble: func(err error) { told = append(told, err) }, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	tr := newTroubles(&cfg)
	away, moved := errors.New("broker is away"), errors.New("leader moved")

	tr.clear(1)
	require.Empty(t, told, "there was none")
	tr.add(away, 1, 2)
	require.Equal(t, []error{away}, told, "one failure is told of once")
	tr.add(moved, 1)
	tr.clear(2)
	require.Equal(t, []error{away, moved}, told, "partition 1 still waits")
	tr.add(away, watcher)
	tr.clear(1)
	tr.clear(watcher)
	tr.clear(watcher)
	require.Equal(t, []error{away, moved, away, nil}, told)
	require.Contains(t, log.String(), `level=WARN msg="feed: waiting" topic=t err="broker is away"`)
	require.Equal(t, 1, bytes.Count(log.Bytes(), []byte("going on")))
}

func TestBackoff(t *testing.T) {
	var got []time.Duration
	for n := range 7 {
		got = append(got, backoff(n)/time.Millisecond)
	}
	require.Equal(t, []time.Duration{100, 200, 400, 800, 1600, 2000, 2000}, got)
	require.Equal(t, 2*time.Second, backoff(1<<40))
}
