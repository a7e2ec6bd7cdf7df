//go:build linux || darwin

package kafkatest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// envChild makes the test binary be the child of TestGuardOutlivesAKilledProcess.
const envChild = "KAFKATEST_CHILD_DIR"

// childMain starts a process under a guard, tells its id and lives on until it
// is killed.
func childMain() int {
	dir := os.Getenv(envChild)
	g, err := newGuard(dir)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	cmd := exec.Command("sleep", "600")
	if err := g.start(cmd); err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println(cmd.Process.Pid)
	_ = cmd.Wait()
	return 1
}

// gone tells whether no process has the id, or none but one that has ended.
func gone(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return true
	}
	out, err := exec.Command("ps", "-o", "stat=", "-p", fmt.Sprint(pid)).Output()
	return err != nil || strings.HasPrefix(strings.TrimSpace(string(out)), "Z")
}

func TestGuardOutlivesAKilledProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	require.NoError(t, os.Mkdir(dir, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o644))

	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), envChild+"="+dir)
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	var pid int
	_, err = fmt.Sscan(line, &pid)
	require.NoError(t, err, line)
	require.False(t, gone(pid))

	require.NoError(t, child.Process.Kill())
	require.Error(t, child.Wait())
	require.Eventually(t, func() bool { return gone(pid) }, 10*time.Second, 20*time.Millisecond)
	require.Eventually(t, func() bool { return !isDir(dir) }, 10*time.Second, 20*time.Millisecond)
}

func TestGuardClose(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	require.NoError(t, os.Mkdir(dir, 0o755))
	g, err := newGuard(dir)
	require.NoError(t, err)
	forgotten, kept := exec.Command("sleep", "600"), exec.Command("sleep", "600")
	require.NoError(t, g.start(forgotten))
	require.NoError(t, g.start(kept))
	t.Cleanup(func() {
		require.NoError(t, forgotten.Process.Kill())
		require.Error(t, forgotten.Wait())
	})
	g.forget(forgotten.Process.Pid)
	require.NoError(t, g.close())

	require.Error(t, kept.Wait(), "killed")
	require.NoDirExists(t, dir)
	require.False(t, gone(forgotten.Process.Pid), "an id that may belong to somebody else by now is left alone")
}

func TestGuardedProcessGetsArgumentsAndNoInput(t *testing.T) {
	g, err := newGuard(filepath.Join(t.TempDir(), "data"))
	require.NoError(t, err)
	var out strings.Builder
	cmd := exec.Command("sh", "-c", `printf '%s|' "$@"; cat`, "sh", "a b", "$HOME", "*")
	cmd.Stdout = &out
	require.NoError(t, g.start(cmd))
	require.NoError(t, cmd.Wait())
	require.Equal(t, "a b|$HOME|*|", out.String())
	require.NoError(t, g.close())
}

func TestGuardThatIsGone(t *testing.T) {
	g, err := newGuard(filepath.Join(t.TempDir(), "data"))
	require.NoError(t, err)
	require.NoError(t, g.close())
	out := filepath.Join(t.TempDir(), "ran")
	require.ErrorContains(t, g.start(exec.Command("touch", out)), "guard")
	require.NoFileExists(t, out, "nothing runs without a guard")
}

func TestLockFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lockFile(t.Context(), path)
	require.NoError(t, err)

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = lockFile(ctx, path)
	require.ErrorIs(t, err, context.DeadlineExceeded)

	unlock()
	unlock, err = lockFile(t.Context(), path)
	require.NoError(t, err)
	unlock()
}
