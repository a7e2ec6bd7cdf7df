package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

//go:embed kstreams
var kstreamsSource embed.FS

// kstreamsHeap is the heap of the Java process.
const kstreamsHeap = "512m"

// kstreamsJars builds the Java program once, in the user's cache directory, and
// returns its class path.
var kstreamsJars = sync.OnceValues(func() (string, error) {
	for _, tool := range []string{"java", "mvn"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "", fmt.Errorf("it needs %s: %w", tool, err)
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "enrich", "bench-kstreams")
	err = fs.WalkDir(kstreamsSource, "kstreams", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(dir, filepath.FromSlash(strings.TrimPrefix(name, "kstreams")))
		if d.IsDir() {
			return os.MkdirAll(to, 0o750)
		}
		b, err := kstreamsSource.ReadFile(name)
		if err != nil {
			return err
		}
		return os.WriteFile(to, b, 0o600)
	})
	if err != nil {
		return "", err
	}
	cmd := exec.Command("mvn", "-q", "-B", "package", "dependency:copy-dependencies", "-DoutputDirectory="+filepath.Join(dir, "libs"))
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", errors.Join(fmt.Errorf("mvn: %w: %s", err, tail(out)))
	}
	return filepath.Join(dir, "target", "kstreams-peer-1.jar") + string(os.PathListSeparator) + filepath.Join(dir, "libs", "*"), nil
})

// kstreams returns the command that fills a GlobalKTable.
func kstreams(ctx context.Context, j job) (*exec.Cmd, error) {
	jars, err := kstreamsJars()
	if err != nil {
		return nil, err
	}
	return exec.CommandContext(ctx, "java", "-Xmx"+kstreamsHeap, "-cp", jars, "Peer",
		strings.Join(j.Brokers, ","), j.Topic, j.Dir, strconv.Itoa(j.Rows), strconv.Itoa(j.Lookups)), nil
}
