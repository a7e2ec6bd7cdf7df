package store

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"
)

func TestOpenRootRefuses(t *testing.T) {
	fs := vfs.NewMem()
	require.NoError(t, open(t, fs).Close())
	t.Run("another topic's table", func(t *testing.T) {
		before := string(readFile(t, fs, "/t/TABLE"))
		_, err := OpenRoot(Options{FS: fs, Dir: "/t", Topic: "rooms"})
		var e *WrongTableError
		require.ErrorAs(t, err, &e)
		require.Equal(t, WrongTableError{"/t", "devices", "rooms"}, *e)
		require.Equal(t, before, string(readFile(t, fs, "/t/TABLE")))
	})
	t.Run("newer format", func(t *testing.T) {
		const content = `{"format":2,"topic":"devices","future":true}`
		require.NoError(t, fs.MkdirAll("/new/gen-000007", dirMode))
		require.NoError(t, writeFile(fs, "/new/TABLE", []byte(content)))
		require.NoError(t, writeFile(fs, "/new/gen-000007/x", []byte("x")))
		require.NoError(t, writeFile(fs, "/new/FUTURE", []byte("y")))
		_, err := OpenRoot(Options{FS: fs, Dir: "/new", Topic: "devices"})
		var e *NewerFormatError
		require.ErrorAs(t, err, &e)
		require.Equal(t, NewerFormatError{"/new", 2, 1}, *e)
		require.ElementsMatch(t, []string{"LOCK", "TABLE", "FUTURE", "gen-000007"}, list(t, fs, "/new"))
		require.Equal(t, content, string(readFile(t, fs, "/new/TABLE")))
		require.Equal(t, "x", string(readFile(t, fs, "/new/gen-000007/x")))
	})
	t.Run("other files", func(t *testing.T) {
		require.NoError(t, fs.MkdirAll("/other", dirMode))
		require.NoError(t, writeFile(fs, "/other/precious.txt", []byte("x")))
		_, err := OpenRoot(Options{FS: fs, Dir: "/other", Topic: "devices"})
		var e *NotATableError
		require.ErrorAs(t, err, &e)
		require.Equal(t, "precious.txt", e.Found)
		require.Equal(t, []string{"precious.txt"}, list(t, fs, "/other"))
	})
	t.Run("a file", func(t *testing.T) {
		require.NoError(t, writeFile(fs, "/file", []byte("x")))
		for _, dir := range []string{"/file", "/file/below"} {
			_, err := OpenRoot(Options{FS: fs, Dir: dir, Topic: "devices"})
			require.ErrorContains(t, err, dir)
		}
	})
	t.Run("no directory or no topic", func(t *testing.T) {
		_, err := OpenRoot(Options{FS: fs, Topic: "devices"})
		require.ErrorContains(t, err, "directory")
		_, err = OpenRoot(Options{FS: fs, Dir: "/y"})
		require.ErrorContains(t, err, "topic")
		_, err = fs.Stat("/y")
		require.Error(t, err)
	})
}

// TestNewDirectoryIsDurable makes a directory with its parents and crashes.
func TestNewDirectoryIsDurable(t *testing.T) {
	fs := vfs.NewCrashableMem()
	o := testOptions(fs)
	o.Dir = "/a/b/c"
	r := openWith(t, o)
	crashed := fs.CrashClone(vfs.CrashCloneCfg{})
	require.Contains(t, list(t, crashed, "/a/b/c"), descriptorName)
	require.NoError(t, r.Close())
}

// TestNewDirectoryAfterACrash: a disk's own directory and what a crash leaves of
// a first open are no foreign files.
func TestNewDirectoryAfterACrash(t *testing.T) {
	fs := vfs.NewMem()
	require.NoError(t, fs.MkdirAll("/t/lost+found", dirMode))
	require.NoError(t, writeFile(fs, "/t/LOCK", nil))
	require.NoError(t, writeFile(fs, "/t/TABLE.tmp", []byte("{")))
	r := open(t, fs)
	cur, err := r.Current()
	require.NoError(t, err)
	require.Nil(t, cur)
	b, err := r.Building()
	require.NoError(t, err)
	require.Nil(t, b)
	require.NoError(t, r.DropCurrent(), "there is nothing to drop")
	require.NoError(t, r.DropBuilding())
}

func TestGenerationIsBuiltBesideAndSwapped(t *testing.T) {
	fs := vfs.NewMem()
	r := open(t, fs)
	g1 := create(t, r)
	put(t, g1, 1, "old", "1")
	require.Same(t, g1, current(t, r), "the first one answers at once")
	g2 := create(t, r)
	put(t, g2, 1, "new", "2")
	require.Same(t, g1, current(t, r), "the old one answers meanwhile")
	require.ErrorContains(t, r.Promote(g1), "not the one being built")
	require.NoError(t, r.Close())

	// The one being built is still there after a restart, beside the other.
	r = open(t, fs)
	g1 = current(t, r)
	require.Equal(t, map[string]string{"old": "1"}, rows(t, g1))
	g2, err := r.Building()
	require.NoError(t, err)
	require.Equal(t, map[string]string{"new": "2"}, rows(t, g2))
	require.NoError(t, r.Promote(g2))
	require.Same(t, g2, current(t, r))
	require.ErrorContains(t, r.Promote(g2), "not the one being built")
	require.Equal(t, map[string]string{"old": "1"}, rows(t, g1), "until it is discarded")
	require.NoError(t, r.Discard(g1))
	require.NoError(t, r.Close())

	r = open(t, fs)
	require.Equal(t, map[string]string{"new": "2"}, rows(t, current(t, r)))
	b, err := r.Building()
	require.NoError(t, err)
	require.Nil(t, b)
	require.ElementsMatch(t, []string{"LOCK", "TABLE", "gen-000002"}, list(t, fs, "/t"))
}

// TestPromoteIsDurable crashes right after it.
func TestPromoteIsDurable(t *testing.T) {
	fs := vfs.NewCrashableMem()
	r := open(t, fs)
	put(t, create(t, r), 1, "a", "old")
	g2 := create(t, r)
	put(t, g2, 1, "a", "new")
	require.NoError(t, r.Promote(g2))
	crashed := open(t, fs.CrashClone(vfs.CrashCloneCfg{}))
	require.Equal(t, map[string]string{"a": "new"}, rows(t, current(t, crashed)))
}

func TestCreateDiscardsTheOneBeingBuilt(t *testing.T) {
	for _, reopened := range []bool{false, true} {
		for _, dropped := range []bool{false, true} {
			t.Run(fmt.Sprint(reopened, " ", dropped), func(t *testing.T) {
				fs := vfs.NewMem()
				r := open(t, fs)
				create(t, r)
				g2 := create(t, r)
				if reopened {
					require.NoError(t, r.Close())
					r = open(t, fs)
				}
				want := []string{"LOCK", "TABLE", "gen-000001", "gen-000003"}
				if dropped {
					require.NoError(t, r.DropCurrent())
					want = slices.DeleteFunc(want, func(n string) bool { return n == "gen-000001" })
				}
				g3 := create(t, r)
				require.Equal(t, uint64(3), g3.Number())
				require.ErrorIs(t, g2.Flush(), ErrClosed)
				require.ElementsMatch(t, want, list(t, fs, "/t"))
				b, err := r.Building()
				require.NoError(t, err)
				if dropped {
					require.Nil(t, b)
					require.Same(t, g3, current(t, r))
				} else {
					require.Same(t, g3, b)
				}
			})
		}
	}
}

func TestDiscardedGenerationsAreGone(t *testing.T) {
	for name, drop := range map[string]func(r *Root, cur, building *Generation) error{
		"discard": func(r *Root, cur, building *Generation) error {
			if err := r.Discard(cur); err != nil {
				return err
			}
			return r.Discard(building)
		},
		"drop": func(r *Root, _, _ *Generation) error {
			if err := r.DropCurrent(); err != nil {
				return err
			}
			return r.DropBuilding()
		},
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			r := open(t, fs)
			cur, building := create(t, r), create(t, r)
			s, err := cur.NewSnapshot()
			require.NoError(t, err)
			require.NoError(t, drop(r, cur, building))
			s.Close()
			for _, g := range []*Generation{cur, building} {
				_, _, err := g.Get([]byte("a"))
				require.ErrorIs(t, err, ErrClosed, "an open one is closed first")
			}
			require.ElementsMatch(t, []string{"LOCK", "TABLE"}, list(t, fs, "/t"))
			require.NoError(t, r.Discard(cur), "a second time does no harm")
			require.NoError(t, r.Close())
			r = open(t, fs)
			g, err := r.Current()
			require.NoError(t, err)
			require.Nil(t, g)
			require.Equal(t, uint64(3), create(t, r).Number(), "numbers grow, also over a restart")
		})
	}
}

// TestDiscardFreesSpaceOnAFullDisk cannot write the descriptor before the files
// are gone.
func TestDiscardFreesSpaceOnAFullDisk(t *testing.T) {
	fs := vfs.NewMem()
	var full, never atomic.Bool
	r := open(t, inject(fs, func(op errorfs.Op) error {
		if op.Kind == errorfs.OpRemoveAll {
			full.Store(false)
		}
		if (full.Load() || never.Load()) && op.Kind == errorfs.OpFileWrite && strings.HasSuffix(op.Path, tmpName) {
			return syscall.ENOSPC
		}
		return nil
	}))
	create(t, r)
	g2 := create(t, r)
	full.Store(true)
	require.NoError(t, r.Discard(g2))
	require.NotContains(t, string(readFile(t, fs, "/t/TABLE")), "building")

	g3 := create(t, r)
	never.Store(true)
	var w *WriteError
	require.ErrorAs(t, r.Discard(g3), &w)
	require.NotContains(t, list(t, fs, "/t"), "gen-000003", "the files are gone all the same")
	b, err := r.Building()
	require.NoError(t, err)
	require.Nil(t, b)
	require.NoError(t, r.Close())
	r = open(t, fs)
	_, err = r.Building()
	require.ErrorIs(t, err, ErrCorrupt, "the descriptor still names it")
	require.NoError(t, r.DropBuilding())
	b, err = r.Building()
	require.NoError(t, err)
	require.Nil(t, b)
}

// TestFailedPromoteChangesNothing fails it at the flush and at the descriptor.
func TestFailedPromoteChangesNothing(t *testing.T) {
	for _, suffix := range []string{".sst", tmpName} {
		fs := vfs.NewMem()
		var full atomic.Bool
		r := open(t, inject(fs, func(op errorfs.Op) error {
			if full.Load() && op.Kind == errorfs.OpFileWrite && strings.HasSuffix(op.Path, suffix) {
				return syscall.ENOSPC
			}
			return nil
		}))
		g1 := create(t, r)
		put(t, g1, 0, "a", "old")
		require.NoError(t, g1.Flush())
		g2 := create(t, r)
		put(t, g2, 0, "a", "new")
		full.Store(true)
		var w *WriteError
		require.ErrorAs(t, r.Promote(g2), &w)
		require.Same(t, g1, current(t, r))
		b, err := r.Building()
		require.NoError(t, err)
		require.Same(t, g2, b)
		full.Store(false)
		if suffix == tmpName {
			require.NoError(t, r.Promote(g2), "it can be tried again")
		}
		_ = r.Close()
		want := "old"
		if suffix == tmpName {
			want = "new"
		}
		require.Equal(t, map[string]string{"a": want}, rows(t, current(t, open(t, fs))))
	}
}

// TestCreateWhoseDescriptorIsInDoubt: the new descriptor is in place and the
// directory could not be synced. Whichever is found later, it opens.
func TestCreateWhoseDescriptorIsInDoubt(t *testing.T) {
	fs := vfs.NewMem()
	var broken atomic.Bool
	r := open(t, inject(fs, func(op errorfs.Op) error {
		if broken.Load() && op.Kind == errorfs.OpOpenDir && filepath.ToSlash(op.Path) == "/t" {
			if strings.Contains(string(readFile(t, fs, "/t/TABLE")), `"building":2`) {
				return syscall.EIO
			}
		}
		return nil
	}))
	create(t, r)
	broken.Store(true)
	_, err := r.Create(Identity{Topic: "devices"})
	require.ErrorIs(t, err, syscall.EIO)
	b, err := r.Building()
	require.NoError(t, err)
	require.Nil(t, b)
	require.NoError(t, r.Close())
	r = open(t, fs)
	b, err = r.Building()
	require.NoError(t, err)
	require.Equal(t, uint64(2), b.Number())
	require.Empty(t, rows(t, b))
}

func TestOrphanedGenerationsAreRemoved(t *testing.T) {
	fs := vfs.NewMem()
	r := open(t, fs)
	put(t, create(t, r), 1, "a", "1")
	require.NoError(t, r.Close())
	for _, dir := range []string{"gen-000007", "gen-000099", "gen-notes", "other"} {
		require.NoError(t, fs.MkdirAll("/t/"+dir, dirMode))
		require.NoError(t, writeFile(fs, "/t/"+dir+"/x.sst", []byte("x")))
	}
	// One cannot be deleted now: that must neither keep the table from opening
	// nor meet a new generation later.
	r = open(t, inject(fs, func(op errorfs.Op) error {
		if op.Kind == errorfs.OpRemoveAll && strings.HasSuffix(op.Path, "gen-000099") {
			return syscall.EBUSY
		}
		return nil
	}))
	require.ElementsMatch(t, []string{"LOCK", "TABLE", "gen-000001", "gen-000099", "gen-notes", "other"}, list(t, fs, "/t"))
	require.Equal(t, map[string]string{"a": "1"}, rows(t, current(t, r)))
	require.Equal(t, uint64(100), create(t, r).Number())
	require.NoError(t, r.Close())
	require.NoError(t, open(t, fs).Close())
	require.NotContains(t, list(t, fs, "/t"), "gen-000099")
}

func TestClosedRootIsAnErrorEverywhere(t *testing.T) {
	fs := vfs.NewMem()
	r := open(t, fs)
	g1, g2 := create(t, r), create(t, r)
	require.NoError(t, r.Close())
	before := string(readFile(t, fs, "/t/TABLE"))
	_, err := r.Current()
	require.ErrorIs(t, err, ErrClosed)
	_, err = r.Building()
	require.ErrorIs(t, err, ErrClosed)
	_, err = r.Create(Identity{})
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorIs(t, r.Promote(g2), ErrClosed)
	require.ErrorIs(t, r.Discard(g1), ErrClosed)
	require.ErrorIs(t, r.DropCurrent(), ErrClosed)
	require.ErrorIs(t, r.DropBuilding(), ErrClosed)
	require.Equal(t, before, string(readFile(t, fs, "/t/TABLE")), "without the lock nothing is written")
	require.Contains(t, list(t, fs, "/t"), "gen-000001")
}

// TestCloseWaitsForADiscard: the lock is not given back while files are deleted.
func TestCloseWaitsForADiscard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		r, err := OpenRoot(testOptions(fs))
		require.NoError(t, err)
		g := create(t, r)
		put(t, g, 0, "a", "1")
		view, ok, err := g.Get([]byte("a"))
		require.NoError(t, err)
		require.True(t, ok)
		discarded, closed := make(chan error, 1), make(chan error, 2)
		go func() { discarded <- r.Discard(g) }()
		synctest.Wait()
		require.Empty(t, discarded, "a reader is in")
		for range 2 {
			go func() { closed <- r.Close() }()
		}
		synctest.Wait()
		require.Empty(t, closed, "neither the first Close nor the second returns early")
		_, err = OpenRoot(testOptions(fs))
		require.ErrorIs(t, err, ErrLocked)
		require.Equal(t, "1", string(view.Value), "the row stays readable")
		view.Close()
		require.NoError(t, <-discarded)
		require.NoError(t, <-closed)
		require.NoError(t, <-closed)
		require.ElementsMatch(t, []string{"LOCK", "TABLE"}, list(t, fs, "/t"))
	})
}

// TestCloseWaitsForACreate closes the root while a generation's files are made.
func TestCloseWaitsForACreate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		fs, reached, release, hang := blockFS(mem)
		r, err := OpenRoot(testOptions(fs))
		require.NoError(t, err)
		create(t, r)
		hang.Store(true)
		created, closed := make(chan error, 1), make(chan error, 1)
		go func() {
			g, err := r.Create(Identity{Topic: "devices"})
			if err == nil {
				err = g.Flush()
			}
			created <- err
		}()
		<-reached
		go func() { closed <- r.Close() }()
		synctest.Wait()
		require.Empty(t, closed)
		close(release)
		require.NoError(t, <-closed)
		if err := <-created; err != nil {
			require.ErrorIs(t, err, ErrClosed)
		}
		r, err = OpenRoot(testOptions(mem))
		require.NoError(t, err)
		b, err := r.Building()
		require.NoError(t, err)
		require.Equal(t, uint64(2), b.Number())
		require.NoError(t, r.Close())
	})
}

// TestGenerationsChangeUnderReaders builds, promotes and discards generations
// while readers use whichever is current. Each answers with its own rows or is
// closed, and nothing else.
func TestGenerationsChangeUnderReaders(t *testing.T) {
	fs := vfs.NewMem()
	r := open(t, fs)
	fill := func(g *Generation) {
		for i := range 50 {
			put(t, g, int64(i), fmt.Sprint("k", i), fmt.Sprint(g.Number()))
		}
	}
	g := create(t, r)
	fill(g)
	var cur atomic.Pointer[Generation]
	cur.Store(g)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	var reads atomic.Int64
	for i := range 3 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := readOnce(cur.Load(), i); err != nil && !errors.Is(err, ErrClosed) {
					t.Error(err)
					return
				}
				reads.Add(1)
			}
		})
	}
	for range 10 {
		next := create(t, r)
		fill(next)
		require.NoError(t, r.Promote(next))
		old := cur.Swap(next)
		require.NoError(t, r.Discard(old))
	}
	close(stop)
	readers.Wait()
	require.Positive(t, reads.Load())
	require.ElementsMatch(t, []string{"LOCK", "TABLE", "gen-000011"}, list(t, fs, "/t"))
}

// readOnce reads a generation in one of three ways, and expects its 50 rows.
func readOnce(g *Generation, how int) error {
	want := fmt.Sprint(g.Number())
	switch how {
	case 0:
		v, ok, err := g.Get([]byte("k7"))
		if err != nil {
			return err
		}
		defer v.Close()
		if !ok || string(v.Value) != want {
			return fmt.Errorf("generation %s has %v %s", want, ok, v.Value)
		}
		return nil
	case 1:
		return g.GetMany([][]byte{[]byte("k1"), []byte("k2")}, func(_ int, r *Row, ok bool) error {
			if !ok || string(r.Value) != want {
				return fmt.Errorf("generation %s has %v %s", want, ok, r.Value)
			}
			return nil
		})
	}
	m, err := scanAll(g)
	if err == nil && len(m) != 50 {
		err = fmt.Errorf("generation %s has %d rows", want, len(m))
	}
	return err
}

// TestChangesOfTheDirectoryAtTheSameTime is for the race detector.
func TestChangesOfTheDirectoryAtTheSameTime(t *testing.T) {
	fs := vfs.NewMem()
	r := open(t, fs)
	create(t, r)
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			for range 5 {
				if _, err := r.Create(Identity{Topic: "devices"}); err != nil {
					t.Error(err)
				}
				if _, err := r.Building(); err != nil {
					t.Error(err)
				}
				if err := r.DropBuilding(); err != nil {
					t.Error(err)
				}
				if err := r.DropCurrent(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	require.NoError(t, r.DropCurrent())
	require.NoError(t, r.DropBuilding())
	require.ElementsMatch(t, []string{"LOCK", "TABLE"}, list(t, fs, "/t"))
}
