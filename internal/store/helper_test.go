package store

import (
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"
)

// testOptions are those of a small table of topic "devices" in /t.
func testOptions(fs vfs.FS) Options {
	return Options{FS: fs, Dir: "/t", Topic: "devices", MemTableBytes: 256 << 10, CacheBytes: 4 << 20}
}

func open(t testing.TB, fs vfs.FS) *Root {
	t.Helper()
	return openWith(t, testOptions(fs))
}

func openWith(t testing.TB, o Options) *Root {
	t.Helper()
	r, err := OpenRoot(o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func create(t testing.TB, r *Root) *Generation {
	t.Helper()
	g, err := r.Create(Identity{Topic: "devices"})
	require.NoError(t, err)
	return g
}

func current(t testing.TB, r *Root) *Generation {
	t.Helper()
	g, err := r.Current()
	require.NoError(t, err)
	require.NotNil(t, g)
	return g
}

// tryPut applies one row whose offset is off, and moves partition 0 behind it.
func tryPut(g *Generation, off int64, key, value string) error {
	b := g.NewBatch()
	b.Put([]byte(key), &Row{Offset: off, Value: []byte(value)})
	s := g.State().Clone()
	p := s.At(0)
	p.Known, p.Next = true, off+1
	return g.Apply(b, s)
}

func put(t testing.TB, g *Generation, off int64, key, value string) {
	t.Helper()
	require.NoError(t, tryPut(g, off, key, value))
}

func get(t testing.TB, g *Generation, key string) (string, bool) {
	t.Helper()
	v, ok, err := g.Get([]byte(key))
	require.NoError(t, err)
	defer v.Close()
	return string(v.Value), ok
}

// scanAll returns the rows that a scan shows, and its error.
func scanAll(g *Generation) (map[string]string, error) {
	s, err := g.NewSnapshot()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	m := map[string]string{}
	err = s.Scan(nil, nil, func(k []byte, r *Row) bool {
		m[string(k)] = string(r.Value)
		return true
	})
	return m, err
}

func rows(t testing.TB, g *Generation) map[string]string {
	t.Helper()
	m, err := scanAll(g)
	require.NoError(t, err)
	return m
}

// inject returns a file system that asks fn before each operation; fn may
// block, or return the error that the operation is to fail with.
func inject(fs vfs.FS, fn func(op errorfs.Op) error) vfs.FS {
	return errorfs.Wrap(fs, errorfs.InjectorFunc(fn))
}

// readFile returns a whole file's content.
func readFile(t testing.TB, fs vfs.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open(name)
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(f)
	require.NoError(t, err)
	return b
}

// cloneFS returns a copy of all that a file system holds.
func cloneFS(t testing.TB, fs *vfs.MemFS) *vfs.MemFS {
	t.Helper()
	c := vfs.NewMem()
	ok, err := vfs.Clone(fs, c, "/t", "/t")
	require.NoError(t, err)
	require.True(t, ok)
	return c
}

func list(t testing.TB, fs vfs.FS, dir string) []string {
	t.Helper()
	names, err := fs.List(dir)
	require.NoError(t, err)
	return names
}

// An op is one put, or one delete where value is nil.
type op struct {
	key   string
	value []byte
}

// A history is a list of batches. Batch i moves partition 0 to position i+1 and
// has one record more on its counter.
type history [][]op

// randomHistory returns n batches over a few keys. About one in six is larger
// than half a memtable of testOptions, and Pebble flushes it by itself.
func randomHistory(rng *rand.Rand, n int) history {
	h := make(history, n)
	for i := range h {
		ops, size := 1+rng.IntN(20), rng.IntN(200)
		if rng.IntN(6) == 0 {
			size = (rng.IntN(400) << 10) / ops
		}
		for range ops {
			o := op{key: trickyKeys[rng.IntN(len(trickyKeys))]}
			if rng.IntN(4) > 0 {
				o.value = fmt.Appendf(nil, "%0*d", size, rng.IntN(1000))
			}
			h[i] = append(h[i], o)
		}
	}
	return h
}

// trickyKeys are user keys at the edges of the key space, and some ordinary ones.
var trickyKeys = func() []string {
	keys := []string{"", "\x00", "\x00\x00", "\x00\x01", "\x01", "\x01\xff", "\x02", "a", "a\x00", "a\xff", "ab", "\xfe\xff", "\xff", "\xff\x00", "\xff\xff", "\xff\xff\xff"}
	for i := range 30 {
		keys = append(keys, fmt.Sprint("dev-", i))
	}
	return keys
}()

// apply applies batch i.
func (h history) apply(g *Generation, i int, sized bool) error {
	b := g.NewBatch()
	if sized {
		b.Close()
		b = g.NewBatchSize(64 << 10)
	}
	for _, o := range h[i] {
		if o.value == nil {
			b.Delete([]byte(o.key))
		} else {
			b.Put([]byte(o.key), &Row{Offset: int64(i), Value: o.value})
		}
	}
	s := g.State().Clone()
	*s.At(0) = Partition{Known: true, Next: int64(i + 1), Epoch: -1}
	s.Counters.Records++
	return g.Apply(b, s)
}

// fold returns the rows after the first n batches.
func (h history) fold(n int) map[string]string {
	m := map[string]string{}
	for _, batch := range h[:n] {
		for _, o := range batch {
			if o.value == nil {
				delete(m, o.key)
			} else {
				m[o.key] = string(o.value)
			}
		}
	}
	return m
}

// requirePrefix expects the generation to hold exactly the batches below its
// position, and returns that position.
func (h history) requirePrefix(t testing.TB, g *Generation, msg ...any) int {
	t.Helper()
	s := g.State()
	n := int(s.Get(0).Next)
	require.LessOrEqual(t, n, len(h), msg...)
	require.Equal(t, uint64(n), s.Counters.Records, msg...)
	require.Equal(t, h.fold(n), rows(t, g), msg...)
	return n
}
