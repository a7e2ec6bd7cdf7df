//go:build linux || darwin

package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// A guard is a shell that outlives the test binary for as long as it takes to
// clean up after it. It holds the read end of a pipe whose only write end is
// here, so it learns of any end of this process, SIGKILL included, from the
// operating system; then it kills the processes started through it and removes
// their folder. That holds for whichever thread started a process, which the
// parent-death signal of Linux would not.
type guard struct {
	cmd *exec.Cmd
	in  io.WriteCloser
}

// The pause lets the killed processes end before their files go.
const guardScript = `trap '' INT TERM HUP
pids=
while read -r op pid; do
	case $op in
	add) pids="$pids $pid" ;;
	del) left=
		for p in $pids; do [ "$p" = "$pid" ] || left="$left $p"; done
		pids=$left ;;
	esac
done
if [ -n "$pids" ]; then
	kill -9 $pids 2>/dev/null
	sleep 1
fi
rm -rf -- "$1"`

// gateScript holds a process back until the guard knows its id; without the
// test binary to open the gate it ends by itself.
const gateScript = `read -r go && [ "$go" = go ] || exit 125
exec "$@" </dev/null`

// newGuard starts a guard of the processes that work in dir.
func newGuard(dir string) (*guard, error) {
	cmd := exec.Command("/bin/sh", "-c", guardScript, "sh", dir)
	// A group of its own: an interrupt from the terminal must not reach it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("kafkatest: guard: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("kafkatest: guard: %w", err)
	}
	return &guard{cmd: cmd, in: in}, nil
}

// start starts cmd under the guard. cmd's standard input is taken.
func (g *guard) start(cmd *exec.Cmd) error {
	gate, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	defer func() { _ = gate.Close() }()
	cmd.Args = append([]string{"/bin/sh", "-c", gateScript, "sh", cmd.Path}, cmd.Args[1:]...)
	cmd.Path = "/bin/sh"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(g.in, "add", cmd.Process.Pid); err != nil {
		_ = gate.Close()
		return errors.Join(fmt.Errorf("guard is gone: %w", err), cmd.Wait())
	}
	_, err = fmt.Fprintln(gate, "go")
	return err
}

// forget tells the guard that a process has ended and its id may be reused.
func (g *guard) forget(pid int) { _, _ = fmt.Fprintln(g.in, "del", pid) }

// close ends the guard, which kills what it still knows of and removes the
// folder.
func (g *guard) close() error {
	return errors.Join(g.in.Close(), g.cmd.Wait())
}

// terminate asks a process to shut down in an orderly way.
func terminate(p *os.Process) error { return p.Signal(syscall.SIGTERM) }

// lockExcludes tells whether lockFile keeps other processes out.
const lockExcludes = true

// lockFile takes the lock on path, making the file if need be. The operating
// system drops the lock of a process that ends.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	err = poll(ctx, 50*time.Millisecond, func() error {
		return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	})
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return func() { _ = f.Close() }, nil
}
