package kafkatest

import (
	"context"
	_ "embed"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

// kafkaVersion must be the version which pom.xml names.
const kafkaVersion = "4.3.1"

//go:embed pom.xml
var pom []byte

// jarsTimeout bounds the download, which is about 44 MB.
const jarsTimeout = 5 * time.Minute

// jars returns the folder of the broker's jars, fetching them if need be. It
// tries once per process: a machine without network would otherwise wait again
// in each test.
var jars = sync.OnceValues(func() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("%w: no cache directory for its jars: %w", errUnavailable, err)
	}
	return fetchJars(filepath.Join(cache, "enrich"), mvnCopy)
})

// fetchJars returns root/kafka-VERSION, and fills it with copyTo if it is not
// there. The folder appears by a rename, so that it is complete whenever it
// exists; the lock keeps test binaries which start together from each fetching
// the same files, and mvn from racing with itself in its own repository.
func fetchJars(root string, copyTo func(ctx context.Context, dir string) error) (string, error) {
	final := filepath.Join(root, "kafka-"+kafkaVersion)
	if isDir(final) {
		return final, nil
	}
	fail := func(err error) (string, error) {
		return "", fmt.Errorf("%w: fetching its jars into %s: %w", errUnavailable, final, err)
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return fail(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), jarsTimeout)
	defer cancel()
	unlock, err := lockFile(ctx, final+".lock")
	if err != nil {
		return fail(err)
	}
	defer unlock()
	if isDir(final) {
		return final, nil
	}
	if lockExcludes {
		// Whoever made these did not live to rename them.
		stale, _ := filepath.Glob(final + ".tmp-*")
		for _, dir := range stale {
			_ = os.RemoveAll(dir)
		}
	}
	tmp, err := os.MkdirTemp(root, filepath.Base(final)+".tmp-*")
	if err != nil {
		return fail(err)
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	if err := os.Chmod(tmp, 0o755); err != nil {
		return fail(err)
	}
	if err := copyTo(ctx, tmp); err != nil {
		return fail(err)
	}
	if err := os.Rename(tmp, final); err != nil && !isDir(final) {
		return fail(err)
	}
	return final, nil
}

// mvnCopy has mvn copy the jars which pom.xml names, and those they need, into
// dir.
func mvnCopy(ctx context.Context, dir string) error {
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return err
	}
	project, err := os.MkdirTemp("", "kafkatest-pom-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(project) }()
	if err := os.WriteFile(filepath.Join(project, "pom.xml"), pom, 0o644); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, mvn, "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory="+dir)
	cmd.Dir = project
	cmd.WaitDelay = time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("mvn dependency:copy-dependencies: %w\n%s", err, lastBytes(out, tailBytes))
	}
	return nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode()&fs.ModeDir != 0
}

func lastBytes(b []byte, n int) []byte {
	if len(b) > n {
		return b[len(b)-n:]
	}
	return b
}
