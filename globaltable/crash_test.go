package globaltable

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/internal/kafkatest"
	"github.com/globaltable/enrich/internal/store"
)

var (
	crashPoints = flag.Int("crash.points", lessWithRace(600), "how many crashes TestCrashAtAnyMoment looks at, at least")
	crashSeed   = flag.Uint64("crash.seed", 0, "the one history that TestCrashAtAnyMoment plays; 0 for random ones")
)

// lessWithRace is how many rounds are played by default: the race detector makes
// each several times as slow.
func lessWithRace(n int) int {
	if raceEnabled {
		return n / 3
	}
	return n
}

// quickFetches makes a fake answer fetches with few records, and soon.
func quickFetches(b *kafkatest.Broker, bytes int32) {
	b.Fake().ControlKey(kmsg.Fetch.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		b.Fake().KeepControl()
		fetch := req.(*kmsg.FetchRequest)
		fetch.MaxWaitMillis = 20
		for _, t := range fetch.Topics {
			for i := range t.Partitions {
				t.Partitions[i].PartitionMaxBytes = bytes
			}
		}
		return nil, nil, false
	})
}

// world is a topic with all that it ever was, and a table's options.
type world struct {
	e      *env
	rng    *rand.Rand
	topics map[TopicID]*history
	id     TopicID
	starts map[int32]int64 // where the log starts
	mark   string          // of the transform
	// deletes are the topics whose records were deleted, in order.
	deletes []TopicID
}

func newWorld(e *env, rng *rand.Rand, partitions int32) *world {
	w := &world{e: e, rng: rng, topics: map[TopicID]*history{}, mark: "+"}
	w.adopt(partitions)
	return w
}

// adopt begins the history of the topic that is there now.
func (w *world) adopt(partitions int32) {
	topics, err := w.e.broker.Admin(w.e.t).ListTopics(w.e.ctx(), w.e.topic)
	require.NoError(w.e.t, err)
	w.id, w.starts = TopicID(topics[w.e.topic].ID), map[int32]int64{}
	require.True(w.e.t, w.id.Known())
	require.Len(w.e.t, topics[w.e.topic].Partitions, int(partitions))
	w.topics[w.id] = newHistory(w.e, w.rng)
}

func (w *world) now() *history { return w.topics[w.id] }

// recreate puts another topic in the place of the one that is there.
func (w *world) recreate() {
	w.e.deleteTopic()
	partitions, deletes := int32(1+w.rng.IntN(4)), "delete"
	require.Eventually(w.e.t, func() bool {
		_, err := w.e.broker.Admin(w.e.t).CreateTopic(w.e.ctx(), partitions, -1, map[string]*string{"cleanup.policy": &deletes}, w.e.topic)
		return err == nil
	}, patience, lockPoll)
	w.e.broker.AwaitTopic(w.e.t, w.e.topic, partitions)
	w.adopt(partitions)
}

// cut deletes records of the busiest partition, more than a table has read that
// is at a state.
func (w *world) cut(s *store.State) {
	ends := w.now().ends()
	best := int32(-1)
	for p, end := range ends {
		if end > s.Get(p).Next && (best < 0 || end-s.Get(p).Next > ends[best]-s.Get(best).Next) {
			best = p
		}
	}
	require.GreaterOrEqual(w.e.t, best, int32(0))
	to := s.Get(best).Next + 1 + w.rng.Int64N(ends[best]-s.Get(best).Next)
	deleteRecords(w.e, map[string]map[int32]int64{w.e.topic: {best: to}})
	w.starts[best] = to
	w.deletes = append(w.deletes, w.id)
}

// opts are the table's options but for its place.
func (w *world) opts(more ...Opt) []Opt {
	return append(more, AcceptUncompacted(), Transform(w.mark, marking(w.mark)), bulkOf(200, 4000), FlushInterval(5*time.Millisecond))
}

// caughtUp waits until a table has all there is, and checks it.
func (w *world) caughtUp(r *replica) {
	t := w.e.t
	t.Helper()
	ends := w.now().ends()
	// It may be served by an older generation until it is rebuilt.
	r.until("it is of this topic and transform", func() bool {
		gen := r.e.served()
		if gen == nil {
			return false
		}
		id := gen.Identity()
		return id.TopicID == w.id && id.Transform == w.mark
	})
	for p, end := range ends {
		require.NoError(t, r.WaitFor(w.e.ctx(), Position{Partition: p, Offset: end, TopicID: w.id}), "%s", r.Stats())
	}
	r.waitReady()
	rows, _ := w.now().fold(ends, w.starts, w.mark)
	require.Equal(t, rows, r.rows(), "%s", r.Stats())
	got := nextOf(r.e.served().State())
	none := func(_ int32, at int64) bool { return at == 0 }
	maps.DeleteFunc(got, none)
	maps.DeleteFunc(ends, none)
	require.Equal(t, ends, got)
}

// looked counts what was found on crashed disks.
type looked struct {
	points                                      map[phase]int
	empty, partial, exact, building, lost, open int
}

// check looks at a disk that a crash left: each generation that is there is the
// fold of what its topic held up to the positions that it has.
func (w *world) check(p *crashPoint, saw *looked) {
	t := w.e.t
	saw.points[p.phase]++
	lost := manifestLost(p.disk)
	root, err := store.OpenRoot(store.Options{FS: p.disk, Dir: "/table", Topic: w.e.topic})
	require.NoError(t, err, p)
	current, err := root.Current()
	if lost && err != nil {
		require.ErrorIs(t, err, store.ErrCorrupt, p)
		saw.lost++
		require.NoError(t, root.Close(), p)
		return
	}
	require.NoError(t, err, p)
	if current == nil {
		require.Zero(t, p.current, "%s: none is there, though one was", p)
		saw.empty++
	} else {
		require.GreaterOrEqual(t, current.Number(), p.current, p)
		w.requirePrefix(current, p, saw)
	}
	building, err := root.Building()
	if !lost {
		require.NoError(t, err, p)
	}
	if building != nil {
		saw.building++
		require.NotNil(t, current, p)
		w.requirePrefix(building, p, saw)
	}
	require.NoError(t, root.Close(), p)
}

func (w *world) requirePrefix(gen *store.Generation, p *crashPoint, saw *looked) {
	t := w.e.t
	id, state := gen.Identity(), gen.State()
	h := w.topics[id.TopicID]
	require.NotNil(t, h, "%s: rows of a topic that never was", p)
	require.Contains(t, []string{"+", "*"}, id.Transform, p)
	next, starts := nextOf(state), map[int32]int64{}
	for i := range state.Partitions {
		starts[int32(i)] = state.Partitions[i].LogStart
	}
	rows, counters := h.fold(next, starts, id.Transform)
	require.Equal(t, rows, rowsOf(t, gen), "%s, generation %d at %v", p, gen.Number(), next)
	for part, at := range p.durable[gen.Number()] {
		require.GreaterOrEqual(t, next[part], at, "%s: what was durable is there, partition %d of generation %d", p, part, gen.Number())
	}
	cut := false
	for _, of := range w.deletes[:p.deletes] {
		cut = cut || of == id.TopicID
	}
	got := state.Counters
	got.Verified = 0
	if cut {
		require.LessOrEqual(t, got.Records, counters.Records, p)
	} else {
		require.Equal(t, counters, got, "%s, generation %d at %v", p, gen.Number(), next)
		saw.exact++
	}
	if len(next) > 0 && counters.Records < uint64(len(h.records)) {
		saw.partial++
	}
}

// life is a table's life on a disk that is watched.
type life struct {
	*world
	watch *watcher
	r     *replica
	opens int
}

// open opens the table.
func (l *life) open(more ...Opt) {
	l.watch.expect(l.id, l.now().ends(), len(l.deletes))
	l.watch.begin(phaseOpen)
	tb, err := Open(l.e.topic, codec.String(), codec.String(), l.e.opts(l.opts(append(more, l.watch.on())...)...)...)
	require.NoError(l.e.t, err)
	l.watch.e.Store(tb.e)
	l.r = l.e.run(tb)
	l.opens++
}

// close ends the table, in the middle of whatever it does. All that it applied
// is durable then.
func (l *life) close() *store.State {
	if l.r.Stats().Decision == Resumed {
		l.watch.seen.resumes.Add(1)
	}
	l.watch.begin(phaseClose)
	l.r.close()
	require.Empty(l.e.t, l.watch.early())
	f := l.r.e.follower.Load()
	if f != nil {
		l.watch.isDurable(f.gen.Number(), f.gen.State())
	}
	gen := l.r.e.serving.Load().gen
	if gen == nil && f != nil && !f.plan.beside {
		gen = f.gen
	}
	if gen == nil {
		return &store.State{}
	}
	return gen.State()
}

// sometimes waits until the table has all there is, or for nothing.
func (l *life) sometimes() {
	if l.rng.IntN(3) > 0 {
		l.caughtUp(l.r)
	}
}

// meanwhile goes on producing while the table verifies.
func (l *life) meanwhile() {
	for l.r.Stats().Verifications == 0 && l.rng.IntN(200) > 0 {
		l.now().put(1 + l.rng.IntN(5))
	}
}

// steps are what can happen to a table.
func (l *life) steps() map[string]func() {
	return map[string]func(){
		"live": func() {
			l.caughtUp(l.r)
			for range 30 {
				l.now().put(1 + l.rng.IntN(10))
			}
			l.caughtUp(l.r)
		},
		"behind": func() {
			l.caughtUp(l.r)
			l.now().put(1500 + l.rng.IntN(2000))
			l.sometimes()
		},
		"flush": func() {
			l.caughtUp(l.r)
			l.now().put(20)
			gen := l.r.e.served()
			s := gen.State()
			require.NoError(l.e.t, gen.Flush())
			l.watch.isDurable(gen.Number(), s)
		},
		"resume": func() {
			l.sometimes()
			l.close()
			l.now().put(1 + l.rng.IntN(1500))
			l.open()
			l.sometimes()
		},
		"below the log start": func() {
			l.caughtUp(l.r)
			s := l.close()
			l.now().put(300 + l.rng.IntN(500))
			l.cut(s)
			l.open()
			l.meanwhile()
			l.sometimes()
		},
		"tombstones expired": func() {
			l.caughtUp(l.r)
			l.close()
			l.now().put(1 + l.rng.IntN(500))
			l.open(DeleteRetention(time.Nanosecond))
			l.meanwhile()
			l.sometimes()
		},
		"another topic while down": func() {
			l.sometimes()
			l.close()
			l.recreate()
			l.now().put(1 + l.rng.IntN(3000))
			l.open()
			l.sometimes()
		},
		"another topic": func() {
			l.sometimes()
			l.recreate()
			l.now().put(1 + l.rng.IntN(3000))
			l.caughtUp(l.r)
		},
		"another transform": func() {
			l.sometimes()
			l.close()
			l.mark = map[string]string{"+": "*", "*": "+"}[l.mark]
			l.open()
			l.sometimes()
		},
	}
}

// play lives a life, and looks at the disks that crashes left of it.
func play(t *testing.T, seed uint64, seen *sightings, saw *looked) {
	rng := rand.New(rand.NewPCG(seed, 0))
	b := kafkatest.Fake(t)
	quickFetches(b, int32(2000+rng.IntN(20_000)))
	partitions := int32(1 + rng.IntN(4))
	e := nullKeyed(t, b, partitions)
	l := &life{world: newWorld(e, rng, partitions)}
	l.watch = newWatcher(vfs.NewCrashableMem(), seen, rand.New(rand.NewPCG(seed, 1)), 6)
	l.now().put(3000 + rng.IntN(3000))
	l.open()
	l.sometimes()
	steps := l.steps()
	names := slices.Sorted(maps.Keys(steps))
	rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	for _, name := range names {
		t.Log("step:", name)
		steps[name]()
	}
	l.caughtUp(l.r)
	l.close()
	for i, p := range l.watch.taken() {
		l.check(p, saw)
		if i%4 == 0 {
			l.goOn(p, seen, saw)
		}
	}
}

// goOn opens a table on a disk that a crash left, which comes to the same end as
// one that never crashed. It crashes again meanwhile.
func (l *life) goOn(p *crashPoint, seen *sightings, saw *looked) {
	saw.open++
	again := &life{world: l.world, watch: newWatcher(p.disk, seen, l.rng, 1)}
	again.open()
	again.caughtUp(again.r)
	again.close()
	for _, p := range again.watch.taken() {
		l.check(p, saw)
	}
}

// A disk as crashes leave it, at any moment of a table's life: while it opens,
// loads in bulk, goes live, falls behind, verifies, is rebuilt beside the old
// rows and takes their place, and closes. Each generation on it is the fold of
// what its topic held, up to the positions that it has, its counters are those of
// that, and it has at least what was durable. A table that is opened on it comes
// to the same end.
func TestCrashAtAnyMoment(t *testing.T) {
	seen, saw := &sightings{}, &looked{points: map[phase]int{}}
	lives := 0
	// A short run goes on, though not for long, until it has seen everything.
	for total := 0; !t.Failed() && (total < *crashPoints || lives < 10 && len(unseen(seen, saw)) > 0); lives++ {
		seed := *crashSeed
		if seed == 0 {
			seed = rand.Uint64()
		}
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { play(t, seed, seen, saw) })
		if t.Failed() {
			t.Logf("go test ./globaltable -run TestCrashAtAnyMoment -crash.seed=%d", seed)
		}
		total = 0
		for _, n := range saw.points {
			total += n
		}
		if *crashSeed != 0 {
			break
		}
	}
	t.Logf("lives=%d %s", lives, seen)
	t.Logf("crashes=%v before-the-first-generation=%d prefixes-in-the-middle=%d counters-compared=%d beside-another=%d manifest-lost=%d gone-on=%d",
		saw.points, saw.empty, saw.partial, saw.exact, saw.building, saw.lost, saw.open)
	if t.Failed() || *crashSeed != 0 {
		return
	}
	require.Empty(t, unseen(seen, saw), "what no table went through")
}

// unseen names what was never met.
func unseen(seen *sightings, saw *looked) []string {
	none := seen.missing()
	for _, p := range crashPhases {
		if saw.points[p] == 0 {
			none = append(none, "crashes in "+string(p))
		}
	}
	for name, n := range map[string]int{
		"crashes in the middle": saw.partial, "crashes whose counters were compared": saw.exact,
		"crashes beside a generation that was being built": saw.building,
	} {
		if n == 0 {
			none = append(none, name)
		}
	}
	return none
}
