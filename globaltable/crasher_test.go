package globaltable

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/globaltable/enrich/internal/store"
)

// phase is what a table is doing when its disk is taken.
type phase string

const (
	phaseOpen   phase = "open"
	phaseLoad   phase = "bootstrap" // the first load, in bulk
	phaseResume phase = "resume"
	phaseLive   phase = "live"
	phaseBehind phase = "bulk again" // live, and so far behind that it loads in bulk
	phaseVerify phase = "verification"
	phaseBuild  phase = "rebuild"
	phaseClose  phase = "close"
)

var crashPhases = []phase{phaseOpen, phaseLoad, phaseResume, phaseLive, phaseBehind, phaseVerify, phaseBuild, phaseClose}

// A crashPoint is a disk as a crash would leave it, and what must be on it.
type crashPoint struct {
	disk    *vfs.MemFS
	phase   phase
	at      string // the file operation that it came before, or the event
	deletes int    // how often records had been deleted from a log
	// durable is what each generation must have reached, and current the
	// number that the one that answers must have at least.
	durable map[uint64]map[int32]int64
	current uint64
}

func (c *crashPoint) String() string {
	return fmt.Sprintf("crash in %s before %s", c.phase, c.at)
}

// sightings count what a run went through.
type sightings struct {
	ingests, merges, flushes    atomic.Int64 // as Pebble tells
	toBulk, toLive              atomic.Int64 // switches between the two
	verifications, verifiedRows atomic.Int64
	swaps, resumes              atomic.Int64
}

func (s *sightings) String() string {
	return fmt.Sprintf("ingests=%d merges=%d flushes=%d live-to-bulk=%d bulk-to-live=%d verifications=%d verified-rows=%d swaps=%d resumes=%d",
		s.ingests.Load(), s.merges.Load(), s.flushes.Load(), s.toBulk.Load(), s.toLive.Load(),
		s.verifications.Load(), s.verifiedRows.Load(), s.swaps.Load(), s.resumes.Load())
}

// missing names what was never seen.
func (s *sightings) missing() (none []string) {
	for name, n := range map[string]*atomic.Int64{
		"ingests": &s.ingests, "merges": &s.merges, "flushes": &s.flushes, "switches from live to bulk": &s.toBulk,
		"switches from bulk to live": &s.toLive, "verifications": &s.verifications, "rows deleted by them": &s.verifiedRows,
		"swaps": &s.swaps, "resumes": &s.resumes,
	} {
		if n.Load() == 0 {
			none = append(none, name)
		}
	}
	return none
}

// A watcher is between a table and its disk. It takes the disk as crashes would
// leave it, before random file operations and at random events, as many of each
// phase; and it is told what a crash must have kept.
type watcher struct {
	disk *vfs.MemFS
	most int // points of each phase
	seen *sightings
	e    atomic.Pointer[engine]

	linkMu sync.Mutex // see Link
	mu     sync.Mutex // guards what follows
	rng    *rand.Rand
	doing  phase
	whole  bool // it has been ready
	ended  bool
	bulk   bool // the last batch was one of a bulk load
	chunks int  // bulk loads' tables taken in since
	met    map[phase]int
	points map[phase][]*crashPoint

	deletes int
	durable map[uint64]map[int32]int64
	current uint64
	swapped string // a generation that took another's place and was not complete
	ends    map[int32]int64
	endsOf  TopicID
}

func newWatcher(disk *vfs.MemFS, seen *sightings, rng *rand.Rand, most int) *watcher {
	return &watcher{
		disk: disk, most: most, seen: seen, rng: rng, doing: phaseOpen,
		met: map[phase]int{}, points: map[phase][]*crashPoint{}, durable: map[uint64]map[int32]int64{},
	}
}

// on makes a table use the disk.
func (w *watcher) on() Opt {
	return opt(func(c *config) {
		c.fs, c.dir = errorfs.Wrap(linkFS{w.disk, &w.linkMu}, errorfs.InjectorFunc(w.before)), "/table"
		c.pebble = func(p *pebble.Options) {
			p.EventListener = &pebble.EventListener{TableIngested: w.ingested, CompactionEnd: w.merged, FlushEnd: w.flushed}
		}
		Hooks(w).apply(c)
	})
}

// linkFS lets nobody make a link while the disk is taken: a MemFS hangs when both
// happen at once.
type linkFS struct {
	vfs.FS
	mu *sync.Mutex
}

func (fs linkFS) Link(oldname, newname string) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.FS.Link(oldname, newname)
}

// before is called before each file operation.
func (w *watcher) before(op errorfs.Op) error {
	one := 0 // in how many a point is taken
	switch op.Kind {
	case errorfs.OpCreate, errorfs.OpRename, errorfs.OpRemove, errorfs.OpRemoveAll, errorfs.OpLink, errorfs.OpMkdirAll, errorfs.OpReuseForWrite:
		one = 2
	case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
		one = 2
	case errorfs.OpFileWrite, errorfs.OpFileWriteAt, errorfs.OpFileClose, errorfs.OpLock:
		one = 5
	default:
		return nil
	}
	w.maybe(one, fmt.Sprintf("operation %d on %s", op.Kind, op.Path))
	return nil
}

// maybe takes the disk once in so many times.
func (w *watcher) maybe(one int, at string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended || w.rng.IntN(one) != 0 {
		return
	}
	ph := w.phase()
	w.met[ph]++
	// A sample: each moment of a phase is as likely as any other.
	slot := w.met[ph] - 1
	if slot >= w.most {
		if slot = w.rng.IntN(w.met[ph]); slot >= w.most {
			return
		}
	}
	p := &crashPoint{phase: ph, at: at, deletes: w.deletes, durable: maps.Clone(w.durable), current: w.current}
	percent := []int{0, 0, 50, 100, w.rng.IntN(101)}[w.rng.IntN(5)]
	w.linkMu.Lock()
	p.disk = w.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: w.rng})
	w.linkMu.Unlock()
	if slot == len(w.points[ph]) {
		w.points[ph] = append(w.points[ph], p)
	} else {
		w.points[ph][slot] = p
	}
}

// phase is what goes on. The lock is held.
func (w *watcher) phase() phase {
	switch {
	case w.doing == phaseLive && w.bulk:
		return phaseBehind
	case w.doing == phaseLoad && w.whole:
		return phaseResume
	}
	return w.doing
}

// begin notes what the table is made to do.
func (w *watcher) begin(p phase) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.doing = p
}

// expect notes what the topic holds before a table is opened: what is built has
// to have all of it before it answers.
func (w *watcher) expect(id TopicID, ends map[int32]int64, deletes int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.endsOf, w.ends, w.deletes = id, ends, deletes
}

// isDurable notes that a state is on disk.
func (w *watcher) isDurable(gen uint64, s *store.State) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keep(gen, nextOf(s))
}

// keep is isDurable with the lock held. Flushes may be told of out of order.
func (w *watcher) keep(gen uint64, next map[int32]int64) {
	for p, at := range w.durable[gen] {
		next[p] = max(next[p], at)
	}
	w.durable[gen] = next
}

// taken returns the disks, and takes no more.
func (w *watcher) taken() []*crashPoint {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	var all []*crashPoint
	for _, p := range crashPhases {
		all = append(all, w.points[p]...)
	}
	return all
}

// early returns how a generation has answered before it was complete, if one did.
func (w *watcher) early() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.swapped
}

func (w *watcher) flushed(i pebble.FlushInfo) {
	if i.Err == nil {
		w.seen.flushes.Add(1)
	}
}

func (w *watcher) merged(i pebble.CompactionInfo) {
	if i.Err == nil && i.Reason != "move" {
		w.seen.merges.Add(1)
	}
}

func (w *watcher) ingested(i pebble.TableIngestInfo) {
	if i.Err != nil {
		return
	}
	w.seen.ingests.Add(1)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range i.Tables {
		// One of no rows is not told of as a batch.
		if string(t.Smallest.UserKey) != string(t.Largest.UserKey) {
			w.chunks++
		}
	}
}

func (w *watcher) OnBatchApplied(b BatchApplied) {
	w.maybe(4, "a batch of "+fmt.Sprint(b.Rows))
	w.mu.Lock()
	defer w.mu.Unlock()
	bulk := w.chunks > 0
	w.chunks = 0
	switch {
	case bulk && !w.bulk && w.doing == phaseLive:
		w.seen.toBulk.Add(1)
	case !bulk && w.bulk:
		w.seen.toLive.Add(1)
	}
	w.bulk = bulk
	if e := w.e.Load(); e != nil && bulk {
		// A chunk is durable when it is told of.
		if f := e.follower.Load(); f.gen.Number() == b.Generation {
			w.keep(b.Generation, nextOf(f.gen.State()))
			if !f.plan.beside {
				w.current = max(w.current, b.Generation)
			}
		}
	}
}

func (w *watcher) OnStatus(s Status) {
	w.mu.Lock()
	if w.doing != phaseClose {
		switch s.State {
		case Bootstrapping, Starting:
			w.doing, w.bulk = phaseLoad, false
		case Verifying:
			w.doing = phaseVerify
		case Rebuilding:
			w.doing, w.bulk = phaseBuild, false
		case Ready:
			w.doing, w.whole = phaseLive, true
		}
	}
	w.mu.Unlock()
	w.maybe(2, "status "+s.State.String())
}

func (w *watcher) OnVerified(_ Reason, deleted int) {
	w.seen.verifications.Add(1)
	w.seen.verifiedRows.Add(int64(deleted))
	w.maybe(2, "the end of a verification")
}

func (w *watcher) OnRebuild(stage RebuildStage, _ Reason, _ error) {
	if e := w.e.Load(); e != nil && stage == RebuildSwapped {
		f := e.follower.Load()
		gen := f.gen
		w.mu.Lock()
		w.seen.swaps.Add(1)
		if f.plan.beside {
			// To take another's place it was made durable.
			w.current = max(w.current, gen.Number())
			w.keep(gen.Number(), nextOf(gen.State()))
		}
		if TopicID(gen.Identity().TopicID) == w.endsOf {
			for p, end := range w.ends {
				if at := gen.State().Get(p).Next; at < end {
					w.swapped = fmt.Sprintf("generation %d answers and is at %d of %d in partition %d", gen.Number(), at, end, p)
				}
			}
		}
		w.mu.Unlock()
	}
	w.maybe(2, "rebuild "+string(stage))
}

// manifestLost reports whether a crash has kept the name of a marker and lost
// that of the manifest that it names, in a generation's directory. Pebble makes
// both durable by one sync of the directory, and relies on names becoming so in
// the order they were made.
func manifestLost(fs vfs.FS) bool {
	dirs, _ := fs.List("/table")
	for _, dir := range dirs {
		names, err := fs.List(fs.PathJoin("/table", dir))
		if !strings.HasPrefix(dir, "gen-") || err != nil {
			continue
		}
		marker := ""
		for _, name := range names {
			if strings.HasPrefix(name, "marker.manifest.") {
				marker = max(marker, name)
			}
		}
		if marker != "" && !slices.Contains(names, marker[strings.LastIndex(marker, ".")+1:]) {
			return true
		}
	}
	return false
}
