package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// open opens the root of a table of topic "devices" in /t.
func open(t *testing.T, fs vfs.FS) *Root {
	t.Helper()
	r, err := OpenRoot(Options{FS: fs, Dir: "/t", Topic: "devices", MemTableBytes: 256 << 10, CacheBytes: 4 << 20})
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func create(t *testing.T, r *Root) *Generation {
	t.Helper()
	g, err := r.Create(Identity{Topic: "devices"})
	require.NoError(t, err)
	return g
}

// put applies one row whose offset is off, and moves partition 0 behind it.
func put(t *testing.T, g *Generation, off int64, key, value string) {
	t.Helper()
	b := g.NewBatch()
	b.Put([]byte(key), &Row{Offset: off, Value: []byte(value)})
	s := g.State().Clone()
	p := s.At(0)
	p.Known, p.Next = true, off+1
	require.NoError(t, g.Apply(b, s))
}

func get(t *testing.T, g *Generation, key string) (string, bool) {
	t.Helper()
	v, ok, err := g.Get([]byte(key))
	require.NoError(t, err)
	if !ok {
		return "", false
	}
	defer v.Close()
	return string(v.Value), true
}

func rows(t *testing.T, g *Generation) map[string]string {
	t.Helper()
	s, err := g.NewSnapshot()
	require.NoError(t, err)
	defer s.Close()
	m := map[string]string{}
	require.NoError(t, s.Scan(nil, nil, func(k []byte, r *Row) bool {
		m[string(k)] = string(r.Value)
		return true
	}))
	return m
}

func TestRowsAndPositionsSurviveACleanClose(t *testing.T) {
	fs := vfs.NewMem()
	r := open(t, fs)
	g := create(t, r)
	put(t, g, 7, "a", "1")
	put(t, g, 8, "b", "")
	require.NoError(t, r.Close())
	require.NoError(t, r.Close(), "close is idempotent")
	_, _, err := g.Get([]byte("a"))
	require.ErrorIs(t, err, ErrClosed)

	g, err = open(t, fs).Current()
	require.NoError(t, err)
	require.Equal(t, map[string]string{"a": "1", "b": ""}, rows(t, g))
	require.Equal(t, int64(9), g.State().Get(0).Next)
	require.Equal(t, "devices", g.Identity().Topic)
}

// TestCrashLeavesAPrefix applies batches, some of them larger than a memtable,
// flushes now and then, takes the disk as a crash would leave it, and expects
// the rows to be those of exactly the batches below the stored position.
func TestCrashLeavesAPrefix(t *testing.T) {
	resumed := 0
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		fs := vfs.NewCrashableMem()
		r := open(t, fs)
		g := create(t, r)
		var history []map[string]string // content after each batch
		model := map[string]string{}
		crashAt := rng.IntN(40)
		var crashed *vfs.MemFS
		for i := range 40 {
			b := g.NewBatch()
			n := 1 + rng.IntN(20)
			size := 10
			if rng.IntN(5) == 0 {
				size = 200 << 10 / n
			}
			for range n {
				k := fmt.Sprint("k", rng.IntN(50))
				if rng.IntN(4) == 0 {
					b.Delete([]byte(k))
					delete(model, k)
					continue
				}
				v := fmt.Sprintf("%0*d", size, rng.IntN(1000))
				b.Put([]byte(k), &Row{Offset: int64(i), Value: []byte(v)})
				model[k] = v
			}
			s := g.State().Clone()
			s.At(0).Next = int64(i + 1)
			require.NoError(t, g.Apply(b, s))
			history = append(history, cloneMap(model))
			if rng.IntN(6) == 0 {
				require.NoError(t, g.Flush())
			}
			if i == crashAt {
				crashed = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rng})
			}
		}
		g2, err := open(t, crashed).Current()
		require.NoError(t, err, "seed %d", seed)
		next := g2.State().Get(0).Next
		want := map[string]string{}
		if next > 0 {
			want = history[next-1]
			resumed++
		}
		require.Equal(t, want, rows(t, g2), "seed %d, position %d", seed, next)
	}
	require.Positive(t, resumed, "no run had anything to resume from")
}

func cloneMap(m map[string]string) map[string]string {
	c := make(map[string]string, len(m))
	for k, v := range m {
		c[k] = v
	}
	return c
}

func TestUserKeyNeverReachesAnInternalRecord(t *testing.T) {
	g := create(t, open(t, vfs.NewMem()))
	keys := []string{"", "\x00", "\x00\x01", "\xff\xff\xff", "\x01", "__offset", "TABLE"}
	for i, k := range keys {
		put(t, g, int64(i), k, fmt.Sprint("v", i))
	}
	for i, k := range keys {
		v, ok := get(t, g, k)
		require.True(t, ok)
		require.Equal(t, fmt.Sprint("v", i), v)
	}
	require.Len(t, rows(t, g), len(keys))
	b := g.NewBatch()
	for _, k := range keys {
		b.Delete([]byte(k))
	}
	require.NoError(t, g.Apply(b, g.State().Clone()))
	require.Empty(t, rows(t, g))
	require.Equal(t, int64(len(keys)), g.State().Get(0).Next)
}

func TestDirectoryIsRefused(t *testing.T) {
	t.Run("in use", func(t *testing.T) {
		dir := t.TempDir()
		r, err := OpenRoot(Options{Dir: dir, Topic: "devices"})
		require.NoError(t, err)
		_, err = OpenRoot(Options{Dir: dir, Topic: "devices"})
		require.ErrorIs(t, err, ErrLocked)
		require.ErrorIs(t, Remove(nil, dir), ErrLocked)
		require.NoError(t, r.Close())
	})
	fs := vfs.NewMem()
	require.NoError(t, open(t, fs).Close())
	t.Run("another topic's table", func(t *testing.T) {
		_, err := OpenRoot(Options{FS: fs, Dir: "/t", Topic: "rooms"})
		var e *WrongTableError
		require.ErrorAs(t, err, &e)
		require.Equal(t, WrongTableError{"/t", "devices", "rooms"}, *e)
	})
	t.Run("newer format", func(t *testing.T) {
		require.NoError(t, fs.MkdirAll("/new", 0o750))
		require.NoError(t, writeFile(fs, "/new/TABLE", []byte(`{"format":2,"topic":"devices","future":true}`)))
		_, err := OpenRoot(Options{FS: fs, Dir: "/new", Topic: "devices"})
		var e *NewerFormatError
		require.ErrorAs(t, err, &e)
		names, err := fs.List("/new")
		require.NoError(t, err)
		slices.Sort(names)
		require.Equal(t, []string{"LOCK", "TABLE"}, names)
	})
	t.Run("other files", func(t *testing.T) {
		require.NoError(t, fs.MkdirAll("/other", 0o750))
		require.NoError(t, writeFile(fs, "/other/precious.txt", []byte("x")))
		_, err := OpenRoot(Options{FS: fs, Dir: "/other", Topic: "devices"})
		var e *NotATableError
		require.ErrorAs(t, err, &e)
		require.Equal(t, "precious.txt", e.Found)
		require.ErrorAs(t, Remove(fs, "/other"), &e)
		_, err = fs.Stat("/other/precious.txt")
		require.NoError(t, err)
	})
	t.Run("damaged descriptor", func(t *testing.T) {
		require.NoError(t, fs.MkdirAll("/bad", 0o750))
		require.NoError(t, writeFile(fs, "/bad/TABLE", []byte("{")))
		_, err := OpenRoot(Options{FS: fs, Dir: "/bad", Topic: "devices"})
		require.ErrorIs(t, err, ErrCorrupt)
		require.ErrorContains(t, err, "remove the directory")
	})
}

func TestRemoveDeletesTheTableAndNothingElse(t *testing.T) {
	fs := vfs.NewMem()
	r := open(t, fs)
	put(t, create(t, r), 1, "a", "1")
	require.NoError(t, r.Close())
	require.NoError(t, writeFile(fs, "/t/notes.txt", []byte("mine")))
	require.NoError(t, Remove(fs, "/t"))
	names, err := fs.List("/t")
	require.NoError(t, err)
	require.Equal(t, []string{"notes.txt"}, names)
	require.NoError(t, Remove(fs, "/absent"))
}

func TestGenerationIsBuiltBesideAndSwapped(t *testing.T) {
	fs := vfs.NewMem()
	r := open(t, fs)
	g1 := create(t, r)
	put(t, g1, 1, "old", "1")
	g2 := create(t, r)
	put(t, g2, 1, "new", "2")
	_, ok := get(t, g1, "old")
	require.True(t, ok, "the old generation answers meanwhile")
	require.NoError(t, g2.Flush())
	require.NoError(t, g1.Flush())
	require.NoError(t, r.Close())

	// The one being built is still there after a restart, beside the other.
	r = open(t, fs)
	g1, err := r.Current()
	require.NoError(t, err)
	require.Equal(t, map[string]string{"old": "1"}, rows(t, g1))
	g2, err = r.Building()
	require.NoError(t, err)
	require.Equal(t, map[string]string{"new": "2"}, rows(t, g2))
	require.NoError(t, r.Promote(g2))
	require.Error(t, r.Promote(g2))
	require.NoError(t, r.Discard(g1))
	require.NoError(t, r.Close())

	r = open(t, fs)
	g, err := r.Current()
	require.NoError(t, err)
	require.Equal(t, map[string]string{"new": "2"}, rows(t, g))
	b, err := r.Building()
	require.NoError(t, err)
	require.Nil(t, b)
	names, err := fs.List("/t")
	require.NoError(t, err)
	require.Len(t, names, 3, "%v", names)
}

func TestOrphanedGenerationIsRemoved(t *testing.T) {
	fs := vfs.NewMem()
	r := open(t, fs)
	put(t, create(t, r), 1, "a", "1")
	require.NoError(t, r.Close())
	require.NoError(t, fs.MkdirAll("/t/gen-000099", 0o750))
	require.NoError(t, writeFile(fs, "/t/gen-000099/x.sst", []byte("x")))
	require.NoError(t, open(t, fs).Close())
	_, err := fs.Stat("/t/gen-000099")
	require.Error(t, err)
}

func TestDamagedFilesAreCorruptNotAnExit(t *testing.T) {
	fs := vfs.NewMem()
	r := open(t, fs)
	g := create(t, r)
	for i := range 2000 {
		put(t, g, int64(i), fmt.Sprint("key", i), fmt.Sprintf("%0200d", i))
	}
	require.NoError(t, r.Close())
	names, err := fs.List("/t/gen-000001")
	require.NoError(t, err)
	for _, n := range names {
		if len(n) > 4 && n[len(n)-4:] == ".sst" {
			f, err := fs.OpenReadWrite("/t/gen-000001/"+n, vfs.WriteCategoryUnspecified)
			require.NoError(t, err)
			_, err = f.WriteAt([]byte("garbage garbage garbage"), 100)
			require.NoError(t, err)
			require.NoError(t, f.Close())
		}
	}
	r = open(t, fs)
	g, err = r.Current()
	if err == nil {
		_, _, err = g.Get([]byte("key0"))
		for i := 0; err == nil && i < 2000; i++ {
			_, _, err = g.Get([]byte(fmt.Sprint("key", i)))
		}
	}
	require.ErrorIs(t, err, ErrCorrupt)
	require.NoError(t, r.DropCurrent())
	cur, err := r.Current()
	require.NoError(t, err)
	require.Nil(t, cur)
}

func TestGetManyAndSnapshotAgreeWithGet(t *testing.T) {
	g := create(t, open(t, vfs.NewMem()))
	for i := range 300 {
		put(t, g, int64(i), fmt.Sprintf("k%03d", i*2), fmt.Sprint(i))
	}
	var keys [][]byte
	for i := range 600 {
		keys = append(keys, fmt.Appendf(nil, "k%03d", i))
	}
	n := 0
	require.NoError(t, g.GetMany(keys, func(i int, r *Row, ok bool) error {
		v, want := get(t, g, string(keys[i]))
		require.Equal(t, want, ok, "%s", keys[i])
		if ok {
			require.Equal(t, v, string(r.Value))
			n++
		}
		return nil
	}))
	require.Equal(t, 300, n)
	boom := errors.New("boom")
	require.ErrorIs(t, g.GetMany(keys, func(int, *Row, bool) error { return boom }), boom)
	require.NoError(t, g.GetMany(nil, nil))

	s, err := g.NewSnapshot()
	require.NoError(t, err)
	put(t, g, 1000, "k000", "changed")
	put(t, g, 1001, "zzz", "added")
	v, ok, err := s.Get([]byte("k000"))
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "0", string(v.Value))
	v.Close()
	_, ok, err = s.Get([]byte("zzz"))
	require.NoError(t, err)
	require.False(t, ok)
	require.Equal(t, int64(300), s.State().Get(0).Next)

	scan := func(f func(func([]byte, *Row) bool) error) (got []string) {
		require.NoError(t, f(func(k []byte, _ *Row) bool { got = append(got, string(k)); return len(got) < 4 }))
		return got
	}
	require.Equal(t, []string{"k010", "k012", "k014"}, scan(func(fn func([]byte, *Row) bool) error {
		return s.Scan([]byte("k010"), []byte("k016"), fn)
	}))
	require.Equal(t, []string{"k590", "k592", "k594", "k596"}, scan(func(fn func([]byte, *Row) bool) error {
		return s.ScanPrefix([]byte("k59"), fn)
	}))
	require.Equal(t, []string{"k000", "k002", "k004", "k006"}, scan(func(fn func([]byte, *Row) bool) error {
		return s.ScanPrefix(nil, fn)
	}))
	require.Empty(t, scan(func(fn func([]byte, *Row) bool) error { return s.ScanPrefix([]byte("\xff\xff"), fn) }))
	s.Close()
	s.Close()
	_, _, err = s.Get([]byte("k000"))
	require.ErrorIs(t, err, ErrClosed)
}

func TestRowsBelowTheLogStartAreGone(t *testing.T) {
	g := create(t, open(t, vfs.NewMem()))
	put(t, g, 5, "a", "1")
	put(t, g, 6, "b", "2")
	s := g.State().Clone()
	s.At(0).LogStart = 6
	require.NoError(t, g.Apply(nil, s))
	_, ok := get(t, g, "a")
	require.False(t, ok)
	_, ok = get(t, g, "b")
	require.True(t, ok)
	require.Equal(t, map[string]string{"b": "2"}, rows(t, g))
	require.NoError(t, g.GetMany([][]byte{[]byte("a"), []byte("b")}, func(i int, _ *Row, ok bool) error {
		require.Equal(t, i == 1, ok)
		return nil
	}))
}

func TestCloseDoesNotWaitForAForgottenSnapshot(t *testing.T) {
	r := open(t, vfs.NewMem())
	g := create(t, r)
	put(t, g, 1, "a", "1")
	s, err := g.NewSnapshot()
	require.NoError(t, err)
	require.NoError(t, r.Close())
	_, _, err = s.Get([]byte("a"))
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorIs(t, s.Scan(nil, nil, nil), ErrClosed)
	s.Close()
	_, err = g.NewSnapshot()
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorIs(t, g.Apply(g0batch(), &State{}), ErrClosed)
	require.ErrorIs(t, g.Flush(), ErrClosed)
	require.ErrorIs(t, g.GetMany([][]byte{{1}}, nil), ErrClosed)
	require.Zero(t, g.DiskBytes())
}

func g0batch() *Batch { return nil }
