package kafkatest

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// copyOne stands for mvn and makes one jar.
func copyOne(_ context.Context, dir string) error {
	return os.WriteFile(filepath.Join(dir, "a.jar"), []byte("jar"), 0o644)
}

func TestPomNamesTheVersion(t *testing.T) {
	require.True(t, bytes.Contains(pom, []byte("<version>"+kafkaVersion+"</version>")))
}

func TestFetchJarsOnce(t *testing.T) {
	root := filepath.Join(t.TempDir(), "not", "there", "yet")
	dir, err := fetchJars(root, copyOne)
	require.NoError(t, err)
	require.Equal(t, filepath.Join(root, "kafka-4.3.1"), dir)
	require.FileExists(t, filepath.Join(dir, "a.jar"))

	again, err := fetchJars(root, func(context.Context, string) error {
		return errors.New("must not be fetched again")
	})
	require.NoError(t, err)
	require.Equal(t, dir, again)
}

func TestFetchJarsConcurrently(t *testing.T) {
	root := t.TempDir()
	var calls atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			dir, err := fetchJars(root, func(ctx context.Context, dir string) error {
				calls.Add(1)
				return copyOne(ctx, dir)
			})
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := os.Stat(filepath.Join(dir, "a.jar")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if lockExcludes {
		require.EqualValues(t, 1, calls.Load())
	}
	left, err := filepath.Glob(filepath.Join(root, "*.tmp-*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestFetchJarsFailureLeavesNothing(t *testing.T) {
	root := t.TempDir()
	cause := errors.New("no network")
	_, err := fetchJars(root, func(ctx context.Context, dir string) error {
		return errors.Join(copyOne(ctx, dir), cause)
	})
	require.ErrorIs(t, err, errUnavailable)
	require.ErrorIs(t, err, cause)
	require.NoDirExists(t, filepath.Join(root, "kafka-4.3.1"))
	left, err := filepath.Glob(filepath.Join(root, "*.tmp-*"))
	require.NoError(t, err)
	require.Empty(t, left)

	_, err = fetchJars(root, copyOne)
	require.NoError(t, err, "a later try is not held up by the failed one")
}

func TestFetchJarsRemovesWhatAKilledOneLeft(t *testing.T) {
	if !lockExcludes {
		t.Skip("without a lock another process may be at work there")
	}
	root := t.TempDir()
	stale := filepath.Join(root, "kafka-4.3.1.tmp-123")
	require.NoError(t, os.Mkdir(stale, 0o755))
	_, err := fetchJars(root, copyOne)
	require.NoError(t, err)
	require.NoDirExists(t, stale)
}

func TestFetchJarsWhereNothingCanBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	_, err := fetchJars(filepath.Join(file, "below"), copyOne)
	require.ErrorIs(t, err, errUnavailable)
}

func TestMvnCopyWithoutMvn(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	require.ErrorContains(t, mvnCopy(t.Context(), t.TempDir()), "mvn")
}

func TestLastBytes(t *testing.T) {
	require.Equal(t, "cd", string(lastBytes([]byte("abcd"), 2)))
	require.Equal(t, "ab", string(lastBytes([]byte("ab"), 2)))
}
