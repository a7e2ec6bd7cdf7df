package main

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStatus(t *testing.T) {
	require.Equal(t, 100.5, peakMB([]byte("VmPeak:\t  1 kB\nVmHWM:\t  102912 kB\nVmRSS: 1 kB\n")))
	require.Zero(t, peakMB([]byte("VmPeak: 1 kB")))
	require.Zero(t, peakMB([]byte("VmHWM: many kB")))
}

func TestMemoryOfThisProcess(t *testing.T) {
	if runtime.GOOS == "linux" {
		require.Greater(t, peakRSS(), 1.0)
	}
	require.Greater(t, goHeap(), 0.1)
}

func TestDiskUsed(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "a", "b"), 0o750))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "one"), make([]byte, 1<<20), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a", "b", "two"), make([]byte, 1<<19), 0o600))
	require.InDelta(t, 1.5, diskUsed(dir), 0.001)
	require.Zero(t, diskUsed(filepath.Join(dir, "none")))
}
