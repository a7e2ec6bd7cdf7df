package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"
)

// A crash is a disk as one would leave it, and what must be on it.
type crash struct {
	fs      *vfs.MemFS
	durable int64 // batches that were durable before it
}

// crashFS lets nobody make a link while a crash is taken: a MemFS hangs when both
// happen at once.
type crashFS struct {
	vfs.FS
	mu *sync.Mutex
}

func (fs crashFS) Link(oldname, newname string) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.FS.Link(oldname, newname)
}

// manifestLost reports whether a crash has kept the name of a marker and lost
// that of the manifest that it names. Pebble makes both durable by one sync of
// the directory, and relies on names becoming so in the order they were made.
func manifestLost(names []string) bool {
	marker := ""
	for _, name := range names {
		if strings.HasPrefix(name, "marker.manifest.") {
			marker = max(marker, name)
		}
	}
	return marker != "" && !slices.Contains(names, marker[strings.LastIndex(marker, ".")+1:])
}

// bulkHistory mixes bulk loads with batches, flushes and reopens until all of the
// history is in, or something fails. durable is told of what has become so.
func (h history) bulkHistory(o Options, rng *rand.Rand, durable *atomic.Int64) (err error) {
	r, err := OpenRoot(o)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := r.Close(); err == nil {
			err = cerr
		}
	}()
	g, err := r.Create(Identity{Topic: "devices"})
	for i := 0; err == nil && i < len(h); {
		switch rng.IntN(6) {
		case 0:
			err = h.apply(g, i, false)
			i++
		case 1:
			if err = g.Flush(); err == nil {
				durable.Store(int64(i))
			}
		case 2:
			if err = r.Close(); err == nil {
				durable.Store(int64(i))
				again, err := OpenRoot(o)
				if err != nil {
					return err
				}
				r = again
				if g, err = r.Current(); err != nil {
					return err
				}
			}
		default:
			to := min(i+1+rng.IntN(25), len(h))
			b := randomBulk(rng)
			b.Applied = func(a BulkApplied) { durable.Store(a.State.Get(0).Next) }
			err = h.load(g, b, i, to, rng)
			i = to
		}
	}
	return err
}

// TestCrashInABulkLoad takes the disk as a crash would leave it before file
// operations of random histories. Each must hold exactly a prefix, which has at
// least what was durable, and go on from there.
func TestCrashInABulkLoad(t *testing.T) {
	between, resumed := 0, 0
	for seed := range uint64(6) {
		h := randomHistory(rand.New(rand.NewPCG(seed, 101)), 80)
		crashable := vfs.NewCrashableMem()
		var durable atomic.Int64
		var mu sync.Mutex
		var crashes []crash
		dice := rand.New(rand.NewPCG(seed, 102))
		o := testOptions(inject(crashFS{crashable, &mu}, func(op errorfs.Op) error {
			mu.Lock()
			defer mu.Unlock()
			if isWrite(op) && dice.IntN(8) == 0 {
				at := durable.Load()
				cfg := vfs.CrashCloneCfg{UnsyncedDataPercent: 50 * dice.IntN(3), RNG: dice}
				crashes = append(crashes, crash{crashable.CrashClone(cfg), at})
			}
			return nil
		}))
		require.NoError(t, h.bulkHistory(o, rand.New(rand.NewPCG(seed, 103)), &durable))
		require.Greater(t, len(crashes), 30)
		for i, c := range crashes {
			msg := fmt.Sprintf("seed %d, crash %d of %d", seed, i, len(crashes))
			names, _ := c.fs.List("/t/gen-000001") // it may not be there yet
			r := open(t, c.fs)
			g, err := r.Current()
			if err != nil && manifestLost(names) {
				require.ErrorIs(t, err, ErrCorrupt, msg)
				require.NoError(t, r.Close())
				continue
			}
			require.NoError(t, err, msg)
			if g == nil {
				require.Zero(t, c.durable, msg)
				require.NoError(t, r.Close())
				continue
			}
			next := h.requirePrefix(t, g, msg)
			require.GreaterOrEqual(t, next, int(c.durable), msg)
			require.NotContains(t, strings.Join(list(t, c.fs, g.dir), " "), bulkPrefix, msg)
			if strings.Contains(strings.Join(names, " "), bulkPrefix) {
				between++
			}
			if i%5 == 0 {
				require.NoError(t, h.load(g, BulkOptions{}, next, len(h), dice), msg)
				require.Equal(t, len(h), h.requirePrefix(t, g, msg))
				resumed++
			}
			require.NoError(t, r.Close())
		}
	}
	require.Greater(t, between, 10, "no crash came between writing a table and taking it in")
	require.Positive(t, resumed)
}

// TestCrashRightAfterAChunk: what was told of is on disk, down to the directory.
func TestCrashRightAfterAChunk(t *testing.T) {
	fs := vfs.NewCrashableMem()
	g := create(t, open(t, fs))
	h := randomHistory(rand.New(rand.NewPCG(1, 104)), 40)
	var crashes []crash
	err := h.load(g, BulkOptions{Applied: func(a BulkApplied) {
		crashes = append(crashes, crash{fs.CrashClone(vfs.CrashCloneCfg{}), a.State.Get(0).Next})
	}}, 0, len(h), rand.New(rand.NewPCG(1, 105)))
	require.NoError(t, err)
	require.NotEmpty(t, crashes)
	for _, c := range crashes {
		r := open(t, c.fs)
		require.GreaterOrEqual(t, h.requirePrefix(t, current(t, r)), int(c.durable))
		require.NoError(t, r.Close())
	}
}
