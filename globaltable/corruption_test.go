package globaltable

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/internal/store"
)

var corruptions = flag.Int("corrupt.rounds", lessWithRace(150), "how many damaged directories TestCorruptionHeals opens")

// filesOf returns the paths of all files below a directory.
func filesOf(fs vfs.FS, dir string) (paths []string) {
	names, err := fs.List(dir)
	if err != nil {
		return nil
	}
	slices.Sort(names)
	for _, name := range names {
		path := fs.PathJoin(dir, name)
		if info, err := fs.Stat(path); err == nil && info.IsDir() {
			paths = append(paths, filesOf(fs, path)...)
		} else {
			paths = append(paths, path)
		}
	}
	return paths
}

// kindOf names what a file is for.
func kindOf(path string) string {
	name := path[strings.LastIndexByte(path, '/')+1:]
	switch {
	case strings.HasSuffix(name, ".sst"):
		return "sst"
	case strings.HasPrefix(name, "MANIFEST"):
		return "manifest"
	case strings.HasPrefix(name, "OPTIONS"):
		return "options"
	case strings.HasPrefix(name, "marker."):
		return strings.Join(strings.Split(name, ".")[:2], " ")
	}
	return name
}

// scramble changes a file, and returns what it has done.
func scramble(t *testing.T, fs vfs.FS, path string, rng *rand.Rand) string {
	t.Helper()
	f, err := fs.Open(path)
	require.NoError(t, err)
	b, err := io.ReadAll(f)
	require.NoError(t, errors.Join(err, f.Close()))
	how := ""
	switch n := rng.IntN(10); {
	case n == 0 || len(b) == 0 && n < 5:
		require.NoError(t, fs.Remove(path))
		return "remove"
	case len(b) == 0 || n == 1:
		how = "append"
		for range 1 + rng.IntN(100) {
			b = append(b, byte(rng.Uint32()))
		}
	case n < 4:
		b, how = b[:rng.IntN(len(b))], "truncate"
	case n == 4:
		how = "zero"
		from := rng.IntN(len(b))
		clear(b[from:min(len(b), from+1+rng.IntN(4096))])
	default:
		how = "flip"
		for range 1 + rng.IntN(4) {
			b[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
		}
	}
	w, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = w.Write(b)
	require.NoError(t, errors.Join(err, w.Sync(), w.Close()))
	return how
}

// answers reads every key in every way: what is answered is right for the
// positions, and errors are of damaged files. It returns the first error.
func (w *world) answers(r *replica, msg string) error {
	t := w.e.t
	t.Helper()
	allowed := func(err error) error {
		if err != nil {
			for _, ok := range []error{ErrNotReady, store.ErrCorrupt, store.ErrClosed, ErrClosed, pebble.ErrCorruption} {
				if errors.Is(err, ok) {
					return err
				}
			}
			t.Fatalf("%s: a read fails with %v", msg, err)
		}
		return nil
	}
	snap, err := r.Snapshot()
	if allowed(err) != nil {
		return err
	}
	defer snap.Close()
	next := map[int32]int64{}
	for _, p := range snap.Positions() {
		next[p.Partition] = p.Offset
	}
	want, _ := w.now().fold(next, w.starts, w.mark)
	seen, whole := 0, maps.Equal(next, w.now().ends())
	var first error
	for e, err := range snap.All() {
		if err != nil {
			first = errors.Join(first, allowed(err))
			break
		}
		require.Equal(t, want[e.Key], e.Value, "%s: key %s", msg, e.Key)
		seen++
	}
	if first == nil {
		require.Len(t, want, seen, "%s at %v", msg, next)
	}
	for i := range 400 {
		key := fmt.Sprintf("k%d", i)
		value, ok, err := snap.Get(key)
		if allowed(err) != nil {
			first = errors.Join(first, err)
			continue
		}
		wanted, there := want[key]
		require.Equal(t, there, ok, "%s: key %s at %v", msg, key, next)
		require.Equal(t, wanted, value, "%s: key %s", msg, key)
		value, ok, err = r.Get(key)
		if allowed(err) != nil {
			first = errors.Join(first, err)
		} else if whole {
			// Nothing is produced meanwhile.
			require.Equal(t, there, ok, "%s: key %s", msg, key)
			require.Equal(t, wanted, value, "%s: key %s", msg, key)
		}
	}
	return first
}

// Files of a closed table's directory, or of one that a crash has left, are
// damaged at random: bits flipped, cut off, removed, overwritten, of every kind.
// The next table never gives a wrong answer, and comes to the end of the topic
// with all rows, resumed or built anew. A directory whose descriptor cannot be
// read is refused, with what to do.
func TestCorruptionHeals(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	w, closed := faultWorld(t, rng)
	// One with a generation being built beside, and one that was not closed.
	disks := []*vfs.MemFS{closed, halfBuilt(w, clone(closed, rng)), leftByCrash(w, clone(closed, rng))}
	kinds, outcomes := map[string]int{}, map[string]int{}
	for round := range *corruptions {
		disk := clone(disks[rng.IntN(len(disks))], rng)
		var msg []string
		for range 1 + rng.IntN(2) {
			// Each kind of file is as likely as any other.
			byKind := map[string][]string{}
			for _, p := range filesOf(disk, "/table") {
				byKind[kindOf(p)] = append(byKind[kindOf(p)], p)
			}
			var names []string
			for name := range byKind {
				names = append(names, name)
			}
			slices.Sort(names)
			kind := names[rng.IntN(len(names))]
			path := byKind[kind][rng.IntN(len(byKind[kind]))]
			kinds[kind]++
			msg = append(msg, scramble(t, disk, path, rng)+" "+path)
		}
		what := fmt.Sprintf("seed %d, round %d: %s", seed, round, strings.Join(msg, ", "))
		opts := []Opt{opt(func(c *config) { c.fs, c.dir = disk, "/table" })}
		if rng.IntN(2) == 0 {
			opts = append(opts, AllowStale(time.Hour))
		}
		tb, err := Open(w.e.topic, codec.String(), codec.String(), w.e.opts(w.opts(opts...)...)...)
		if err != nil {
			require.Contains(t, what, "/TABLE", "%s: %v", what, err)
			require.ErrorContains(t, err, "directory", what)
			outcomes["refused"]++
			continue
		}
		r := w.e.run(tb)
		_ = w.answers(r, what)
		healed := func() bool { return r.isEnd() || r.Status().State == Ready && w.answers(r, what) == nil }
		require.True(t, assertSoon(healed), "%s: it does not heal: %s", what, r.Stats())
		require.False(t, r.isEnd(), "%s: %v", what, r.err)
		w.caughtUp(r)
		outcomes[strings.TrimSpace(string(r.Stats().Decision)+" "+string(r.Stats().Reason))]++
		r.close()
		// What was found damaged is gone for good.
		r = w.e.ready(w.opts(opts[0])...)
		w.caughtUp(r)
		require.Equal(t, Resumed, r.Stats().Decision, what)
		r.close()
	}
	t.Logf("damaged: %v", kinds)
	t.Logf("outcomes: %v", outcomes)
	for _, kind := range []string{"sst", "manifest", "options", "marker manifest", "marker format-version", "TABLE", "LOCK"} {
		require.Positive(t, kinds[kind], kind)
	}
	require.Positive(t, outcomes["rebuilt StoreDamaged"])
	require.Positive(t, outcomes["resumed"])
	require.Positive(t, outcomes["refused"])
}

// halfBuilt returns the disk as a crash leaves it while rows are built beside.
func halfBuilt(w *world, disk *vfs.MemFS) *vfs.MemFS {
	var taken atomic.Pointer[vfs.MemFS]
	hook := appliedHook(func(b BatchApplied) {
		if b.Generation > 1 && taken.Load() == nil {
			taken.Store(clone(disk, rand.New(rand.NewPCG(1, 1))))
		}
	})
	mark := w.mark
	w.mark = "*"
	r := w.e.open(w.opts(Hooks(hook), opt(func(c *config) { c.fs, c.dir = disk, "/table" }))...)
	w.caughtUp(r)
	r.close()
	w.mark = mark
	require.NotNil(w.e.t, taken.Load())
	return taken.Load()
}

// leftByCrash returns the disk as a crash leaves it after some updates.
func leftByCrash(w *world, disk *vfs.MemFS) *vfs.MemFS {
	r := w.e.open(w.opts(opt(func(c *config) { c.fs, c.dir = disk, "/table" }))...)
	w.caughtUp(r)
	for range 20 {
		w.now().put(10)
	}
	w.caughtUp(r)
	taken := disk.CrashClone(vfs.CrashCloneCfg{})
	r.close()
	return taken
}

type appliedHook func(BatchApplied)

func (f appliedHook) OnBatchApplied(b BatchApplied) { f(b) }
