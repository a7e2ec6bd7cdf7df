package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"
)

var errNoSpace = errors.New("no space left on device")

// failNth returns an injector that fails the nth operation that match lets
// through, and all later ones if lasting is set.
func failNth(n int32, lasting bool, match func(op errorfs.Op) bool) func(op errorfs.Op) error {
	var seen atomic.Int32
	return func(op errorfs.Op) error {
		if match(op) {
			if i := seen.Add(1); i == n || lasting && i > n {
				return errNoSpace
			}
		}
		return nil
	}
}

func isWrite(op errorfs.Op) bool { return op.Kind.ReadOrWrite() == errorfs.OpIsWrite }

// TestFailedWriteKeepsTheDurablePrefix fails the nth write of each kind, once or
// from then on. Applying and flushing must end with a *WriteError instead of
// hanging, Close must return, and the reopened store must hold what its
// positions say.
func TestFailedWriteKeepsTheDurablePrefix(t *testing.T) {
	kinds := map[string]errorfs.OpKind{
		"create": errorfs.OpCreate, "write": errorfs.OpFileWrite, "sync": errorfs.OpFileSync,
		"syncdata": errorfs.OpFileSyncData,
	}
	for name, kind := range kinds {
		for _, n := range []int32{1, 2, 3, 5, 8} {
			for _, lasting := range []bool{false, true} {
				t.Run(fmt.Sprint(name, " ", n, " ", lasting), func(t *testing.T) {
					h := randomHistory(rand.New(rand.NewPCG(uint64(n), 3)), 200)
					var on atomic.Bool
					fail := failNth(n, lasting, func(op errorfs.Op) bool { return on.Load() && op.Kind == kind })
					mem := vfs.NewMem()
					r := open(t, inject(mem, fail))
					g := create(t, r)
					for i := range 10 {
						require.NoError(t, h.apply(g, i, false))
					}
					require.NoError(t, g.Flush())
					on.Store(true)
					var err error
					for i := 10; err == nil && i < len(h); i++ {
						if err = h.apply(g, i, false); err == nil && i%8 == 0 {
							err = g.Flush()
						}
					}
					require.ErrorIs(t, err, errNoSpace)
					var w *WriteError
					require.ErrorAs(t, err, &w)
					<-g.Failed()
					require.ErrorIs(t, g.Err(), errNoSpace)
					require.ErrorIs(t, g.Apply(nil, g.State()), errNoSpace)
					require.ErrorIs(t, g.Flush(), errNoSpace)
					require.ErrorIs(t, r.Close(), errNoSpace)

					next := h.requirePrefix(t, current(t, open(t, mem)))
					require.GreaterOrEqual(t, next, 10)
				})
			}
		}
	}
}

// TestFailedWriteInATablesLife fails each single write of a table's life in
// turn, once or from then on: it ends with a *WriteError or does not notice, and
// leaves a directory that opens.
func TestFailedWriteInATablesLife(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 11))
	first, second := randomHistory(rng, 6), randomHistory(rng, 6)
	var writes int32
	var mu sync.Mutex
	require.NoError(t, lifecycle(testOptions(inject(vfs.NewMem(), func(op errorfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if isWrite(op) {
			writes++
		}
		return nil
	})), first, second))
	failed := 0
	for n := int32(1); n <= writes; n++ {
		for _, lasting := range []bool{false, true} {
			mem := vfs.NewMem()
			err := lifecycle(testOptions(inject(mem, failNth(n, lasting, isWrite))), first, second)
			if err != nil {
				failed++
				require.ErrorIs(t, err, errNoSpace, "write %d", n)
				require.NotErrorIs(t, err, ErrCorrupt, "write %d", n)
				var w *WriteError
				require.ErrorAs(t, err, &w, "write %d", n)
			}
			if _, serr := mem.Stat("/t"); serr != nil {
				continue // not even the directory could be made
			}
			requireUsable(t, mem, first, second, "write %d, %v: %v", n, lasting, err)
		}
	}
	require.Greater(t, failed, int(writes))
}

// TestFailedReadEndsNothing lets all reads fail for a while: reading is an error
// that is neither damage nor a failed write, and the same generation goes on.
func TestFailedReadEndsNothing(t *testing.T) {
	var on atomic.Bool
	mem := vfs.NewMem()
	o := testOptions(inject(mem, func(op errorfs.Op) error {
		if on.Load() && op.Kind == errorfs.OpFileReadAt {
			return syscall.EIO
		}
		return nil
	}))
	o.CacheBytes = 1
	h := randomHistory(rand.New(rand.NewPCG(5, 5)), 40)
	r := openWith(t, o)
	g := create(t, r)
	for i := range 20 {
		require.NoError(t, h.apply(g, i, false))
	}
	require.NoError(t, r.Close())
	r = openWith(t, o)
	g = current(t, r)
	on.Store(true)
	_, err := scanAll(g)
	require.ErrorIs(t, err, syscall.EIO)
	require.NotErrorIs(t, err, ErrCorrupt)
	_, _, err = g.Get([]byte("dev-1"))
	require.ErrorIs(t, err, syscall.EIO)
	_, _, _, err = g.Lookup([]byte("dev-1"))
	require.ErrorIs(t, err, syscall.EIO)
	require.ErrorIs(t, g.GetMany([][]byte{[]byte("dev-1")}, func(int, *Row, bool) error { return nil }), syscall.EIO)
	require.NoError(t, g.Err())
	on.Store(false)
	for i := 20; i < 40; i++ {
		require.NoError(t, h.apply(g, i, false))
	}
	h.requirePrefix(t, g)
	require.NoError(t, r.Close())
	require.Equal(t, 40, h.requirePrefix(t, current(t, open(t, mem))))
}

// TestWhatIsNoWriteDoesNotFailTheStore: deleting an old file, reserving space
// and asking for the free space are no promises to anybody.
func TestWhatIsNoWriteDoesNotFailTheStore(t *testing.T) {
	mem := vfs.NewMem()
	var on atomic.Bool
	r := open(t, inject(mem, func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpRemove, errorfs.OpFilePreallocate, errorfs.OpGetDiskUsage, errorfs.OpLink:
			if on.Load() {
				return errNoSpace
			}
		}
		return nil
	}))
	g := create(t, r)
	on.Store(true)
	h := randomHistory(rand.New(rand.NewPCG(6, 6)), 100)
	for i := range h {
		require.NoError(t, h.apply(g, i, false))
		if i%5 == 0 {
			require.NoError(t, g.Flush())
		}
	}
	require.NoError(t, r.Close())
	require.Equal(t, len(h), h.requirePrefix(t, current(t, open(t, mem))))
}

// TestFailFSByItself goes through its operations before and after the failure.
func TestFailFSByItself(t *testing.T) {
	mem := vfs.NewMem()
	require.NoError(t, mem.MkdirAll("/d", 0o750))
	var broken atomic.Bool
	fail := newFailure()
	fs := &failFS{fail: fail, FS: inject(mem, func(op errorfs.Op) error {
		if broken.Load() && isWrite(op) {
			return errNoSpace
		}
		return nil
	})}
	require.Same(t, mem, vfs.Root(fs))
	create := func(name string) vfs.File {
		f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
		require.NoError(t, err)
		return f
	}
	kept := create("/d/kept")
	_, err := kept.Write([]byte("kept"))
	require.NoError(t, err)
	_, err = fs.OpenReadWrite("/absent/x", vfs.WriteCategoryUnspecified)
	require.NoError(t, err, "it is swallowed")
	require.Error(t, fail.get(), "and remembered")

	fail = newFailure()
	fs.fail = fail
	broken.Store(true)
	require.ErrorIs(t, kept.Preallocate(0, 1<<20), errNoSpace, "Pebble may ask for space")
	require.ErrorIs(t, fs.Link("/d/kept", "/d/link"), errNoSpace, "and copies where there are no links")
	require.ErrorIs(t, fs.Remove("/d/kept"), errNoSpace)
	require.ErrorIs(t, fs.RemoveAll("/d/kept"), errNoSpace)
	require.NoError(t, fail.get())

	n, err := kept.Write([]byte("lost"))
	require.NoError(t, err)
	require.Equal(t, 4, n)
	var w *WriteError
	require.ErrorAs(t, fail.get(), &w)
	require.Equal(t, WriteError{Op: "write", Path: "/d/kept", Err: w.Err}, *w)

	// From here on nothing reaches the disk, also when it works again.
	broken.Store(false)
	for _, step := range []func() error{
		func() error { _, err := kept.Write([]byte("late")); return err },
		func() error { _, err := kept.WriteAt([]byte("late"), 0); return err },
		kept.Sync, kept.SyncData,
		func() error { _, err := kept.SyncTo(4); return err },
		func() error { return kept.Preallocate(0, 10) },
		func() error { return fs.Rename("/d/kept", "/d/renamed") },
		func() error { return fs.Link("/d/kept", "/d/link") },
		func() error { return fs.Remove("/d/kept") },
		func() error { return fs.RemoveAll("/d") },
		func() error {
			f := create("/d/new")
			_, err := f.Write([]byte("late"))
			return errors.Join(err, f.Sync(), f.Close())
		},
		func() error {
			f, err := fs.OpenReadWrite("/d/kept", vfs.WriteCategoryUnspecified)
			return errors.Join(err, f.Close())
		},
		func() error {
			f, err := fs.ReuseForWrite("/d/kept", "/d/reused", vfs.WriteCategoryUnspecified)
			return errors.Join(err, f.Close())
		},
		kept.Close,
	} {
		require.NoError(t, step())
	}
	require.Equal(t, []string{"kept"}, list(t, mem, "/d"))
	require.Equal(t, "kept", string(readFile(t, mem, "/d/kept")))
	require.ErrorAs(t, fail.get(), &w)
	require.Equal(t, "write", w.Op, "the first failure stays")
}

// TestEachOperationNamesItself breaks one operation after the other.
func TestEachOperationNamesItself(t *testing.T) {
	for op, do := range map[string]func(fs *failFS, f vfs.File){
		"create": func(fs *failFS, _ vfs.File) { _, _ = fs.Create("/d/new", vfs.WriteCategoryUnspecified) },
		"reuse": func(fs *failFS, _ vfs.File) {
			_, _ = fs.ReuseForWrite("/d/f", "/d/new", vfs.WriteCategoryUnspecified)
		},
		"rename": func(fs *failFS, _ vfs.File) { _ = fs.Rename("/d/f", "/d/new") },
		"make":   func(fs *failFS, _ vfs.File) { require.Error(t, fs.MkdirAll("/d/new", os.ModePerm)) },
		"lock":   func(fs *failFS, _ vfs.File) { _, err := fs.Lock("/d/LOCK"); require.Error(t, err) },
		"write":  func(_ *failFS, f vfs.File) { _, _ = f.WriteAt([]byte("x"), 0) },
		"sync":   func(_ *failFS, f vfs.File) { _, _ = f.SyncTo(1) },
	} {
		mem := vfs.NewMem()
		require.NoError(t, mem.MkdirAll("/d", 0o750))
		var broken atomic.Bool
		fs := &failFS{fail: newFailure(), FS: inject(mem, func(op errorfs.Op) error {
			if broken.Load() {
				return errNoSpace
			}
			return nil
		})}
		f, err := fs.Create("/d/f", vfs.WriteCategoryUnspecified)
		require.NoError(t, err)
		broken.Store(true)
		do(fs, f)
		var w *WriteError
		require.ErrorAs(t, fs.fail.get(), &w, op)
		require.Equal(t, op, w.Op)
		require.Contains(t, w.Path, "/d/")
		require.ErrorIs(t, w, errNoSpace)
	}
}

// quotaFS is a disk of a certain size: writing what does not fit writes a part
// of it and fails, deleting a file makes room.
type quotaFS struct {
	*vfs.MemFS
	mu   sync.Mutex
	left int
	used map[string]int
}

func newQuotaFS(size int) *quotaFS {
	return &quotaFS{MemFS: vfs.NewMem(), left: size, used: map[string]int{}}
}

func (q *quotaFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := q.MemFS.Create(name, c)
	if err != nil {
		return nil, err
	}
	q.free(name)
	return &quotaFile{File: f, q: q, name: name}, nil
}

// Link lets the new name pay for the file: the old one is removed next.
func (q *quotaFS) Link(oldname, newname string) error {
	q.mu.Lock()
	q.used[newname] += q.used[oldname]
	delete(q.used, oldname)
	q.mu.Unlock()
	return q.MemFS.Link(oldname, newname)
}

func (q *quotaFS) Remove(name string) error {
	q.free(name)
	return q.MemFS.Remove(name)
}

func (q *quotaFS) RemoveAll(dir string) error {
	for _, name := range func() []string { n, _ := q.List(dir); return n }() {
		q.free(q.PathJoin(dir, name))
	}
	return q.MemFS.RemoveAll(dir)
}

func (q *quotaFS) free(name string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.left += q.used[name]
	delete(q.used, name)
}

type quotaFile struct {
	vfs.File
	q    *quotaFS
	name string
}

func (f *quotaFile) Write(p []byte) (int, error) {
	f.q.mu.Lock()
	n := min(len(p), f.q.left)
	f.q.left -= n
	f.q.used[f.name] += n
	f.q.mu.Unlock()
	written, err := f.File.Write(p[:n])
	if err == nil && n < len(p) {
		err = &os.PathError{Op: "write", Path: f.name, Err: syscall.ENOSPC}
	}
	return written, err
}

// TestFullDisk fills a disk, frees some of it and goes on. It also fills it with
// a second generation: discarding that one makes room again.
func TestFullDisk(t *testing.T) {
	fs := newQuotaFS(3 << 20)
	r := open(t, fs)
	g := create(t, r)
	value := make([]byte, 2000)
	fill := func(g *Generation, from int) (err error) {
		for i := from; err == nil && i < 100_000; i++ {
			_, _ = rand.NewChaCha8([32]byte{byte(i), byte(i >> 8)}).Read(value) // never fails
			err = tryPut(g, int64(i), fmt.Sprint("k", i), string(value))
		}
		return err
	}
	for i := range 100 {
		put(t, g, int64(i), fmt.Sprint("k", i), "value")
	}
	require.NoError(t, g.Flush())

	building := create(t, r)
	err := fill(building, 0)
	var w *WriteError
	require.ErrorAs(t, err, &w)
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NoError(t, r.Discard(building), "that needs no room")
	require.NoError(t, g.Err(), "the generation that answers is not touched")
	put(t, g, 100, "k100", "value")
	require.NoError(t, g.Flush(), "and there is room again")
	require.Len(t, rows(t, g), 101)
	names := list(t, fs, "/t")
	require.NotContains(t, names, "gen-000002")

	err = fill(g, 101)
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.ErrorAs(t, r.Close(), &w)
	fs.mu.Lock()
	fs.left += 4 << 20
	fs.mu.Unlock()
	r = open(t, fs)
	g = current(t, r)
	next := int(g.State().Get(0).Next)
	require.GreaterOrEqual(t, next, 101)
	require.Len(t, rows(t, g), next)
	put(t, g, int64(next), "more", "value")
	require.NoError(t, r.Close())
}

// TestFullDiskOnCreateLeavesNothing: a rebuild that is tried again and again
// must not make it worse.
func TestFullDiskOnCreateLeavesNothing(t *testing.T) {
	fs := newQuotaFS(1 << 20)
	r := open(t, fs)
	put(t, create(t, r), 0, "a", "1")
	fs.mu.Lock()
	room := fs.left
	fs.left = 100
	fs.mu.Unlock()
	for range 3 {
		_, err := r.Create(Identity{Topic: "devices"})
		var w *WriteError
		require.ErrorAs(t, err, &w)
		require.ErrorIs(t, err, syscall.ENOSPC)
		require.ElementsMatch(t, []string{"LOCK", "TABLE", "gen-000001"}, list(t, fs, "/t"))
		require.Equal(t, 100, fs.left)
	}
	b, err := r.Building()
	require.NoError(t, err)
	require.Nil(t, b)
	fs.mu.Lock()
	fs.left = room
	fs.mu.Unlock()
	require.Equal(t, uint64(5), create(t, r).Number(), "no number is given twice")
}
