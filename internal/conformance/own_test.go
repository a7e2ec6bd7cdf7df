package conformance

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/globaltable"
	"github.com/globaltable/enrich/internal/kafkatest"
)

func ownRows() []row {
	return []row{
		{ID: "X1", Verdict: own, Ours: "Killed in the middle of a bootstrap, it goes on from the last flushed position.", Test: killedInABootstrap, Red: startsAtTheLogStart()},
		{ID: "X2", Verdict: own, Ours: "A record that a transform rejects takes its key's row away, live as in a bootstrap, and is counted.", Test: poisonIsTheSameLive, Red: rejectedKeepTheOldRow()},
		{ID: "X3", Verdict: own, Ours: "Partitions that are added are found and read, and the table stays ready.", Test: addedPartitions, Red: change("internal/feed/watch.go", "if p == nil && s.until == nil {", "if false {")},
		{ID: "X4", Verdict: own, Ours: "A topic that was created again, shorter, as long or longer, is another one: no row of the old one is left.", Test: recreatedTopics, Red: topicIDsAreIgnored()},
		{ID: "X5", Verdict: own, Ours: "A table that was away for longer than tombstones are kept is verified: what was deleted meanwhile is gone.", Test: forgottenTombstones, Red: change("globaltable/decide.go", "now.Sub(at.AtEnd) > retention {", "now.Sub(at.AtEnd) > retention && false {")},
		{ID: "X6", Verdict: own, Ours: "Of one key in two partitions the record that is applied last counts; Stats.SpreadKeys tells that there are such keys.", Test: oneKeyInTwoPartitions, Red: change("globaltable/apply.go", "\t\tf.watchSpread(r)\n", "")},
		{ID: "X7", Verdict: own, Ours: "Cancelled in the middle of a bootstrap, Run returns within a second.", Test: cancelledInABootstrap, Red: change("globaltable/run.go", "\t\tif ctx.Err() != nil {\n\t\t\t// The end", "\t\tif ctx.Err() != nil {\n\t\t\ttime.Sleep(2 * time.Second)\n\t\t\t// The end")},
		{ID: "X8", Verdict: own, Ours: "Over a directory of another topic, or of a newer format, Open is refused; rows of another transform or isolation level are built anew.", Test: otherOptionsOverOneDirectory, Red: change("globaltable/decide.go", "case has.ReadUncommitted != want.ReadUncommitted:", "case false:")},
		{ID: "X9", Verdict: own, Ours: "A second process that opens the directory gets ErrLocked, and the first is not disturbed.", Test: twoProcesses, Red: locksAreNotTold()},
		{ID: "X10", Verdict: own, Ours: "Files that are damaged, cut off or gone are noticed, and the rows are built anew, once.", Test: damagedFiles, Red: damageIsWaitedOut()},
		{ID: "X11", Verdict: own, Ours: "After a crash at any moment the rows are what the topic says up to the stored positions.", Test: func(t *testing.T) { foldOfThePositions(t, 20) }, Red: storedPositionsAreWrong()},
		{ID: "X12", Verdict: own, Ours: "An empty topic, one of nothing but tombstones, and one whose log starts above 0 make a table that is ready, and exact.", Test: emptyTopics, Red: change("globaltable/targets.go", "if at, ok := t.offsets[p]; ok {", "if at, ok := t.offsets[p]; ok && at > 0 {")},
		{ID: "X13", Verdict: own, Ours: "While one table is rebuilt no other is touched.", Test: oneTableRebuilds, Red: topicIDsAreIgnored()},
		{ID: "X14", Verdict: own, Ours: "Without brokers a table answers with AllowStale, at its start, and goes on answering when it was ready; else it says not ready. Status, Lag and MaxStaleness tell.", Test: brokersAway, Red: change("globaltable/refuse.go", "\tif e.cfg.allowStale == 0 {\n\t\treturn\n\t}\n\t// What", "\tif true {\n\t\treturn\n\t}\n\t// What")},
		{ID: "X15", Verdict: own, Ours: "Lookups beside updates are never older than a position that was applied before, and never go back.", Test: lookupsBesideUpdates, Red: change("globaltable/engine.go", "\tgen.OnChange(cache.forget)\n", "")},
	}
}

func shortFlush() globaltable.Opt { return globaltable.FlushInterval(10 * time.Millisecond) }

func killedInABootstrap(t *testing.T) {
	w := fake(t, 1)
	disk := newCrashable()
	w.put(numbered("k", 40)...)
	h := &hold{key: "k30"}
	r := w.open(on(disk, shortFlush(), h.opt())...)
	r.until("most of it is applied", func() bool { return h.asked.Load() >= 2 })
	// The next run shows from where it goes on: what it tries is the rest.
	var again *hold
	require.Eventually(t, func() bool {
		crashed := disk.crash()
		again = &hold{}
		again.over.Store(true)
		next := w.ready(on(crashed, again.opt())...)
		defer next.stop()
		w.holds(next)
		return next.Stats().Decision == globaltable.Resumed && next.Stats().Records == 40 && again.seen.Load() == 10
	}, patience(), 20*time.Millisecond)
	require.NotEqual(t, globaltable.Ready, r.Status().State)
}

func poisonIsTheSameLive(t *testing.T) {
	w := fake(t, 1)
	fs := vfs.NewMem()
	w.put("a=1", "b=1", "b=poison")
	strict := globaltable.Transform("strict", func(e entry) (string, bool, error) {
		if strings.HasPrefix(e.Value, "poison") {
			return "", false, errors.New("poison")
		}
		return e.Value, true, nil
	})
	r := w.ready(on(fs, strict)...)
	r.sees(w.put("a=poison", "c=1", "d=poison", "d=2"))
	w.want = map[string]string{"c": "1", "d": "2"}
	w.holds(r)
	require.EqualValues(t, 3, r.Stats().Rejected)
	r.stop()
	fresh, again := w.ready(memory(), strict), w.ready(on(fs, strict)...)
	w.holds(fresh)
	w.holds(again)
	require.EqualValues(t, 3, fresh.Stats().Rejected)
	require.EqualValues(t, 3, again.Stats().Rejected, "over both runs")
}

func addedPartitions(t *testing.T) {
	both(t, 1, func(t *testing.T, w *world) {
		w.put("a=1")
		r := w.ready(memory())
		_, err := w.broker.Admin(t).UpdatePartitions(ctxOf(t), 3, w.topic)
		require.NoError(t, err)
		w.broker.AwaitTopic(t, w.topic, 3)
		for p := range int32(3) {
			w.putTo(p, numbered("in"+string('a'+p), 3)...)
		}
		// Partitions are looked for every five seconds.
		require.Eventually(t, func() bool { return mapsEqual(r.rows(), w.want) }, max(patience(), 10*time.Second), 5*time.Millisecond)
		w.holds(r)
		require.Len(t, r.Positions(), 3)
		require.Equal(t, globaltable.Ready, r.Status().State)
		require.Equal(t, []string{"bootstrapping", "ready"}, r.events.list(func() []string { return r.events.states }), "ready all the time")
	})
}

func recreatedTopics(t *testing.T) {
	for length, n := range map[string]int{"shorter": 3, "equal": 10, "longer": 17} {
		t.Run(length, func(t *testing.T) {
			both(t, 1, func(t *testing.T, w *world) {
				dir := globaltable.Dir(t.TempDir())
				w.put(numbered("old", 10)...)
				w.ready(dir).stop()
				w.recreate()
				w.put(numbered("new", n)...)
				r := w.ready(dir)
				w.holds(r)
				require.Equal(t, globaltable.Rebuilt, r.Stats().Decision)
				require.Equal(t, globaltable.TopicRecreated, r.Stats().Reason)
			})
		})
	}
}

func forgottenTombstones(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		w := newWorld(t, b, 1, kafkatest.CompactedSoon(0))
		dir := globaltable.Dir(t.TempDir())
		w.put("keep=1") // the fake moves the log start otherwise
		hot := w.put("a=1")[0]
		w.put("b=2")
		w.ready(dir).stop()
		tombstone := w.put("a")[0]
		filler := func() { w.put(kafkatest.FillerKey + "=" + time.Now().String()) }
		kafkatest.ForceCompaction(t, b, w.topic, 0, hot.Offset, hot.Offset, filler)
		kafkatest.ForceCompaction(t, b, w.topic, 0, tombstone.Offset, tombstone.Offset, filler)
		r := w.ready(dir)
		w.holds(r)
		require.Equal(t, globaltable.Verified, r.Stats().Decision)
		require.Equal(t, globaltable.TombstonesExpired, r.Stats().Reason)
		require.EqualValues(t, 1, r.Stats().Verified)
	})
}

func oneKeyInTwoPartitions(t *testing.T) {
	w := fake(t, 2)
	w.putTo(0, "a=first")
	r := w.ready(memory())
	require.Zero(t, r.Stats().SpreadKeys)
	for i, p := range []int32{1, 0, 1} {
		v := fmt.Sprint("a=", i)
		r.sees(w.putTo(p, v))
		w.holds(r)
		e, ok, err := r.GetEntry("a")
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, p, e.Partition)
	}
	require.EqualValues(t, 1, r.Stats().SpreadKeys)
	r.sees(w.putTo(0, "a"))
	w.holds(r) // also if another partition still has a record
}

// Time is virtual, so a second is one on any machine.
func cancelledInABootstrap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, kafkatest.FakeVirtual(t), 2, kafkatest.Compacted())
		w.put(numbered("k", 100)...)
		h := &hold{key: "k50"}
		r := w.open(memory(), h.opt())
		time.Sleep(20 * time.Second) // virtual: it is where it stays
		require.Positive(t, h.asked.Load())
		require.Equal(t, globaltable.Bootstrapping, r.Status().State)
		began := time.Now()
		r.cancel()
		require.NoError(t, <-errOf(r))
		require.Less(t, time.Since(began), time.Second)
		require.NoError(t, r.Close())
	})
}

func errOf(r *replica) <-chan error {
	ch := make(chan error, 1)
	go func() {
		<-r.done
		ch <- r.err
	}()
	return ch
}

func otherOptionsOverOneDirectory(t *testing.T) {
	w := fake(t, 1)
	dir := t.TempDir()
	w.put("a=1")
	w.txn(false, "b=aborted")
	w.ready(globaltable.Dir(dir)).stop()
	rebuilt := func(reason globaltable.Reason, opts ...globaltable.Opt) {
		t.Helper()
		r := w.ready(append(opts, globaltable.Dir(dir))...)
		require.Equal(t, globaltable.Rebuilt, r.Stats().Decision)
		require.Equal(t, reason, r.Stats().Reason)
		w.holds(r)
		r.stop()
	}
	w.want = map[string]string{"a": "1", "b": "aborted"}
	rebuilt(globaltable.IsolationChanged, globaltable.ReadUncommitted())
	w.want = map[string]string{"a": "1"}
	rebuilt(globaltable.IsolationChanged)
	w.want = map[string]string{"a": "a1"}
	rebuilt(globaltable.TransformChanged, upper())
	w.want = map[string]string{"a": "1"}
	rebuilt(globaltable.TransformChanged)

	foreignTablesAreRefused(t)

	// The directory of a release that is not there yet.
	descriptor := filepath.Join(dir, "TABLE")
	b, err := os.ReadFile(descriptor)
	require.NoError(t, err)
	line, _, _ := strings.Cut(string(b), "\n")
	var d map[string]any
	require.NoError(t, json.Unmarshal([]byte(line), &d))
	d["format"] = 1_000_000
	newer, err := json.Marshal(d)
	require.NoError(t, err)
	newer = fmt.Appendf(nil, "%s\ncrc32c %08x\n", newer, crc32.Checksum(newer, crc32.MakeTable(crc32.Castagnoli)))
	require.NoError(t, os.WriteFile(descriptor, newer, 0o600))
	_, err = globaltable.Open(w.topic, codec.String(), codec.String(), w.opts(globaltable.Dir(dir))...)
	var refused *globaltable.NewerFormatError
	require.ErrorAs(t, err, &refused)
	require.ErrorAs(t, globaltable.Remove(dir), &refused)
	b, err = os.ReadFile(descriptor)
	require.NoError(t, err)
	require.Equal(t, newer, b, "it is left as it is")
}

// childEnv makes the test binary a process that opens the directory it names.
const childEnv = "ENRICH_CONFORMANCE_CHILD"

// child opens a table and tells how that went.
func child(dir string) int {
	tb, err := globaltable.Open("devices", codec.String(), codec.String(), globaltable.Brokers(nowhere), globaltable.Dir(dir))
	switch {
	case errors.Is(err, globaltable.ErrLocked):
		fmt.Println("locked:", err)
	case err != nil:
		fmt.Println(err)
	default:
		fmt.Println("opened")
		err = tb.Close()
	}
	if err != nil {
		return 1
	}
	return 0
}

func twoProcesses(t *testing.T) {
	dir := t.TempDir()
	tb, err := globaltable.Open("devices", codec.String(), codec.String(), globaltable.Brokers(nowhere), globaltable.Dir(dir))
	require.NoError(t, err)
	other := func() (string, error) {
		exe, err := os.Executable()
		require.NoError(t, err)
		cmd := exec.CommandContext(ctxOf(t), exe)
		cmd.Env = append(os.Environ(), childEnv+"="+dir)
		b, err := cmd.Output()
		return string(b), err
	}
	out, err := other()
	require.Error(t, err)
	require.Contains(t, out, "locked:")
	require.Contains(t, out, dir, "it says which")
	require.NoError(t, tb.Close())
	out, err = other()
	require.NoError(t, err)
	require.Contains(t, out, "opened")
}

func damagedFiles(t *testing.T) {
	for pattern, damages := range map[string]map[string]func(*testing.T, string){
		"*.sst":      {"overwritten": overwritten, "cut off": truncated, "gone": missing},
		"MANIFEST-*": {"overwritten": overwritten, "cut off": truncated, "gone": missing},
		"marker.*":   {"gone": missing},
	} {
		for damage, fn := range damages {
			t.Run(pattern+" "+damage, damageIsHealed(pattern, fn))
		}
	}
}

// foldOfThePositions crashes a table that is written to, and compares what is left
// with the log up to the positions that are left.
func foldOfThePositions(t *testing.T, crashes int) {
	w := fake(t, 1)
	disk := newCrashable()
	log := w.put("k0=0")
	r := w.ready(on(disk, globaltable.FlushInterval(3*time.Millisecond))...)
	eventuallyDurable(t, w, r, disk)
	rng := rand.New(rand.NewPCG(1, 2))
	type crash struct {
		fs  *vfs.MemFS
		log int
	}
	var left []crash
	for i := range crashes {
		for j := range 4 {
			k := strconv.Itoa(rng.IntN(10))
			pair := fmt.Sprintf("k%s=%d.%d", k, i, j)
			if rng.IntN(4) == 0 {
				pair = "k" + k
			}
			log = append(log, w.put(pair)...)
		}
		if i%2 == 0 {
			r.sees(log[len(log)-1:])
		}
		left = append(left, crash{disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng}), len(log)})
	}
	for i, c := range left {
		at, rows, ok := stored(t, w.topic, on(c.fs)...)
		require.True(t, ok, "crash %d", i)
		require.LessOrEqual(t, at[0], int64(c.log))
		require.Equal(t, fold(map[string]string{}, log[:at[0]]), rows, "crash %d at %d", i, at[0])
	}
	// And a run that goes on from there has all of it.
	again := w.ready(on(left[len(left)-1].fs)...)
	require.Equal(t, globaltable.Resumed, again.Stats().Decision)
	w.holds(again)
}

func emptyTopics(t *testing.T) {
	for name, fill := range map[string]func(w *world){
		"empty":           func(*world) {},
		"only tombstones": func(w *world) { w.put("a", "b", "a") },
		"log start above zero": func(w *world) {
			rs := w.put("a=1", "b=2", "c=3")
			w.deleteRecords(rs[2].Offset, "a", "b")
		},
		"everything deleted by hand": func(w *world) {
			rs := w.put("a=1", "b=2")
			w.deleteRecords(rs[1].Offset+1, "a", "b")
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := deletable(t)
			fill(w)
			r := w.ready(memory())
			w.holds(r)
			require.EqualValues(t, 0, r.Lag().Records)
			r.sees(w.put("later=1"))
			w.holds(r)
		})
	}
}

func oneTableRebuilds(t *testing.T) {
	first := fake(t, 1)
	second := first.beside()
	first.put("old=1")
	second.put("a=1")
	r, other := first.ready(memory()), second.ready(memory())
	before := other.Stats()
	first.recreate()
	first.put("new=1")
	r.until("the swap", func() bool { return r.Stats().Rebuilds == 1 })
	first.holds(r)
	after := other.Stats()
	require.Equal(t, before.Generation, after.Generation)
	require.Equal(t, before.Decision, after.Decision)
	require.Zero(t, after.Rebuilds)
	require.Equal(t, []string{"bootstrapping", "ready"}, other.events.list(func() []string { return other.events.states }))
	other.sees(second.put("a=2"))
	second.holds(other)
}

func brokersAway(t *testing.T) {
	w := fake(t, 1)
	fs := vfs.NewMem()
	n := &network{}
	w.put("a=1", "b=2")
	r := w.ready(on(fs, n.opt())...)
	n.cut.Store(true)
	r.until("it says so", func() bool { return r.Status().State == globaltable.Stale })
	require.Error(t, r.Status().Err)
	w.holds(r)
	age := r.Lag().Age
	r.until("the answers grow old, visibly", func() bool { return r.Lag().Age > age })
	r.stop()

	// At a start.
	at, rows, ok := stored(t, w.topic, on(fs)...)
	require.True(t, ok)
	require.Equal(t, map[int32]int64{0: 2}, at)
	require.Equal(t, w.want, rows)
	r = w.open(on(fs, n.opt())...)
	r.until("it says what it waits for", func() bool { return r.Status().Err != nil })
	_, _, err := r.Get("a")
	require.ErrorIs(t, err, globaltable.ErrNotReady, "without AllowStale")
	n.cut.Store(false)
	r.waitReady()
	w.holds(r)
	r.stop()

	// And who wants no old answers gets none.
	r = w.ready(on(fs, n.opt(), globaltable.MaxStaleness(time.Second))...)
	n.cut.Store(true)
	var stale *globaltable.StaleError
	r.until("it refuses", func() bool { _, _, err := r.Get("a"); return errors.As(err, &stale) })
	require.ErrorIs(t, stale, globaltable.ErrNotReady)
	n.cut.Store(false)
	r.until("it answers again", func() bool { _, ok, err := r.Get("a"); return ok && err == nil })
}

// lookupsBesideUpdates has one key count upwards while it is read.
func lookupsBesideUpdates(t *testing.T) {
	w := fake(t, 1)
	w.put("n=0", "other=0")
	r := w.ready(memory())
	stop := make(chan struct{})
	var readers sync.WaitGroup
	look := func() (int64, error) {
		floor := offsets(r.table)[0]
		e, ok, err := r.GetEntry("n")
		if err != nil || !ok {
			return 0, fmt.Errorf("found %v: %w", ok, err)
		}
		n, err := strconv.ParseInt(e.Value, 10, 64)
		// Record i+1 of the log says i, but for the first two.
		if want := floor - 2; err == nil && n < want {
			return n, fmt.Errorf("%d was read where the position said %d", n, want)
		}
		return n, err
	}
	for range 4 {
		readers.Go(func() {
			var last int64
			for {
				select {
				case <-stop:
					return
				default:
				}
				n, err := look()
				if err == nil && n < last {
					err = fmt.Errorf("it went back from %d to %d", last, n)
				}
				if err != nil {
					t.Error(err)
					return
				}
				last = n
			}
		})
	}
	cl := w.broker.Client(t)
	for i := 1; i <= 150; i++ {
		rec := &kgo.Record{Topic: w.topic, Key: []byte("n"), Value: fmt.Append(nil, i)}
		if err := cl.ProduceSync(ctxOf(t), rec).FirstErr(); err != nil {
			t.Error(err)
			break
		}
		w.want["n"] = strconv.Itoa(i)
		if i%10 == 0 {
			r.sees([]*kgo.Record{rec})
		}
	}
	close(stop)
	readers.Wait()
	rec := w.put("last=1")
	r.sees(rec)
	w.holds(r)
}
