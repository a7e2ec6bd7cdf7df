package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A disk that is full for a while delays a load, and leaves nothing behind in
// the in-process broker's log that a later start would stumble over.
func TestLoadWaitsForRoomOnTheDisk(t *testing.T) {
	dir := t.TempDir()
	b := ownBroker(t, dir)
	topic := b.CreateTopic(t, "readings", 3, 1, forever())
	readings := manyReadings(2*loadChunk + 123)
	l, _ := newLoader(t, b)
	l.own = true
	require.NoError(t, l.readings(t.Context(), topic, "id", readings[:100]))

	dir = killed(t, dir)
	b = ownBroker(t, dir)
	index := filepath.Join(dir, "partitions", topic+"-1", "0.idx")
	require.NoError(t, os.Rename(index, index+".kept"))
	require.NoError(t, os.Symlink("/dev/full", index)) // writes to it fail with ENOSPC
	l, _ = newLoader(t, b)
	notes := new(output)
	l.con = newConsole(notes, notes, false)
	l.own = true
	done := make(chan error, 1)
	go func() { done <- l.readings(t.Context(), topic, "id", readings) }()
	require.Eventually(t, func() bool { return countLines(notes, "trying again until it works") >= 2 }, patience, tick)
	require.Contains(t, notes.String(), "load readings: UNKNOWN_SERVER_ERROR")
	require.NoError(t, os.Rename(index+".kept", index))
	require.NoError(t, <-done)
	requireLoaded(t, b, topic, "id", readings, len(readings))

	b = ownBroker(t, killed(t, dir))
	requireLoaded(t, b, topic, "id", readings, len(readings))
	l, _ = newLoader(t, b)
	l.own = true
	missing, err := l.missing(t.Context(), topic, "id", len(readings))
	require.NoError(t, err)
	require.Empty(t, missing)
}
