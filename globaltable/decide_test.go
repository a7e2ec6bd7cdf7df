package globaltable

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/globaltable/enrich/internal/feed"
	"github.com/globaltable/enrich/internal/kafkatest"
	"github.com/globaltable/enrich/internal/store"
)

func TestMismatch(t *testing.T) {
	one, two := TopicID{1}, TopicID{2}
	full := store.Identity{ClusterID: "c1", Topic: "devices", TopicID: one}
	with := func(change func(*store.Identity)) store.Identity {
		id := full
		change(&id)
		return id
	}
	for _, c := range []struct {
		name      string
		has, want store.Identity
		reason    Reason
	}{
		{"the same", full, full, ""},
		{"another topic id", full, with(func(i *store.Identity) { i.TopicID = two }), TopicRecreated},
		{"topic id not known to the store", with(func(i *store.Identity) { i.TopicID = TopicID{} }), full, ""},
		{"topic id not told by the brokers", full, with(func(i *store.Identity) { i.TopicID = TopicID{} }), ""},
		{"another cluster id", full, with(func(i *store.Identity) { i.ClusterID = "c2" }), ClusterChanged},
		{"cluster id not known to the store", with(func(i *store.Identity) { i.ClusterID = "" }), full, ""},
		{"cluster id not told by the brokers", full, with(func(i *store.Identity) { i.ClusterID = "" }), ""},
		{"another cluster, whose topic has another id", full, with(func(i *store.Identity) { i.ClusterID, i.TopicID = "c2", two }), ClusterChanged},
		{"another cluster id, topic id unknown", with(func(i *store.Identity) { i.TopicID = TopicID{} }),
			with(func(i *store.Identity) { i.ClusterID = "c2" }), ClusterChanged},
		{"nothing known of either", store.Identity{Topic: "devices"}, full, ""},
		{"isolation taken", full, with(func(i *store.Identity) { i.ReadUncommitted = true }), IsolationChanged},
		{"isolation given up", with(func(i *store.Identity) { i.ReadUncommitted = true }), full, IsolationChanged},
		{"transform added", full, with(func(i *store.Identity) { i.Transform = "v1" }), TransformChanged},
		{"transform removed", with(func(i *store.Identity) { i.Transform = "v1" }), full, TransformChanged},
		{"transform changed", with(func(i *store.Identity) { i.Transform = "v1" }),
			with(func(i *store.Identity) { i.Transform = "v2" }), TransformChanged},
		{"policy for bad records", full, with(func(i *store.Identity) { i.BadRecords = "skip" }), TransformChanged},
		{"headers", full, with(func(i *store.Identity) { i.Headers = true }), TransformChanged},
		{"the topic's id comes before options", full,
			with(func(i *store.Identity) { i.TopicID, i.ReadUncommitted, i.Transform = two, true, "v1" }), TopicRecreated},
		{"isolation comes before the transform", full,
			with(func(i *store.Identity) { i.ReadUncommitted, i.Transform = true, "v1" }), IsolationChanged},
	} {
		t.Run(c.name, func(t *testing.T) { require.Equal(t, c.reason, mismatch(c.has, c.want)) })
	}
}

func TestLearnTakesWhatWasUnknownOnly(t *testing.T) {
	want := store.Identity{ClusterID: "c", Topic: "devices", TopicID: TopicID{7}, Transform: "v1"}
	require.Equal(t, store.Identity{ClusterID: "c", TopicID: TopicID{7}}, learn(store.Identity{}, want), "rows stay what they are")
	has := store.Identity{ClusterID: "mine", TopicID: TopicID{9}}
	require.Equal(t, has, learn(has, want))
	require.Equal(t, has, learn(has, store.Identity{}), "what is known is not forgotten")
}

func TestPendKeepsTheFirstReason(t *testing.T) {
	s := &store.State{}
	pend(s, BelowLogStart)
	pend(s, TombstonesExpired)
	require.Equal(t, string(BelowLogStart), s.PendingVerify)
}

// answers is what the leaders of a fake tell of a topic's log.
type answers struct {
	mu     sync.Mutex
	ranges map[int32]feed.Range // a partition that is missing is refused
	ends   map[int32]int64      // of whichever epoch; one that is missing is refused
	epochs map[int32]int32      // the epochs that were asked for
}

func (a *answers) control(c *kfake.Cluster) {
	c.ControlKey(kmsg.ListOffsets.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		a.mu.Lock()
		defer a.mu.Unlock()
		resp := req.ResponseKind().(*kmsg.ListOffsetsResponse)
		for _, t := range req.(*kmsg.ListOffsetsRequest).Topics {
			rt := kmsg.NewListOffsetsResponseTopic()
			rt.Topic = t.Topic
			for _, p := range t.Partitions {
				rp := kmsg.NewListOffsetsResponseTopicPartition()
				rp.Partition = p.Partition
				switch r, ok := a.ranges[p.Partition]; {
				case !ok:
					rp.ErrorCode = kerr.NotLeaderForPartition.Code
				case p.Timestamp == -2:
					rp.Offset = r.LogStart
				default:
					rp.Offset = r.End
				}
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
	c.ControlKey(kmsg.OffsetForLeaderEpoch.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		a.mu.Lock()
		defer a.mu.Unlock()
		resp := req.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
		for _, t := range req.(*kmsg.OffsetForLeaderEpochRequest).Topics {
			rt := kmsg.NewOffsetForLeaderEpochResponseTopic()
			rt.Topic = t.Topic
			for _, p := range t.Partitions {
				a.epochs[p.Partition] = p.LeaderEpoch
				rp := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
				rp.Partition = p.Partition
				if end, ok := a.ends[p.Partition]; ok {
					rp.LeaderEpoch, rp.EndOffset = p.LeaderEpoch, end
				} else {
					rp.ErrorCode = kerr.FencedLeaderEpoch.Code
				}
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
}

// bench is an engine that has not run, with a client: decisions are made on it
// one by one.
type bench struct {
	*engine
	t      *testing.T
	client *feed.Client
	found  *feed.Topic
}

// bench opens the engine of a table, in memory without a Dir.
func (e *env) bench(more ...Opt) *bench {
	e.t.Helper()
	cfg := newConfig(e.opts(place(more)...))
	client, err := feed.New(feed.Config{Topic: e.topic, Opts: e.broker.Opts()})
	require.NoError(e.t, err)
	b := &bench{engine: newEngine(e.topic, cfg, nil, stringCache), t: e.t, client: client}
	require.NoError(e.t, b.open())
	e.t.Cleanup(func() { client.Close(); require.NoError(e.t, b.close()) })
	b.found, err = client.Describe(e.ctx())
	require.NoError(e.t, err)
	return b
}

// identity is the one of rows that fit the topic.
func (b *bench) identity() store.Identity {
	return store.Identity{ClusterID: b.found.ClusterID, Topic: b.topic, TopicID: b.found.ID}
}

// generation makes one: the first is the current one, the next the one that is
// being built.
func (b *bench) generation(id store.Identity, change func(*store.State)) *store.Generation {
	b.t.Helper()
	gen, err := b.root.Create(id)
	require.NoError(b.t, err)
	s := gen.State().Clone()
	change(s)
	require.NoError(b.t, gen.Apply(nil, s))
	require.NoError(b.t, gen.Flush())
	return gen
}

// at makes a state of partitions that stand at offsets and were at the end just
// now.
func at(next ...int64) func(*store.State) {
	return func(s *store.State) {
		for p, n := range next {
			*s.At(int32(p)) = store.Partition{Known: true, Next: n, Epoch: 0, AtEnd: time.Now()}
		}
	}
}

// Time stands still here but for what the cases say: the edge of a retention is
// met exactly.
func TestJudge(t *testing.T) {
	const retention = time.Hour
	// Each begins with three partitions that stand at offset 10, the end of a
	// log that begins at 0, and were there just now.
	for _, c := range []struct {
		name   string
		state  func(s *store.State)
		log    func(a *answers)
		reason Reason // to rebuild
		verify Reason
		next   []int64 // where to go on; nil for where it was
	}{
		{name: "all is as it was"},
		{name: "one has more",
			log: func(a *answers) { a.ranges[1] = feed.Range{End: 11} }},
		{name: "one ends below the position",
			log: func(a *answers) { a.ranges[1] = feed.Range{End: 9} }, reason: LogTruncated},
		{name: "one is empty, its start above",
			log: func(a *answers) { a.ranges[1] = feed.Range{LogStart: 10, End: 10} }},
		{name: "one starts above the position",
			log:    func(a *answers) { a.ranges[2] = feed.Range{LogStart: 11, End: 20} },
			verify: BelowLogStart, next: []int64{10, 10, 11}},
		{name: "one starts above the position and has nothing",
			log:    func(a *answers) { a.ranges[2] = feed.Range{LogStart: 20, End: 20} },
			verify: BelowLogStart, next: []int64{10, 10, 20}},
		{name: "the log starts at the position",
			log: func(a *answers) { a.ranges[2] = feed.Range{LogStart: 10, End: 20} }},
		{name: "an epoch ended below the position",
			log: func(a *answers) { a.ends[0] = 9 }, reason: LogTruncated},
		{name: "an epoch ended at the position",
			log: func(a *answers) { a.ends[0] = 10; a.ranges[0] = feed.Range{End: 30} }},
		{name: "no epoch's end is told",
			log: func(a *answers) { clear(a.ends) }},
		{name: "an epoch that is not known is not asked for",
			state: func(s *store.State) { s.At(0).Epoch = -1 },
			log:   func(a *answers) { a.ends[0] = 0 }},
		{name: "away for exactly the retention",
			state: func(s *store.State) { s.At(1).AtEnd = time.Now().Add(-retention) },
			log:   func(a *answers) { a.ranges[1] = feed.Range{End: 11} }},
		{name: "away for longer than the retention",
			state: func(s *store.State) { s.At(1).AtEnd = time.Now().Add(-retention - time.Millisecond) },
			log:   func(a *answers) { a.ranges[1] = feed.Range{End: 11} }, verify: TombstonesExpired},
		{name: "away for longer, and nothing was written since",
			state: func(s *store.State) { s.At(1).AtEnd = time.Now().Add(-100 * retention) }},
		{name: "away for longer, and another partition was written to",
			state: func(s *store.State) { s.At(1).AtEnd = time.Now().Add(-100 * retention) },
			log:   func(a *answers) { a.ranges[0] = feed.Range{End: 11} }},
		{name: "away for longer, and it is not known whether something was written",
			state: func(s *store.State) { s.At(1).AtEnd = time.Now().Add(-100 * retention) },
			log:   func(a *answers) { delete(a.ranges, 1) }, verify: TombstonesExpired},
		{name: "the range of a partition that was at the end just now is not known",
			log: func(a *answers) { delete(a.ranges, 1) }},
		{name: "never at the end",
			state: func(s *store.State) { s.At(1).AtEnd = time.Time{} },
			log:   func(a *answers) { a.ranges[1] = feed.Range{End: 11} }, verify: TombstonesExpired},
		{name: "at the end in the future",
			state:  func(s *store.State) { s.At(2).AtEnd = time.Now().Add(time.Millisecond) },
			verify: ClockMovedBack},
		{name: "below the log start and away for longer: the first reason stays",
			state:  func(s *store.State) { s.At(2).AtEnd = time.Now().Add(-2 * retention) },
			log:    func(a *answers) { a.ranges[2] = feed.Range{LogStart: 11, End: 20} },
			verify: BelowLogStart, next: []int64{10, 10, 11}},
		{name: "a verification that had begun",
			state: func(s *store.State) { s.PendingVerify = string(TombstonesExpired) },
			log:   func(a *answers) { a.ranges[2] = feed.Range{LogStart: 11, End: 20} },
			// What made it necessary is still true.
			verify: TombstonesExpired, next: []int64{10, 10, 11}},
		{name: "to be verified, and truncated elsewhere",
			state: func(s *store.State) { s.At(0).AtEnd = time.Now().Add(time.Hour) },
			log:   func(a *answers) { a.ranges[2] = feed.Range{End: 9} }, reason: LogTruncated},
		{name: "a partition that was never seen is not judged",
			state: func(s *store.State) { *s.At(1) = store.Partition{Epoch: -1} },
			log:   func(a *answers) { a.ranges[1] = feed.Range{LogStart: 5, End: 7}; a.ends[1] = 0 }},
		{name: "a position at zero has no epoch to ask for",
			state: func(s *store.State) { s.At(1).Next = 0 },
			log:   func(a *answers) { a.ends[1] = -5 }},
		{name: "nothing was read yet, whatever the log has",
			state: func(s *store.State) { s.Partitions = nil },
			log:   func(a *answers) { clear(a.ranges) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := kafkatest.FakeVirtual(t)
				e := newEnv(t, b, 3)
				a := &answers{ranges: map[int32]feed.Range{}, ends: map[int32]int64{}, epochs: map[int32]int32{}}
				for p := range int32(3) {
					a.ranges[p], a.ends[p] = feed.Range{End: 10}, 10
				}
				if c.log != nil {
					c.log(a)
				}
				bn := e.bench()
				gen := bn.generation(bn.identity(), func(s *store.State) {
					at(10, 10, 10)(s)
					if c.state != nil {
						c.state(s)
					}
				})
				before := gen.State().Clone()
				a.control(b.Fake())
				reason, state, err := bn.judge(t.Context(), bn.client, gen, bn.identity(), retention)
				require.NoError(t, err)
				require.Equal(t, c.reason, reason)
				require.Equal(t, before, gen.State(), "what was applied is not changed")
				if c.reason != "" {
					return
				}
				require.Equal(t, string(c.verify), state.PendingVerify)
				for p := range state.Partitions {
					want := before.Partitions[p].Next
					if c.next != nil {
						want = c.next[p]
					}
					require.Equal(t, want, state.Partitions[p].Next, "partition %d", p)
					require.False(t, state.Partitions[p].AtEnd.After(time.Now()))
					_, asked := a.epochs[int32(p)]
					require.Equal(t, before.Partitions[p].Epoch >= 0 && before.Partitions[p].Next > 0, asked, "partition %d", p)
				}
			})
		})
	}
}

// Questions that nobody answers are no reason for anything: they are asked again.
func TestJudgeWithoutAnswers(t *testing.T) {
	for _, key := range []kmsg.Key{kmsg.ListOffsets, kmsg.OffsetForLeaderEpoch} {
		b := kafkatest.Fake(t)
		e := newEnv(t, b, 2)
		bn := e.bench()
		gen := bn.generation(bn.identity(), at(0, 5))
		b.Fake().ControlKey(key.Int16(), func(kmsg.Request) (kmsg.Response, error, bool) {
			b.Fake().KeepControl()
			return nil, fmt.Errorf("the brokers hang up"), true
		})
		_, _, err := bn.judge(e.ctx(), bn.client, gen, bn.identity(), time.Hour)
		require.Error(t, err)
		require.NoError(t, fatalError(err), "it is no end of Run")
	}
}

// What is done with the generation that answers, and with the one that is being
// built beside it.
func TestDecide(t *testing.T) {
	fits := func(b *bench) store.Identity { return b.identity() }
	other := func(b *bench) store.Identity {
		id := b.identity()
		id.TopicID = TopicID{1, 2, 3}
		return id
	}
	type kind = func(*bench) store.Identity
	for _, c := range []struct {
		name              string
		current, building kind // nil: there is none
		damaged           string
		decision          Decision
		reason            Reason
		gen               uint64 // the one to write to
		next              int64  // where it stands
		files             []string
	}{
		{name: "nothing", decision: Bootstrapped, gen: 1, files: []string{"gen-000001"}},
		{name: "rows that fit", current: fits, decision: Resumed, gen: 1, next: 2, files: []string{"gen-000001"}},
		{name: "rows that do not fit", current: other,
			decision: Rebuilt, reason: TopicRecreated, gen: 2, files: []string{"gen-000001", "gen-000002"}},
		{name: "a rebuild that fits goes on", current: other, building: fits,
			decision: Rebuilt, reason: TopicRecreated, gen: 2, next: 1, files: []string{"gen-000001", "gen-000002"}},
		{name: "a rebuild that does not fit any more is replaced", current: other, building: other,
			decision: Rebuilt, reason: TopicRecreated, gen: 3, files: []string{"gen-000001", "gen-000003"}},
		{name: "a rebuild that is not needed any more is dropped", current: fits, building: other,
			decision: Resumed, gen: 1, next: 2, files: []string{"gen-000001"}},
		{name: "a damaged rebuild is dropped", current: other, building: fits, damaged: "gen-000002",
			decision: Rebuilt, reason: TopicRecreated, gen: 3, files: []string{"gen-000001", "gen-000003"}},
		{name: "a damaged rebuild that is not needed is dropped", current: fits, building: fits, damaged: "gen-000002",
			decision: Resumed, gen: 1, next: 2, files: []string{"gen-000001"}},
		{name: "damaged rows", current: fits, damaged: "gen-000001",
			decision: Rebuilt, reason: StoreDamaged, gen: 2, files: []string{"gen-000002"}},
		{name: "damaged rows and a rebuild", current: other, building: fits, damaged: "gen-000001",
			decision: Rebuilt, reason: StoreDamaged, gen: 3, files: []string{"gen-000003"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEnv(t, kafkatest.Fake(t), 1)
			e.put("a=1", "b=2")
			dir := t.TempDir()
			b := e.bench(Dir(dir))
			if c.current != nil {
				b.generation(c.current(b), at(2))
			}
			if c.building != nil {
				b.generation(c.building(b), at(1))
			}
			// As after a restart: nothing is open.
			require.NoError(t, b.close())
			if c.damaged != "" {
				damage(t, filepath.Join(dir, c.damaged))
			}
			b = e.bench(Dir(dir))
			pl, err := b.decide(e.ctx(), b.client, b.found, 24*time.Hour)
			require.NoError(t, err)
			require.Equal(t, c.decision, pl.decision)
			require.Equal(t, c.reason, pl.reason)
			require.Equal(t, c.gen, pl.gen.Number())
			require.Equal(t, c.next, pl.state.Get(0).Next)
			require.Equal(t, c.reason == TopicRecreated, pl.beside, "beside the one that answers")
			require.Equal(t, b.identity(), pl.gen.Identity())
			require.NotSame(t, pl.gen.State(), pl.state, "it is changed by the follower")
			names, err := filepath.Glob(filepath.Join(dir, "gen-*"))
			require.NoError(t, err)
			for i := range names {
				names[i] = filepath.Base(names[i])
			}
			require.Equal(t, c.files, names)
		})
	}
}

// damage makes a closed generation's files unreadable.
func damage(t *testing.T, gen string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(gen, "MANIFEST-*"))
	require.NoError(t, err)
	require.NotEmpty(t, names)
	for _, n := range names {
		require.NoError(t, os.Truncate(n, 10))
	}
}

// Rows of brokers that told neither cluster nor topic id are of whatever topic
// is there, and learn which it is; for good.
func TestIdentityIsLearned(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	e.put("a=1")
	dir := t.TempDir()
	b := e.bench(Dir(dir))
	b.generation(store.Identity{Topic: e.topic}, at(1))
	pl, err := b.decide(e.ctx(), b.client, b.found, time.Hour)
	require.NoError(t, err)
	require.Equal(t, Resumed, pl.decision)
	require.Equal(t, b.identity(), pl.gen.Identity())
	require.NoError(t, b.close())

	// It is durable: a topic that is created anew is told from it.
	e.recreate(1)
	r := e.ready(Dir(dir))
	require.Equal(t, TopicRecreated, r.Stats().Reason)
	e.holds(r)
}

// A generation that a session found to be cut off from the log is not resumed,
// even where the log's range and its epochs do not show it; the next one is.
func TestDivergedGenerationIsNotResumed(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	e.put("a=1", "b=2")
	b := e.bench()
	gen := b.generation(b.identity(), at(2))
	b.diverged = gen.Number()
	pl, err := b.decide(e.ctx(), b.client, b.found, time.Hour)
	require.NoError(t, err)
	require.Equal(t, LogTruncated, pl.reason)
	require.True(t, pl.beside)
	require.NoError(t, b.root.Promote(pl.gen))
	require.NoError(t, b.root.Discard(gen))
	pl, err = b.decide(e.ctx(), b.client, b.found, time.Hour)
	require.NoError(t, err)
	require.Empty(t, pl.reason)
}

// The same directory at another cluster, which has a topic of the same name and
// whose brokers, as those of the first one, tell no topic id.
func TestClusterChanged(t *testing.T) {
	dir := t.TempDir()
	first := newEnv(t, kafkatest.Fake(t, withoutTopicIDs(), kfake.ClusterID("first")), 1)
	first.put("old=1", "both=1")
	r := first.ready(Dir(dir))
	require.Equal(t, []string{"topic id"}, r.Stats().Unknown)
	r.close()
	r = first.ready(Dir(dir))
	require.Equal(t, Resumed, r.Stats().Decision)
	r.close()

	second := &env{t: t, broker: kafkatest.Fake(t, withoutTopicIDs(), kfake.ClusterID("second")), topic: first.topic, want: map[string]string{}}
	second.createAgain(1)
	// As long as the first: nothing but the cluster's id tells them apart.
	second.put("new=1", "both=2")
	h := &recorder{}
	r = second.ready(Dir(dir), Hooks(h))
	require.Equal(t, Rebuilt, r.Stats().Decision)
	require.Equal(t, ClusterChanged, r.Stats().Reason)
	require.Equal(t, []string{"begun ClusterChanged", "swapped ClusterChanged"}, h.list(func() []string { return h.rebuilds }))
	second.holds(r)
}
