package store

import (
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"
)

// TestCrashLeavesAPrefix applies a random history, with small batches, batches
// that Pebble flushes by themselves, and flushes beside them. It takes the disk
// as crashes at random moments would leave it, with a random part of what was
// not synced. Each must hold exactly the batches below its stored position, and
// go on from there to the same end as a run without a crash.
func TestCrashLeavesAPrefix(t *testing.T) {
	const batches = 60
	resumed, partial := 0, 0
	for seed := range uint64(15) {
		rng := rand.New(rand.NewPCG(seed, 1))
		h := randomHistory(rng, batches)
		fs := vfs.NewCrashableMem()
		r := open(t, fs)
		g := create(t, r)
		var crashes []*vfs.MemFS
		var durable []int // what each crash must at least have kept
		flushed := 0
		var flushing sync.WaitGroup
		for i := range h {
			require.NoError(t, h.apply(g, i, rng.IntN(2) == 0))
			switch rng.IntN(8) {
			case 0:
				require.NoError(t, g.Flush())
				flushed = i + 1
			case 1:
				flushing.Go(func() {
					if err := g.Flush(); err != nil {
						t.Error(err)
					}
				})
			case 2:
				crashes = append(crashes, fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng}))
				durable = append(durable, flushed)
			}
		}
		flushing.Wait()
		require.NoError(t, r.Close())

		for i, crashed := range crashes {
			r := open(t, crashed)
			g := current(t, r)
			next := h.requirePrefix(t, g, "seed %d, crash %d", seed, i)
			require.GreaterOrEqual(t, next, durable[i], "seed %d, crash %d: a flush is durable", seed, i)
			if next > 0 {
				resumed++
			}
			if next > durable[i] {
				partial++
			}
			for j := next; j < batches; j++ {
				require.NoError(t, h.apply(g, j, false))
			}
			require.Equal(t, batches, h.requirePrefix(t, g))
			require.NoError(t, r.Close())
		}
	}
	require.Positive(t, resumed, "no crash had anything to resume from")
	require.Positive(t, partial, "no crash came between two flushes")
}

// lifecycle is a table's life with two generations. It stops at the first error
// and returns it. first and second are the batches of the two.
func lifecycle(o Options, first, second history) (err error) {
	r, err := OpenRoot(o)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := r.Close(); err == nil {
			err = cerr
		}
	}()
	fill := func(h history) (*Generation, error) {
		g, err := r.Create(Identity{Topic: "devices"})
		for i := 0; err == nil && i < len(h); i++ {
			if err = h.apply(g, i, false); err == nil && i%4 == 3 {
				err = g.Flush()
			}
		}
		return g, err
	}
	g1, err := fill(first)
	if err != nil {
		return err
	}
	g2, err := fill(second)
	if err != nil {
		return err
	}
	if err := r.Promote(g2); err != nil {
		return err
	}
	return r.Discard(g1)
}

// requireUsable expects a directory to open, and each generation in it to be a
// prefix of one of the histories: the current one may be either, the one that is
// being built the second only. It returns the current one's length, -1 if there
// is none.
func requireUsable(t *testing.T, fs vfs.FS, first, second history, msg ...any) int {
	t.Helper()
	r, err := OpenRoot(testOptions(fs))
	require.NoError(t, err, msg...)
	defer func() { require.NoError(t, r.Close(), msg...) }()
	cur, err := r.Current()
	require.NoError(t, err, msg...)
	b, err := r.Building()
	require.NoError(t, err, msg...)
	if b != nil {
		second.requirePrefix(t, b, msg...)
		require.NotNil(t, cur, msg...)
	}
	if cur == nil {
		return -1
	}
	if cur.Number() == 1 {
		return first.requirePrefix(t, cur, msg...)
	}
	// A generation answers only once it is whole.
	require.Equal(t, len(second), second.requirePrefix(t, cur, msg...), msg...)
	return len(second)
}

// TestCrashBetweenAnyTwoFileOperations takes the disk as a crash would leave it
// before each single file operation of a table's life.
func TestCrashBetweenAnyTwoFileOperations(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	first, second := randomHistory(rng, 8), randomHistory(rng, 8)
	crashable := vfs.NewCrashableMem()
	var mu sync.Mutex
	var crashes []*vfs.MemFS
	o := testOptions(inject(crashable, func(op errorfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			crashes = append(crashes, crashable.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50 * rng.IntN(3), RNG: rng}))
		}
		return nil
	}))
	require.NoError(t, lifecycle(o, first, second))
	require.Greater(t, len(crashes), 100)
	seen := map[int]int{}
	for i, crashed := range crashes {
		seen[requireUsable(t, crashed, first, second, "crash before write %d of %d", i, len(crashes))]++
	}
	require.Contains(t, seen, -1, "a crash before the first generation")
	require.Contains(t, seen, 4, "a crash after the first flush")
	require.Contains(t, seen, 8, "a crash after the last flush")
}
