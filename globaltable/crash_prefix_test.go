package globaltable

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/globaltable/enrich/internal/kafkatest"
	"github.com/globaltable/enrich/internal/store"
)

// A disk as crashes at random moments leave it, while a table loads in bulk and
// live: its rows are the fold of what was produced up to the positions that it
// has, its counters those of it, and a table that is opened on it goes on from
// there to the same end.
func TestCrashLeavesAPrefixOfTheTopic(t *testing.T) {
	began, inBulk := 0, 0
	for range 4 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 0))
			b := kafkatest.Fake(t)
			smallFetches(b, int32(2000+rng.IntN(20_000)))
			e := nullKeyed(t, b, 3)
			h := newHistory(e, rng)
			fs := vfs.NewCrashableMem()
			c := &crasher{fs: fs, rng: rand.New(rand.NewPCG(seed, 1)), most: 12}
			opts := func(fs vfs.FS, more ...Opt) []Opt {
				return append(more, AcceptUncompacted(), Transform("picky", pickyTransform), bulkOf(200, 4000),
					FlushInterval(5*time.Millisecond), opt(func(c *config) { c.fs, c.dir = fs, "/table" }))
			}
			h.put(6000)
			r := e.open(opts(fs, Hooks(c))...)
			for range 3 {
				for range 30 {
					h.put(1 + rng.IntN(20))
				}
				h.put(3000)
			}
			h.caughtUp(r, true)
			c.now()
			r.close()
			for i, disk := range c.taken() {
				root, err := store.OpenRoot(store.Options{FS: disk, Dir: "/table", Topic: e.topic})
				require.NoError(t, err, "crash %d", i)
				gen, err := root.Current()
				require.NoError(t, err, "crash %d", i)
				require.NotNil(t, gen)
				next := nextOf(gen.State())
				rows, counters := h.upTo(next, true)
				require.Equal(t, rows, rowsOf(t, gen), "crash %d at %v", i, next)
				require.Equal(t, counters, gen.State().Counters, "crash %d at %v", i, next)
				require.NoError(t, root.Close())
				if len(next) > 0 && counters.Records < uint64(len(h.records)) {
					began++
				}
				if i%3 == 0 {
					again := e.ready(opts(disk)...)
					h.caughtUp(again, true)
					again.close()
				}
			}
			inBulk += c.inBulk
		})
	}
	require.Positive(t, began, "crashes in the middle")
	require.Positive(t, inBulk, "crashes in the middle of a bulk load")
}

// crasher takes the disk at random moments, when a batch has been applied.
type crasher struct {
	fs     *vfs.MemFS
	most   int
	mu     sync.Mutex
	rng    *rand.Rand
	disks  []*vfs.MemFS
	inBulk int
}

func (c *crasher) OnBatchApplied(b BatchApplied) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.disks) < c.most && c.rng.IntN(4) == 0 {
		c.take()
		if b.Rows > 40 {
			c.inBulk++
		}
	}
}

func (c *crasher) take() {
	c.disks = append(c.disks, c.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: c.rng.IntN(101), RNG: c.rng}))
}

func (c *crasher) now() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.take()
}

func (c *crasher) taken() []*vfs.MemFS {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.disks
}

// rowsOf returns a generation's rows.
func rowsOf(t *testing.T, gen *store.Generation) map[string]string {
	t.Helper()
	snap, err := gen.NewSnapshot()
	require.NoError(t, err)
	defer snap.Close()
	rows := map[string]string{}
	require.NoError(t, snap.Scan(nil, nil, func(key []byte, row *store.Row) bool {
		rows[string(key)] = string(row.Value)
		return true
	}))
	return rows
}
