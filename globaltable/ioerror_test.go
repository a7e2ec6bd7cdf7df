package globaltable

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/internal/kafkatest"
	"github.com/globaltable/enrich/internal/store"
)

var ioErrorRounds = flag.Int("ioerror.rounds", 1, "how many faults TestInjectedIOErrors injects at each kind of file operation in each phase")

// seconds bound what a table may take to notice a fault, and to end.
const seconds = 20 * time.Second

var opKinds = map[errorfs.OpKind]string{
	errorfs.OpCreate: "create", errorfs.OpLink: "link", errorfs.OpOpen: "open", errorfs.OpOpenDir: "open dir",
	errorfs.OpRemove: "remove", errorfs.OpRemoveAll: "remove all", errorfs.OpRename: "rename",
	errorfs.OpReuseForWrite: "reuse", errorfs.OpMkdirAll: "mkdir", errorfs.OpLock: "lock", errorfs.OpList: "list",
	errorfs.OpFilePreallocate: "preallocate", errorfs.OpStat: "stat", errorfs.OpGetDiskUsage: "disk usage",
	errorfs.OpFileClose: "close", errorfs.OpFileRead: "read", errorfs.OpFileReadAt: "read at",
	errorfs.OpFileWrite: "write", errorfs.OpFileWriteAt: "write at", errorfs.OpFileStat: "file stat",
	errorfs.OpFileSync: "sync", errorfs.OpFileSyncData: "sync data", errorfs.OpFileSyncTo: "sync to",
	errorfs.OpFileFlush: "flush",
}

// faults fail file operations of some kinds from the n-th on, or only that one.
type faults struct {
	mu      sync.Mutex
	armed   bool
	kinds   []errorfs.OpKind
	n, seen int
	forever bool
	err     error
	met     int
	count   map[errorfs.OpKind]int // operations while armed
	where   string                 // the first that failed
}

func (f *faults) String() string { return "faults" }

func (f *faults) MaybeError(op errorfs.Op) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.armed {
		return nil
	}
	f.count[op.Kind]++
	if !slices.Contains(f.kinds, op.Kind) {
		return nil
	}
	if f.seen++; f.seen == f.n || f.forever && f.seen > f.n {
		if f.met++; f.met == 1 {
			f.where = opKinds[op.Kind] + " " + op.Path
		}
		return &os.PathError{Op: opKinds[op.Kind], Path: op.Path, Err: f.err}
	}
	return nil
}

func (f *faults) arm() { f.mu.Lock(); f.armed = true; f.mu.Unlock() }
func (f *faults) end() { f.mu.Lock(); f.armed = false; f.mu.Unlock() }

func (f *faults) hits() (n int, where string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.met, f.where
}

// A faultPhase is what a table does while faults are met.
type faultPhase struct {
	name  string
	fresh bool   // the directory is empty
	mark  string // of the transform
	opts  []Opt
	// from is when faults begin: "open", "verify", "rebuild" or "ready".
	from string
	// do is done once it is ready, and done tells when the phase is over.
	do   func(w *world, r *replica)
	done func(w *world, r *replica) bool
}

func isReady(_ *world, r *replica) bool { return r.Status().State == Ready }

// atEnd reports whether the table has all there is.
func atEnd(w *world, r *replica) bool {
	gen := r.e.served()
	if gen == nil {
		return false
	}
	for p, end := range w.now().ends() {
		if gen.State().Get(p).Next < end {
			return false
		}
	}
	return true
}

var faultPhases = []faultPhase{
	{name: "bootstrap", fresh: true, mark: "+", from: "open", done: isReady},
	{name: "resume", mark: "+", from: "open", done: isReady},
	{name: "live", mark: "+", from: "ready", done: atEnd, do: func(w *world, _ *replica) {
		for range 20 {
			w.now().put(2)
		}
	}},
	{name: "bulk again", mark: "+", from: "ready", done: atEnd, do: func(w *world, _ *replica) { w.now().put(600) }},
	{name: "flush", mark: "+", from: "ready", opts: []Opt{FlushInterval(time.Hour)}, done: atEnd, do: func(w *world, r *replica) {
		w.now().put(20)
		_ = r.e.follower.Load().gen.Flush() // Run tells of its error
	}},
	{name: "verification", mark: "+", from: "verify", opts: []Opt{DeleteRetention(time.Nanosecond)}, done: isReady},
	{name: "rebuild", mark: "*", from: "rebuild", done: func(_ *world, r *replica) bool { return isReady(nil, r) && r.Stats().Rebuilds > 0 }},
	{name: "close", mark: "+", from: "ready", opts: []Opt{FlushInterval(time.Hour)}, done: func(*world, *replica) bool { return true }, do: func(w *world, r *replica) {
		w.now().put(20)
	}},
}

// armer begins faults when a table comes to a phase.
type armer struct {
	f    *faults
	from string
}

func (a armer) OnStatus(s Status) {
	if s.State == Verifying && a.from == "verify" {
		a.f.arm()
	}
}

// faulty runs a table through a phase under faults.
type faulty struct {
	*world
	phase faultPhase
	f     *faults
	disk  *vfs.MemFS
	err   error // Run's
	open  error // Open's
	told  error // what the status said
	// dropped is how many generations were given up.
	dropped uint64
	closed  error // Close's
	done    bool  // the phase came to its end
	// unnoticed is called while it waits that something comes of the faults.
	unnoticed func(*replica)
}

func (x *faulty) within(what string, cond func() bool) {
	t := x.e.t
	t.Helper()
	if !assertSoon(cond) {
		var b strings.Builder
		_ = pprof.Lookup("goroutine").WriteTo(&b, 2)
		t.Fatalf("%s: it hangs: %s (%s)\n%s", x, what, x.f.where, b.String())
	}
}

// assertSoon reports whether something comes true within seconds.
func assertSoon(cond func() bool) bool {
	tick, end := time.NewTicker(time.Millisecond), time.NewTimer(seconds)
	defer tick.Stop()
	defer end.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-end.C:
			return cond()
		}
	}
	return true
}

func (x *faulty) String() string {
	var kinds []string
	for _, k := range x.f.kinds {
		kinds = append(kinds, opKinds[k])
	}
	return fmt.Sprintf("%s: %v from the %d. %s on, for ever %v", x.phase.name, x.f.err, x.f.n, strings.Join(kinds, " or "), x.f.forever)
}

// options are the table's on the disk, with faults or without.
func (x *faulty) options(fs vfs.FS, more ...Opt) []Opt {
	x.mark = x.phase.mark
	own := x.opts(opt(func(c *config) { c.fs, c.dir = fs, "/table" }))
	return x.e.opts(append(append(own, x.phase.opts...), more...)...)
}

// isEnd reports whether a run has ended.
func (r *replica) isEnd() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// run plays the phase, and ends the table.
func (x *faulty) run() {
	t := x.e.t
	x.f.count = map[errorfs.OpKind]int{}
	if x.phase.from == "open" {
		x.f.arm()
	}
	fs := errorfs.Wrap(x.disk, x.f)
	admit := AdmitRebuild(func(context.Context, Reason) error {
		if x.phase.from == "rebuild" {
			x.f.arm()
		}
		return nil
	})
	tb, err := Open(x.e.topic, codec.String(), codec.String(), x.options(fs, admit, Hooks(armer{x.f, x.phase.from}))...)
	if err != nil {
		x.open = err
		x.requireInjected(err)
		return
	}
	r := x.e.run(tb)
	if x.phase.do != nil {
		x.within("it is not ready", func() bool { return isReady(nil, r) })
		x.f.arm()
		x.phase.do(x.world, r)
	}
	x.within("nothing comes of it", func() bool {
		n, _ := x.f.hits()
		if n > 0 {
			if err := r.Status().Err; err != nil {
				x.told = err
			}
		}
		x.dropped = r.Stats().RebuildsDropped
		x.done = x.phase.done(x.world, r)
		if x.unnoticed != nil {
			x.unnoticed(r)
		}
		// After one that does not come again the table heals by itself, or ends.
		return x.done || r.isEnd() || x.f.forever && (x.told != nil || x.dropped > 0)
	})
	x.read(r)
	early, where := x.f.hits()
	r.cancel()
	x.within("Run does not end", r.isEnd)
	x.err = r.err
	if r.err != nil {
		x.requireInjected(r.err)
		write := &WriteError{}
		require.ErrorAs(t, r.err, &write, x)
	}
	closed := make(chan error, 1)
	go func() { closed <- r.Close() }()
	x.within("Close does not return", func() bool { return len(closed) > 0 })
	if x.closed = <-closed; x.closed != nil {
		x.requireInjected(x.closed)
	}
	if early > 0 && x.phase.name != "rebuild" && slices.ContainsFunc(x.f.kinds, isWrite) && strings.Contains(where, "/gen-") {
		// One of a generation that is replaced anyway is of no account.
		require.Error(t, errors.Join(x.err, x.closed), "%s (%s): nobody says that a write has failed", x, where)
	}
}

// isWrite reports whether something is not durable if that fails.
func isWrite(k errorfs.OpKind) bool {
	switch k {
	case errorfs.OpCreate, errorfs.OpRename, errorfs.OpFileWrite, errorfs.OpFileWriteAt, errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
		return true
	}
	return false
}

func (x *faulty) requireInjected(err error) {
	x.e.t.Helper()
	n, where := x.f.hits()
	require.ErrorIs(x.e.t, err, x.f.err, "%s (%s)", x, where)
	require.Positive(x.e.t, n, "%s", x)
}

// read reads all rows: they are those of their positions, or cannot be read.
func (x *faulty) read(r *replica) {
	t := x.e.t
	gen := r.e.served()
	if gen == nil {
		return
	}
	snap, err := gen.NewSnapshot()
	if err != nil {
		x.requireReadError(err)
		return
	}
	defer snap.Close()
	rows := map[string]string{}
	err = snap.Scan(nil, nil, func(key []byte, row *store.Row) bool {
		rows[string(key)] = string(row.Value)
		return true
	})
	want, _ := x.now().fold(nextOf(snap.State()), nil, gen.Identity().Transform)
	if err != nil {
		x.requireReadError(err)
		maps.DeleteFunc(want, func(key, _ string) bool { _, ok := rows[key]; return !ok })
	}
	require.Equal(t, want, rows, x)
}

func (x *faulty) requireReadError(err error) {
	for _, ok := range []error{x.f.err, store.ErrCorrupt, store.ErrClosed} {
		if errors.Is(err, ok) {
			return
		}
	}
	x.e.t.Fatalf("%s: a read fails with %v", x, err)
}

// heal opens a table on the disk without faults: it has all there is.
func (x *faulty) heal() {
	x.f.end()
	x.mark = x.phase.mark
	tb, err := Open(x.e.topic, codec.String(), codec.String(), x.options(x.disk)...)
	require.NoError(x.e.t, err, x)
	r := x.e.run(tb)
	x.within("it does not heal", func() bool { return r.isEnd() || atEnd(x.world, r) && isReady(nil, r) })
	require.False(x.e.t, r.isEnd(), "%s: %v", x, r.err)
	x.caughtUp(r)
	r.close()
}

// faultWorld is a topic, and a disk with a table of it that was closed.
func faultWorld(t *testing.T, rng *rand.Rand) (*world, *vfs.MemFS) {
	b := kafkatest.Fake(t)
	quickFetches(b, 20_000)
	w := newWorld(nullKeyed(t, b, 2), rng, 2)
	w.now().put(3000)
	disk := vfs.NewCrashableMem()
	on := opt(func(c *config) { c.fs, c.dir = disk, "/table" })
	r := w.e.open(w.opts(on)...)
	w.caughtUp(r)
	for range 20 {
		w.now().put(10)
	}
	w.caughtUp(r)
	r.close()
	return w, disk
}

// clone returns the disk as it is.
func clone(disk *vfs.MemFS, rng *rand.Rand) *vfs.MemFS {
	return disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rng})
}

// start returns the disk that a phase begins with.
func (p *faultPhase) start(w *world, closed *vfs.MemFS) *vfs.MemFS {
	if p.fresh {
		return vfs.NewCrashableMem()
	}
	w.now().put(3) // there is something to read
	return clone(closed, w.rng)
}

// Each kind of file operation fails, in each phase of a table's life, at a random
// one, once or from then on. Run ends with a *WriteError, or the rows that are
// built beside others are dropped, or the table goes on; Run and Close return
// soon; no read gives a wrong answer; and a table that is opened afterwards, on
// the disk as it is or as a power cut leaves it, has all rows.
func TestInjectedIOErrors(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	met, possible := map[errorfs.OpKind]int{}, map[errorfs.OpKind]int{}
	for i, phase := range faultPhases {
		t.Run(phase.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			w, closed := faultWorld(t, rng)
			dry := &faulty{world: w, phase: phase, f: &faults{}, disk: phase.start(w, closed)}
			dry.run()
			require.True(t, dry.done)
			dry.heal()
			row := []string{}
			for _, kind := range slices.Sorted(maps.Keys(opKinds)) {
				count := dry.f.count[kind]
				possible[kind] += count
				if count == 0 {
					continue
				}
				hit, ends, drops := 0, 0, 0
				for round := 0; round < *ioErrorRounds || hit == 0 && round < *ioErrorRounds+3; round++ {
					n := 1
					if round < *ioErrorRounds { // it may not come as often as before
						n += rng.IntN(count)
					}
					x := &faulty{world: w, phase: phase, disk: phase.start(w, closed), f: &faults{
						kinds: []errorfs.OpKind{kind}, n: n, forever: rng.IntN(2) == 0,
						err: []error{syscall.EIO, syscall.ENOSPC}[rng.IntN(2)],
					}}
					x.run()
					hits, _ := x.f.hits()
					hit += hits
					if x.err != nil || x.open != nil {
						ends++
					}
					if x.dropped > 0 {
						drops++
					}
					if rng.IntN(2) == 0 {
						x.disk = x.disk.CrashClone(vfs.CrashCloneCfg{})
					}
					x.heal()
				}
				met[kind] += hit
				row = append(row, fmt.Sprintf("%s=%d/%d/%d", opKinds[kind], hit, ends, drops))
			}
			t.Logf("%s, faults met / runs ended / generations dropped: %s", phase.name, strings.Join(row, " "))
		})
	}
	if t.Failed() {
		return
	}
	for kind, n := range possible {
		if n > 0 {
			require.Positive(t, met[kind], "faults at %s", opKinds[kind])
		}
	}
}
