package main

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The bar is drawn on a terminal only; elsewhere there is a line for each note.
func TestProgressElsewhere(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out)
	p.expect(10)
	p.title("something")
	p.making("topic", 1, 2)
	p.note("a line")
	p.done(5)
	p.end()
	require.Equal(t, "a line\n", out.String())
}

func TestProgressOnATerminal(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out)
	p.terminal = true
	p.now = func() time.Time { return p.began.Add(30 * time.Second) }
	p.expect(40)
	p.title("something")
	p.done(10)
	require.Contains(t, out.String(), "[#######.......................]  25 % 1m30s left something")
	p.note("a line")
	require.Contains(t, out.String(), "\r\x1b[Ka line\n")
	p.done(100)
	require.Contains(t, out.String(), "100 % 0s left")
}

func TestFilesAreNoTerminals(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/f")
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	require.False(t, isTerminal(f))
	require.False(t, isTerminal(&bytes.Buffer{}))
}
