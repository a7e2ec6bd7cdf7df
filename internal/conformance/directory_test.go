package conformance

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/globaltable"
)

func directoryRows() []row {
	const oc, sd = "OffsetCheckpointTest.", "StateDirectoryTest."
	const noFile = "There is no checkpoint file: positions are written with the rows, in one step."
	return []row{
		{ID: "OC1", Kafka: oc + "testReadWrite", Verdict: skip, Ours: noFile},
		{ID: "OC2", Kafka: oc + "shouldNotWriteCheckpointWhenNoOffsets", Verdict: skip, Ours: noFile},
		{ID: "OC3", Kafka: oc + "shouldDeleteExistingCheckpointWhenNoOffsets", Verdict: skip, Ours: noFile},
		{ID: "OC4", Kafka: oc + "shouldSkipInvalidOffsetsDuringRead", Verdict: skip, Ours: noFile},
		{ID: "OC5", Kafka: oc + "shouldReadAndWriteSentinelOffset", Verdict: skip, Ours: noFile},
		{ID: "OC6", Kafka: oc + "shouldThrowOnInvalidOffsetInWrite", Verdict: skip, Ours: noFile},
		{ID: "OC7", Kafka: oc + "shouldThrowIOExceptionWhenWritingToNotExistedFile", Verdict: skip, Ours: noFile},
		{ID: "SD1", Kafka: sd + "shouldCreateBaseDirectory, shouldCreateDirectoriesIfParentDoesntExist", Verdict: match, Ours: "The directory is made, with its parents.", Test: directoriesAreMade, Red: directoriesAreNotMade()},
		{ID: "SD2", Kafka: sd + "shouldHaveSecurePermissions", Verdict: match, Ours: "A directory that is made is for its owner, and may be read by its group: rwxr-x---.", Test: directoriesArePrivate, Red: change("internal/store/root.go", "const dirMode = 0o750", "const dirMode = 0o777")},
		{ID: "SD3", Kafka: sd + "shouldCleanupAllTaskDirectoriesIncludingGlobalOne", Verdict: other, Ours: "globaltable.Remove deletes the table's files, and the directory if it is empty then.", Test: removeDeletesTheTable, Red: removeLeavesFiles()},
		{ID: "SD4", Kafka: sd + "shouldNotCreateGlobalStateDirectory, shouldNotCreateBaseDirectory", Verdict: match, Ours: "A table in memory makes no directory.", Test: memoryLeavesNothing, Red: memoryIsOnDisk()},
		{ID: "SD5", Kafka: sd + "shouldThrowProcessorStateException{, IfStateDirOccupied, IfTestDirOccupied}", Verdict: match, Ours: "A directory that is a file, or holds something else, is an error of Open, and is left as it is.", Test: occupiedDirectoriesAreRefused, Red: change("internal/store/root.go", "\tif foreign != \"\" {", "\tif false {")},
		{ID: "SD6", Kafka: sd + "shouldNotLockStateDirLockedByAnotherThread, shouldNotUnLock…, shouldBeTrueIfAlreadyHoldsLock, shouldBeAbleToUnlockEvenWithoutLocking, shouldLockMultipleTaskDirectories", Verdict: other, Ours: "One lock for each directory: who comes second is refused, or waits for LockWait; Close gives it back.", Test: directoriesAreLocked, Red: locksAreNotTold()},
		{ID: "SD7", Kafka: sd + "shouldLogTempDirMessage", Verdict: match, Ours: "A table whose directory lies in one that the system clears logs a warning.", Test: temporaryDirectoriesAreWarnedOf, Red: change("globaltable/table.go", "cfg.dir, os.TempDir()); err == nil", "cfg.dir, os.TempDir()); err != nil")},
		{ID: "SD8", Kafka: sd + "shouldDeleteAppDirWhenCleanUpIfEmpty, shouldNotDeleteAppDirWhenCleanUpIfNotEmpty, shouldNotRemoveNonTaskDirectoriesAndFiles", Verdict: other, Ours: "Remove leaves files that are not the table's, and then the directory too.", Test: removeLeavesForeignFiles, Red: removeTakesForeignFiles()},
		{ID: "SD9", Kafka: sd + "shouldNotFailWhenCreatingTaskDirectoryInParallel", Verdict: match, Ours: "Tables may be opened at once below a directory that is not there yet.", Test: directoriesAreMadeAtOnce, Red: directoriesAreNotMade()},
		{ID: "SD10", Kafka: sd + "shouldPersistProcessIdAcrossRestart and others", Verdict: skip, Ours: "A process needs no identity: the table has no group."},
		{ID: "SD11", Kafka: sd + "the others, some 25", Verdict: skip, Ours: "They are about tasks: their ids, their cleaner thread, and listing them."},
	}
}

func temporaryDirectoriesAreWarnedOf(t *testing.T) {
	w := fake(t, 1)
	warned := func(dir string) bool {
		var log bytes.Buffer
		tb, err := globaltable.Open(w.topic, codec.String(), codec.String(), w.opts(globaltable.Dir(dir), globaltable.Logger(slog.New(slog.NewTextHandler(&log, nil))))...)
		require.NoError(t, err)
		require.NoError(t, tb.Close())
		require.NoError(t, globaltable.Remove(dir))
		return strings.Contains(log.String(), "level=WARN") && strings.Contains(log.String(), os.TempDir())
	}
	t.Setenv("TMPDIR", t.TempDir()) // what the system says on Unix
	t.Setenv("TMP", os.Getenv("TMPDIR"))
	require.True(t, warned(filepath.Join(os.TempDir(), "table")))
	require.False(t, warned(os.TempDir()+"-other"))
}

func deep(t *testing.T) string { return filepath.Join(t.TempDir(), "deep", "er", "table") }

func directoriesAreMade(t *testing.T) {
	w := fake(t, 1)
	dir := deep(t)
	w.put("a=1")
	r := w.ready(globaltable.Dir(dir))
	require.DirExists(t, dir)
	w.holds(r)
}

func directoriesArePrivate(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no such permissions")
	}
	w := fake(t, 1)
	dir := deep(t)
	w.ready(globaltable.Dir(dir)).stop()
	for d := dir; filepath.Base(d) != "deep"; d = filepath.Dir(d) {
		info, err := os.Stat(d)
		require.NoError(t, err)
		require.EqualValues(t, 0o750, info.Mode().Perm(), d)
	}
}

func removeDeletesTheTable(t *testing.T) {
	w := fake(t, 1)
	neighbour := w.beside()
	parent := t.TempDir()
	dir, next := filepath.Join(parent, "one"), filepath.Join(parent, "two")
	w.put("a=1")
	neighbour.put("b=2")
	r, n := w.ready(globaltable.Dir(dir)), neighbour.ready(globaltable.Dir(next))
	require.ErrorIs(t, globaltable.Remove(dir), globaltable.ErrLocked, "not while it is open")
	r.stop()
	require.NoError(t, globaltable.Remove(dir))
	require.NoDirExists(t, dir)
	require.NoError(t, globaltable.Remove(dir), "one that is not there")
	neighbour.holds(n)
	r = w.ready(globaltable.Dir(dir))
	require.Equal(t, globaltable.Bootstrapped, r.Stats().Decision)
	w.holds(r)
}

func removeLeavesForeignFiles(t *testing.T) {
	w := fake(t, 1)
	dir := filepath.Join(t.TempDir(), "table")
	w.ready(globaltable.Dir(dir)).stop()
	mine := filepath.Join(dir, "mine.txt")
	require.NoError(t, os.WriteFile(mine, []byte("dear"), 0o600))
	require.NoError(t, globaltable.Remove(dir))
	b, err := os.ReadFile(mine)
	require.NoError(t, err)
	require.Equal(t, "dear", string(b))
	names, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, names, 1)
	var foreign *globaltable.NotATableError
	require.ErrorAs(t, globaltable.Remove(dir), &foreign)
	require.FileExists(t, mine)
}

func occupiedDirectoriesAreRefused(t *testing.T) {
	w := fake(t, 1)
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte("dear"), 0o600))
	open := func(dir string) error {
		tb, err := globaltable.Open(w.topic, codec.String(), codec.String(), w.opts(globaltable.Dir(dir))...)
		if err == nil {
			require.NoError(t, tb.Close())
		}
		return err
	}
	require.ErrorContains(t, open(file), "it is a file")
	require.Error(t, open(filepath.Join(file, "below")))
	var foreign *globaltable.NotATableError
	require.ErrorAs(t, open(filepath.Dir(file)), &foreign)
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "dear", string(b))
}

func directoriesAreLocked(t *testing.T) {
	w := fake(t, 1)
	first, second := t.TempDir(), t.TempDir()
	r := w.ready(globaltable.Dir(first))
	_, err := globaltable.Open(w.topic, codec.String(), codec.String(), w.opts(globaltable.Dir(first))...)
	require.ErrorIs(t, err, globaltable.ErrLocked)
	w.ready(globaltable.Dir(second)) // another directory has another lock
	_, err = globaltable.Open(w.topic, codec.String(), codec.String(), w.opts(globaltable.Dir(second))...)
	require.ErrorIs(t, err, globaltable.ErrLocked)

	type opened struct {
		tb  *table
		err error
	}
	waits := make(chan opened, 1)
	go func() {
		tb, err := globaltable.Open(w.topic, codec.String(), codec.String(), w.opts(globaltable.Dir(first), globaltable.LockWait(time.Minute))...)
		waits <- opened{tb, err}
	}()
	r.stop()
	o := <-waits
	require.NoError(t, o.err)
	require.NoError(t, o.tb.Close())
	require.NoError(t, r.Close(), "to close again gives nobody's lock back")
}

func directoriesAreMadeAtOnce(t *testing.T) {
	parent := deep(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			tb, err := globaltable.Open("devices", codec.String(), codec.String(), globaltable.Brokers(nowhere), globaltable.Dir(filepath.Join(parent, string(rune('a'+i)))))
			if err != nil {
				t.Error(err)
				return
			}
			if err := tb.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	names, err := os.ReadDir(parent)
	require.NoError(t, err)
	require.Len(t, names, 8)
}
