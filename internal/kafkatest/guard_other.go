//go:build !linux && !darwin

package kafkatest

import (
	"context"
	"os"
	"os/exec"
)

// A guard cleans up after this process as far as the process ends by itself;
// there is no shell here to outlive it.
type guard struct {
	dir string
}

// newGuard returns a guard of the processes that work in dir.
func newGuard(dir string) (*guard, error) { return &guard{dir: dir}, nil }

// start starts cmd.
func (g *guard) start(cmd *exec.Cmd) error { return cmd.Start() }

// forget tells the guard that a process has ended.
func (g *guard) forget(int) {}

// close removes the folder.
func (g *guard) close() error { return os.RemoveAll(g.dir) }

// terminate ends a process; an orderly way to ask for it is not at hand here.
func terminate(p *os.Process) error { return p.Kill() }

// lockExcludes tells whether lockFile keeps other processes out.
const lockExcludes = false

// lockFile takes no lock: the rename that follows is safe, if wasteful, when
// processes race for it.
func lockFile(context.Context, string) (unlock func(), err error) { return func() {}, nil }
