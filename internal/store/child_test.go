package store

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// envChildDir makes the test binary a process that holds a table open.
const envChildDir = "STORE_TEST_CHILD_DIR"

// childMain fills the table in dir, flushes a part, says so and waits.
func childMain(dir string) int {
	err := func() error {
		r, err := OpenRoot(Options{Dir: dir, Topic: "devices", MemTableBytes: 256 << 10, CacheBytes: 4 << 20})
		if err != nil {
			return err
		}
		g, err := r.Create(Identity{Topic: "devices"})
		if err != nil {
			return err
		}
		for i := range 2000 {
			if err := tryPut(g, int64(i), fmt.Sprint("k", i), "value"); err != nil {
				return err
			}
			if i == 999 {
				if err := g.Flush(); err != nil {
					return err
				}
			}
		}
		return nil
	}()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("open")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// TestAnotherProcessHasTheDirectory starts a second process on a real directory:
// while it lives the table can be neither opened nor removed; killed, it leaves
// the lock free and what it flushed on disk.
func TestAnotherProcessHasTheDirectory(t *testing.T) {
	dir := t.TempDir()
	child := exec.Command(os.Args[0], "-test.run=^$")
	child.Env = append(os.Environ(), envChildDir+"="+dir)
	stdin, err := child.StdinPipe()
	require.NoError(t, err)
	defer func() { _ = stdin.Close() }()
	stdout, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "open\n", line)

	_, err = OpenRoot(Options{Dir: dir, Topic: "devices"})
	require.ErrorIs(t, err, ErrLocked)
	require.ErrorContains(t, err, dir)
	require.ErrorIs(t, Remove(nil, dir), ErrLocked)

	require.NoError(t, child.Process.Kill())
	require.Error(t, child.Wait())
	r := openWith(t, Options{Dir: dir, Topic: "devices"})
	g := current(t, r)
	next := int(g.State().Get(0).Next)
	require.GreaterOrEqual(t, next, 1000, "what was flushed is there")
	require.Len(t, rows(t, g), next)
	require.NoError(t, r.Close())
	require.NoError(t, Remove(nil, dir))
	require.NoDirExists(t, dir)
}
