package store

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"
)

// collect adds batch i of a history to a bulk load.
func (h history) collect(b *Bulk, i int) {
	for _, o := range h[i] {
		if o.value == nil {
			b.Delete([]byte(o.key))
		} else {
			b.Put([]byte(o.key), &Row{Offset: int64(i), Value: o.value})
		}
	}
}

// stateAt is the state that the first n batches lead to.
func stateAt(n int) *State {
	s := &State{}
	*s.At(0) = Partition{Known: true, Next: int64(n), Epoch: -1}
	s.Counters.Records = uint64(n)
	return s
}

// load loads batches [from, to) in chunks of one to three batches.
func (h history) load(g *Generation, o BulkOptions, from, to int, rng *rand.Rand) error {
	b, err := g.NewBulk(o)
	if err != nil {
		return err
	}
	for i := from; i < to; {
		for n := 1 + rng.IntN(3); n > 0 && i < to; n, i = n-1, i+1 {
			h.collect(b, i)
		}
		if err := b.Submit(stateAt(i)); err != nil {
			_ = b.Close()
			return err
		}
	}
	return b.Close()
}

// randomBulk returns options of a load, with as few chunks and workers as there
// can be at times.
func randomBulk(rng *rand.Rand) BulkOptions {
	return BulkOptions{ChunkBytes: 1 + rng.IntN(100<<10), Chunks: rng.IntN(5), Workers: rng.IntN(4)}
}

// TestBulkEqualsTheFold mixes bulk loads with batches, flushes and reopens.
func TestBulkEqualsTheFold(t *testing.T) {
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, 21))
		h := randomHistory(rng, 120)
		fs := vfs.NewMem()
		r := open(t, fs)
		g := create(t, r)
		for i := 0; i < len(h); {
			switch rng.IntN(5) {
			case 0:
				require.NoError(t, h.apply(g, i, rng.IntN(2) == 0))
				i++
			case 1:
				require.NoError(t, g.Flush())
			case 2:
				require.NoError(t, r.Close())
				r = open(t, fs)
				g = current(t, r)
			default:
				to := min(i+rng.IntN(30), len(h))
				require.NoError(t, h.load(g, randomBulk(rng), i, to, rng))
				i = to
			}
			require.Equal(t, i, h.requirePrefix(t, g, "seed %d", seed))
		}
		require.NoError(t, g.db.Compact(t.Context(), stateKey, rowsUpper, true))
		require.Equal(t, len(h), h.requirePrefix(t, g, "seed %d, compacted", seed))
		require.NoError(t, r.Close())
		require.Equal(t, len(h), h.requirePrefix(t, current(t, open(t, fs)), "seed %d, reopened", seed))
	}
}

// TestBulkTellsWhatWasTakenIn in order, one at a time, when it can be read.
func TestBulkTellsWhatWasTakenIn(t *testing.T) {
	const chunks = 40
	g := create(t, open(t, vfs.NewMem()))
	var b *Bulk
	var inside atomic.Int32
	next := 0
	var err error
	b, err = g.NewBulk(BulkOptions{Workers: 4, Applied: func(a BulkApplied) {
		if n := inside.Add(1); n != 1 {
			t.Errorf("%d at a time", n)
		}
		defer inside.Add(-1)
		if a.State != g.State() || int(a.State.Get(0).Next) != next+1 || a.Rows != next+2 || a.Bytes < 100*(a.Rows-1) || a.Took <= 0 {
			t.Errorf("chunk %d: %+v", next, a)
		}
		if v, ok := get(t, g, fmt.Sprint("k", next)); !ok || v[99:] != "xv" {
			t.Errorf("chunk %d cannot be read: %v %q", next, ok, v)
		}
		next++
	}})
	require.NoError(t, err)
	for i := range chunks {
		for range i + 1 {
			b.Put(fmt.Append(nil, "k", i), &Row{Value: []byte(strings.Repeat("x", 100) + "v")})
		}
		b.Delete([]byte("absent"))
		require.Equal(t, i+2, b.Len())
		require.NoError(t, b.Submit(stateAt(i+1)))
		require.Zero(t, b.Len())
		if i%7 == 0 {
			require.NoError(t, b.Wait())
			require.Equal(t, stateAt(i+1), g.State())
		}
	}
	require.NoError(t, b.Close())
	require.Equal(t, chunks, next)
	require.Equal(t, stateAt(chunks), g.State())
}

func TestBulkDefaults(t *testing.T) {
	o := BulkOptions{ChunkBytes: -1, Chunks: -1, Workers: -1}
	o.setDefaults()
	require.Equal(t, []int{8 << 20, 3, 2, 800, 1600}, []int{o.ChunkBytes, o.Chunks, o.Workers, o.compactFrom, o.waitFrom})
	o.Applied(BulkApplied{})
	o = BulkOptions{Workers: 5}
	o.setDefaults()
	require.Equal(t, 6, o.Chunks)
}

func TestBulkIsFull(t *testing.T) {
	g := create(t, open(t, vfs.NewMem()))
	b, err := g.NewBulk(BulkOptions{ChunkBytes: 1000})
	require.NoError(t, err)
	n := 0
	for ; !b.Full(); n++ {
		b.Put([]byte("key"), &Row{Value: make([]byte, 68)})
	}
	require.Equal(t, 10, n, "a row of 76 bytes, and what it takes to find it")
	require.NoError(t, b.Submit(&State{}))
	require.False(t, b.Full())
	require.NoError(t, b.Close())
}

// TestBulkWithoutRows: a chunk may hold a state only, or there may be no chunk.
func TestBulkWithoutRows(t *testing.T) {
	fs := vfs.NewMem()
	r := open(t, fs)
	g := create(t, r)
	put(t, g, 0, "a", "1")
	b, err := g.NewBulk(BulkOptions{})
	require.NoError(t, err)
	require.False(t, g.Dirty(), "what was applied before is durable")
	require.NoError(t, b.Wait())
	require.NoError(t, b.Close())
	b, err = g.NewBulk(BulkOptions{})
	require.NoError(t, err)
	require.NoError(t, b.Submit(stateAt(7)))
	require.NoError(t, b.Close())
	require.Equal(t, stateAt(7), g.State())
	require.NoError(t, r.Close())
	g = current(t, open(t, fs))
	require.Equal(t, int64(7), g.State().Get(0).Next)
	require.Equal(t, map[string]string{"a": "1"}, rows(t, g))
}

func TestBulkDropsWhatWasNotSubmitted(t *testing.T) {
	g := create(t, open(t, vfs.NewMem()))
	b, err := g.NewBulk(BulkOptions{})
	require.NoError(t, err)
	b.Put([]byte("a"), &Row{})
	require.NoError(t, b.Close())
	require.NoError(t, b.Close(), "once more")
	require.Empty(t, rows(t, g))
	require.ErrorIs(t, b.Submit(&State{}), ErrClosed)
	require.NoError(t, b.Wait())
	b.Put([]byte("b"), &Row{})
	b.Delete([]byte("b"))
	require.ErrorIs(t, b.Submit(&State{}), ErrClosed)
	require.Nil(t, b.free, "its memory is not kept")
	require.Less(t, cap(b.cur.arena), 1000)
}

func TestOneBulkLoadAtATime(t *testing.T) {
	g := create(t, open(t, vfs.NewMem()))
	b, err := g.NewBulk(BulkOptions{})
	require.NoError(t, err)
	_, err = g.NewBulk(BulkOptions{})
	require.ErrorIs(t, err, errLoading)
	require.True(t, g.scheduler.held.Load())
	require.NoError(t, b.Close())
	require.False(t, g.scheduler.held.Load())
	b, err = g.NewBulk(BulkOptions{})
	require.NoError(t, err)
	require.NoError(t, b.Close())
}

func TestNewBulkOfAClosedGeneration(t *testing.T) {
	r := open(t, vfs.NewMem())
	g := create(t, r)
	require.NoError(t, r.Close())
	for range 2 {
		_, err := g.NewBulk(BulkOptions{})
		require.ErrorIs(t, err, ErrClosed)
	}
}

// TestRowThatIsTooLong ends the load, and the chunks behind it.
func TestRowThatIsTooLong(t *testing.T) {
	g := create(t, open(t, vfs.NewMem()))
	b, err := g.NewBulk(BulkOptions{})
	require.NoError(t, err)
	b.Put([]byte("a"), &Row{})
	require.NoError(t, b.Submit(stateAt(1)))
	b.Put([]byte("b"), &Row{})
	b.cur.tooLong(math.MaxInt32+1, 0)
	_ = b.Submit(stateAt(2))
	require.ErrorIs(t, b.Wait(), errTooLong)
	b.Put([]byte("c"), &Row{})
	require.ErrorIs(t, b.Submit(stateAt(3)), errTooLong)
	require.ErrorIs(t, b.Close(), errTooLong)
	require.Equal(t, stateAt(1), g.State())
	require.Equal(t, map[string]string{"a": ""}, rows(t, g))
	require.NoError(t, g.Err(), "the generation is whole")
	require.NotContains(t, strings.Join(list(t, g.root.opts.FS, g.dir), " "), bulkPrefix)
}

// endWhileLoading submits chunks of which the first is told of, and ends the
// generation then. It returns the load's error.
func endWhileLoading(t *testing.T, g *Generation, end func() error) error {
	t.Helper()
	told, goOn := make(chan struct{}), make(chan struct{})
	b, err := g.NewBulk(BulkOptions{Chunks: 6, Applied: func(BulkApplied) {
		close(told)
		<-goOn
	}})
	require.NoError(t, err)
	for i := range 4 {
		b.Put(fmt.Append(nil, "k", i), &Row{})
		require.NoError(t, b.Submit(stateAt(i+1)))
	}
	<-told
	require.NoError(t, end(), "it does not wait for the load")
	close(goOn)
	require.ErrorIs(t, b.Wait(), ErrClosed)
	require.ErrorIs(t, b.Submit(stateAt(5)), ErrClosed)
	return b.Close()
}

func TestCloseEndsABulkLoad(t *testing.T) {
	fs := vfs.NewMem()
	r := open(t, fs)
	g := create(t, r)
	require.ErrorIs(t, endWhileLoading(t, g, r.Close), ErrClosed)
	g = current(t, open(t, fs))
	require.Equal(t, stateAt(1).Get(0), g.State().Get(0))
	require.Equal(t, map[string]string{"k0": ""}, rows(t, g), "what was taken in by then")
	require.NotContains(t, strings.Join(list(t, fs, g.dir), " "), bulkPrefix)
}

func TestDiscardEndsABulkLoad(t *testing.T) {
	fs := vfs.NewMem()
	r := open(t, fs)
	g := create(t, r)
	require.ErrorIs(t, endWhileLoading(t, g, func() error { return r.Discard(g) }), ErrClosed)
	require.ElementsMatch(t, []string{"LOCK", "TABLE"}, list(t, fs, "/t"), "nothing is written afterwards")
}

// TestCloseBesideABulkLoad closes at any moment.
func TestCloseBesideABulkLoad(t *testing.T) {
	rng := rand.New(rand.NewPCG(31, 32))
	for seed := range uint64(20) {
		h := randomHistory(rand.New(rand.NewPCG(seed, 33)), 60)
		fs := vfs.NewMem()
		r := open(t, fs)
		g := create(t, r)
		after := int64(rng.IntN(20))
		closed := make(chan error, 1)
		var once sync.Once
		o := randomBulk(rng)
		o.Applied = func(a BulkApplied) {
			if a.State.Get(0).Next >= after {
				once.Do(func() { go func() { closed <- r.Close() }() })
			}
		}
		err := h.load(g, o, 0, len(h), rng)
		require.NoError(t, <-closed)
		reached := int(g.State().Get(0).Next)
		if err != nil {
			require.ErrorIs(t, err, ErrClosed)
		} else {
			require.Equal(t, len(h), reached)
		}
		require.Equal(t, reached, h.requirePrefix(t, current(t, open(t, fs)), "seed %d", seed))
	}
}

// TestIdentityAndFlushBesideABulkLoad, which do no harm.
func TestIdentityAndFlushBesideABulkLoad(t *testing.T) {
	h := randomHistory(rand.New(rand.NewPCG(41, 42)), 100)
	fs := vfs.NewCrashableMem()
	r := open(t, fs)
	g := create(t, r)
	stop := make(chan struct{})
	var beside sync.WaitGroup
	beside.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := g.SetIdentity(Identity{Topic: "devices", TopicID: [16]byte{byte(i)}}); err != nil {
				t.Error(err)
			}
			if err := g.Flush(); err != nil {
				t.Error(err)
			}
		}
	})
	err := h.load(g, BulkOptions{}, 0, len(h), rand.New(rand.NewPCG(1, 1)))
	close(stop)
	beside.Wait()
	require.NoError(t, err)
	id := g.Identity()
	require.Equal(t, len(h), h.requirePrefix(t, g))
	crashed := fs.CrashClone(vfs.CrashCloneCfg{})
	require.NoError(t, r.Close())
	g = current(t, open(t, crashed))
	require.Equal(t, len(h), h.requirePrefix(t, g), "all of it is durable")
	require.Equal(t, id, g.Identity())
}

// TestBulkIsDurableAlsoAboveWhatIsInMemory: a table that is taken in while
// something waits for its flush is not left in the queue behind it.
func TestBulkIsDurableAlsoAboveWhatIsInMemory(t *testing.T) {
	fs := vfs.NewCrashableMem()
	r := open(t, fs)
	g := create(t, r)
	b, err := g.NewBulk(BulkOptions{})
	require.NoError(t, err)
	put(t, g, 0, "a", "1")
	require.True(t, g.Dirty())
	b.Put([]byte("b"), &Row{Value: []byte("2")})
	require.NoError(t, b.Submit(stateAt(2)))
	require.NoError(t, b.Wait())
	crashed := fs.CrashClone(vfs.CrashCloneCfg{})
	require.NoError(t, b.Close())
	require.NoError(t, r.Close())
	g = current(t, open(t, crashed))
	require.Equal(t, map[string]string{"a": "1", "b": "2"}, rows(t, g))
	require.Equal(t, int64(2), g.State().Get(0).Next)
}

// TestReadersBesideABulkLoad: a snapshot is always a prefix, and no read goes
// behind what the state said before it.
func TestReadersBesideABulkLoad(t *testing.T) {
	h := randomHistory(rand.New(rand.NewPCG(51, 52)), 60)
	for i := range h {
		h[i] = append(h[i], op{"counter", fmt.Appendf(nil, "%05d", i)})
	}
	g := create(t, open(t, vfs.NewMem()))
	require.NoError(t, h.apply(g, 0, false))
	stop := make(chan struct{})
	var readers sync.WaitGroup
	read := func(fn func() error) {
		readers.Go(func() {
			for {
				if err := fn(); err != nil {
					t.Error(err)
					return
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	seen := atomic.Int64{}
	read(func() error {
		s, err := g.NewSnapshot()
		if err != nil {
			return err
		}
		defer s.Close()
		got := map[string]string{}
		if err := s.Scan(nil, nil, func(k []byte, r *Row) bool { got[string(k)] = string(r.Value); return true }); err != nil {
			return err
		}
		n := int(s.State().Get(0).Next)
		if want := h.fold(n); fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("a snapshot at %d is not the fold", n)
		}
		seen.Add(1)
		return nil
	})
	notBehind := func(floor int64, value []byte, ok bool) error {
		if !ok || string(value) < fmt.Sprintf("%05d", floor) {
			return fmt.Errorf("%q, %v at position %d", value, ok, floor)
		}
		return nil
	}
	read(func() error {
		floor := g.State().Get(0).Next - 1
		v, ok, err := g.Get([]byte("counter"))
		if err != nil {
			return err
		}
		defer v.Close()
		return notBehind(floor, v.Value, ok)
	})
	read(func() error {
		floor := g.State().Get(0).Next - 1
		return g.GetMany([][]byte{[]byte("a"), []byte("counter")}, func(i int, r *Row, ok bool) error {
			if i == 0 {
				return nil
			}
			return notBehind(floor, r.Value, ok)
		})
	})
	rng := rand.New(rand.NewPCG(5, 5))
	for i := 1; i < len(h); i += 10 {
		require.NoError(t, h.load(g, BulkOptions{}, i, min(i+10, len(h)), rng))
	}
	close(stop)
	readers.Wait()
	require.Positive(t, seen.Load())
	require.Equal(t, len(h), h.requirePrefix(t, g))
}

// TestBulkWhereOpenFilesCannotBeDeleted is how Windows is. Many deletions make
// Pebble open a table as soon as it has it.
func TestBulkWhereOpenFilesCannotBeDeleted(t *testing.T) {
	fs := vfs.NewMem()
	fs.UseWindowsSemantics(true)
	r := open(t, fs)
	g := create(t, r)
	rng := rand.New(rand.NewPCG(61, 62))
	h := randomHistory(rng, 90)
	for i := range h {
		for k := range h[i] {
			if rng.IntN(2) == 0 {
				h[i][k].value = nil
			}
		}
	}
	for i := 0; i < len(h); i += 30 {
		require.NoError(t, h.load(g, randomBulk(rng), i, i+30, rng))
		require.Equal(t, i+30, h.requirePrefix(t, g))
	}
	require.NoError(t, r.Close())
	g = current(t, open(t, fs))
	require.Equal(t, len(h), h.requirePrefix(t, g))
	require.NotContains(t, strings.Join(list(t, fs, g.dir), " "), bulkPrefix, "left ones go at the next open")
}

// TestBulkWithoutLinks: there are file systems that have none, and answer that it
// is not permitted.
func TestBulkWithoutLinks(t *testing.T) {
	for _, refused := range []error{errNoSpace, &os.LinkError{Op: "link", Old: "a", New: "b", Err: os.ErrPermission}} {
		mem := vfs.NewMem()
		var links atomic.Int32
		r := open(t, inject(mem, func(op errorfs.Op) error {
			if op.Kind == errorfs.OpLink {
				links.Add(1)
				return refused
			}
			return nil
		}))
		g := create(t, r)
		rng := rand.New(rand.NewPCG(71, 72))
		h := randomHistory(rng, 20)
		require.NoError(t, h.load(g, BulkOptions{}, 0, len(h), rng))
		require.Positive(t, links.Load())
		require.NoError(t, r.Close())
		require.Equal(t, len(h), h.requirePrefix(t, current(t, open(t, mem))))
	}
}

// TestLeftTablesDoNoHarm: those that cannot be deleted do not keep a generation
// from opening, and their names are taken over.
func TestLeftTablesDoNoHarm(t *testing.T) {
	mem := vfs.NewMem()
	var stay atomic.Bool
	o := testOptions(inject(mem, func(op errorfs.Op) error {
		if stay.Load() && op.Kind == errorfs.OpRemove && strings.Contains(op.Path, bulkPrefix) {
			return os.ErrPermission
		}
		return nil
	}))
	stay.Store(true)
	rng := rand.New(rand.NewPCG(81, 82))
	h := randomHistory(rng, 30)
	r := openWith(t, o)
	g := create(t, r)
	for i := 0; i < len(h); i += 10 {
		require.NoError(t, h.load(g, BulkOptions{}, i, i+10, rng))
		require.NoError(t, r.Close())
		require.Contains(t, strings.Join(list(t, mem, g.dir), " "), bulkPrefix)
		r = openWith(t, o)
		g = current(t, r)
		require.Equal(t, i+10, h.requirePrefix(t, g))
	}
	stay.Store(false)
	require.NoError(t, r.Close())
	g = current(t, openWith(t, o))
	require.NotContains(t, strings.Join(list(t, mem, g.dir), " "), bulkPrefix)
	require.Equal(t, len(h), h.requirePrefix(t, g))
}
