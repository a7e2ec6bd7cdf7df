//go:build !linux && !darwin

package kafkatest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// envChild has no use here: no process outlives this one to clean up after it.
const envChild = "KAFKATEST_CHILD_DIR"

func childMain() int { return 1 }

func TestGuardCloseRemovesTheFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	require.NoError(t, os.Mkdir(dir, 0o755))
	g, err := newGuard(dir)
	require.NoError(t, err)
	require.NoError(t, g.close())
	require.NoDirExists(t, dir)
}
