package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// stateDirs are the places of a run. What is temporary is removed at the end.
type stateDirs struct {
	root      string
	temporary bool
	lock      io.Closer
}

// openDirs makes the state directory if it is missing, and takes it for this
// process before anything in it is touched. The system gives it free when the
// process ends, however it ends.
func openDirs(state string) (*stateDirs, error) {
	if state == "" {
		root, err := os.MkdirTemp("", "roomalert-")
		if err != nil {
			return nil, fmt.Errorf("make a temporary directory: %w", err)
		}
		return &stateDirs{root: root, temporary: true}, nil
	}
	root, err := filepath.Abs(state)
	if err == nil {
		err = os.MkdirAll(root, 0o755)
	}
	if err != nil {
		return nil, fmt.Errorf("-state: %w", err)
	}
	lock, err := vfs.Default.Lock(filepath.Join(root, "lock"))
	if err != nil {
		return nil, fmt.Errorf("-state %s is in use by another process (or cannot be locked: %w); stop that one, or give another directory", state, err)
	}
	return &stateDirs{root: root, lock: lock}, nil
}

// The parts of a state directory.
func (d *stateDirs) broker() string  { return filepath.Join(d.root, "broker") }
func (d *stateDirs) devices() string { return filepath.Join(d.root, "devices") }
func (d *stateDirs) alerts() string  { return filepath.Join(d.root, "alerts") }

func (d *stateDirs) close() error {
	if d.temporary {
		return os.RemoveAll(d.root)
	}
	return d.lock.Close()
}
