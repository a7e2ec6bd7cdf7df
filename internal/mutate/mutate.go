// Package mutate shows that tests can fail: it builds a package with a change in
// some source file, by way of go test's -overlay, and runs tests on it, which have
// to go red. The files themselves are left alone. It is for tests only, and needs
// the go command.
package mutate

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A Change replaces text in a source file.
type Change struct {
	// File is the path from the root of the repository.
	File string
	// Old has to be there exactly once; New takes its place.
	Old, New string
}

// A Run is a call of go test.
type Run struct {
	// Package is the directory from the root of the repository.
	Package string
	// Tests is what -run gets.
	Tests string
	// Args are further arguments, Env further variables, as key=value.
	Args, Env []string
}

// Root returns the root of the repository, which is above the working directory.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return dir, nil
		}
		if filepath.Dir(dir) == dir {
			return "", fmt.Errorf("mutate: no go.work above the working directory")
		}
		dir = filepath.Dir(dir)
	}
}

// Red fails the test unless the run goes red under the changes: its tests have to
// be built, to run, and to fail (a run that hangs until its -timeout has failed
// too). The caller's -timeout bounds nothing here; give one in Args.
func Red(t testing.TB, run Run, changes ...Change) {
	t.Helper()
	red, out, err := Try(t.Context(), t.TempDir(), run, changes...)
	switch {
	case err != nil:
		t.Fatalf("%v\n%s", err, out)
	case !red:
		t.Errorf("%s of %s stays green under %v", run.Tests, run.Package, changes)
	}
}

// Try runs tests under changes and reports whether they went red, with their
// output. It returns an error if they could not be built, or if there were none.
// Files of its own go to dir.
func Try(ctx context.Context, dir string, run Run, changes ...Change) (red bool, out string, err error) {
	root, err := Root()
	if err != nil {
		return false, "", err
	}
	overlay, err := write(root, dir, changes)
	if err != nil {
		return false, "", err
	}
	args := append([]string{"test", "-overlay", overlay, "-count=1", "-v", "-run", run.Tests}, run.Args...)
	cmd := exec.CommandContext(ctx, "go", append(args, "./"+filepath.ToSlash(run.Package))...)
	cmd.Dir, cmd.Env = root, append(os.Environ(), run.Env...)
	b, err := cmd.CombinedOutput()
	out = string(b)
	began := bytes.Contains(b, []byte("=== RUN"))
	switch {
	case ctx.Err() != nil:
		return false, out, ctx.Err()
	case !began:
		return false, out, fmt.Errorf("mutate: no test ran in %s (%v)", run.Package, cmd.ProcessState)
	case err == nil:
		return false, out, nil
	case strings.Contains(out, "--- FAIL") || strings.Contains(out, "panic: ") || strings.Contains(out, "fatal error: "):
		return true, out, nil
	}
	return false, out, fmt.Errorf("mutate: %s: %w", run.Package, err)
}

// Check returns an error if a change does not fit the source as it is.
func Check(changes ...Change) error {
	root, err := Root()
	if err != nil {
		return err
	}
	_, err = apply(root, changes)
	return err
}

// apply returns the changed texts by path.
func apply(root string, changes []Change) (map[string]string, error) {
	texts := map[string]string{}
	for _, c := range changes {
		path := filepath.Join(root, filepath.FromSlash(c.File))
		text, ok := texts[path]
		if !ok {
			b, err := os.ReadFile(path)
			if err != nil {
				return nil, fmt.Errorf("mutate: %w", err)
			}
			text = string(b)
		}
		if n := strings.Count(text, c.Old); n != 1 || c.Old == "" {
			return nil, fmt.Errorf("mutate: %s has the text %d times, and not once: %q", c.File, n, c.Old)
		}
		texts[path] = strings.Replace(text, c.Old, c.New, 1)
	}
	return texts, nil
}

// write writes the changed files and the overlay that names them.
func write(root, dir string, changes []Change) (string, error) {
	texts, err := apply(root, changes)
	if err != nil {
		return "", err
	}
	replace := map[string]string{}
	for path, text := range texts {
		changed := filepath.Join(dir, fmt.Sprintf("%d-%s", len(replace), filepath.Base(path)))
		if err := os.WriteFile(changed, []byte(text), 0o600); err != nil {
			return "", err
		}
		replace[path] = changed
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, b, 0o600)
}
