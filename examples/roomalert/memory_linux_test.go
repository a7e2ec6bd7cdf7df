//go:build linux && !race

// The race detector takes memory of its own.

package main

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDemoStaysSmall(t *testing.T) {
	p := startProcess(t)
	r := p.wait()
	require.Equal(t, exitDone, r.code, r.stderr)
	usage, ok := p.cmd.ProcessState.SysUsage().(*syscall.Rusage)
	require.True(t, ok)
	t.Logf("peak resident memory: %d MB", usage.Maxrss>>10)
	require.Less(t, usage.Maxrss>>10, int64(300))
}
