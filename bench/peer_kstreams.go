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

// The heap of the Java process, in MB: with defaults, and tuned.
const (
	defaultHeapMB = 512
	tunedHeapMB   = 1024
)

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
	changed, err := unpack(dir)
	if err != nil {
		return "", err
	}
	jar := filepath.Join(dir, "target", "kstreams-peer-1.jar")
	if _, err := os.Stat(jar); err != nil || changed {
		cmd := exec.Command("mvn", "-q", "-B", "package", "dependency:copy-dependencies", "-DoutputDirectory="+filepath.Join(dir, "libs"))
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", errors.Join(fmt.Errorf("mvn: %w: %s", err, tailOf(out)), os.RemoveAll(dir))
		}
	}
	return jar + string(os.PathListSeparator) + filepath.Join(dir, "libs", "*"), nil
})

// unpack writes the Java program to a directory, and tells whether that had
// another one.
func unpack(dir string) (changed bool, err error) {
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
		if old, err := os.ReadFile(to); err == nil && string(old) == string(b) {
			return nil
		}
		changed = true
		return os.WriteFile(to, b, 0o600)
	})
	return changed, err
}

func tailOf(b []byte) string {
	var t tailBuffer
	_, _ = t.Write(b) // never fails
	return t.String()
}

// kstreamsCommand is the Java process that does a job with a GlobalKTable.
func kstreamsCommand(ctx context.Context, j job) (*exec.Cmd, error) {
	jars, err := kstreamsJars()
	if err != nil {
		return nil, err
	}
	heap := defaultHeapMB
	if j.Tuned {
		heap = tunedHeapMB
	}
	args := []string{fmt.Sprintf("-Xmx%dm", heap), "-cp", jars, "Peer"}
	return exec.CommandContext(ctx, "java", append(args, kstreamsArgs(j)...)...), nil
}

// kstreamsArgs are the job as the Java program reads it.
func kstreamsArgs(j job) []string {
	goroutines := make([]string, len(j.Goroutines))
	for i, n := range j.Goroutines {
		goroutines[i] = strconv.Itoa(n)
	}
	return []string{
		"work=" + j.Work, "brokers=" + strings.Join(j.Brokers, ","), "topic=" + j.Topic, "dir=" + j.Dir,
		"rows=" + strconv.Itoa(j.Rows), "tuned=" + strconv.FormatBool(j.Tuned), "count=" + strconv.FormatBool(j.Count),
		"kinds=" + strings.Join(j.Kinds, ","), "beside=" + strings.Join(j.Beside, ","), "threads=" + strings.Join(goroutines, ","),
		"seconds=" + strconv.FormatFloat(j.Seconds, 'f', -1, 64),
		"stream=" + j.Stream, "out=" + j.Out, "group=" + j.Group, "readings=" + strconv.Itoa(j.Readings),
		"updates=" + strconv.Itoa(j.Updates), "burst=" + strconv.FormatUint(j.Burst, 10),
		"markers=" + strings.Join(j.Markers, ","), "probes=" + strconv.Itoa(j.Probes),
	}
}
