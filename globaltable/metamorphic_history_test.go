package globaltable_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A story is a random history of a topic, of a table of it, and of readings that
// are joined with the table. All of it follows from the seed, before any of it is
// played.
type story struct {
	seed       uint64
	policy     string // cleanup.policy of the table's topic
	forgets    bool   // it keeps tombstones for no time at all
	partitions int    // of the table's topic, at first
	readings   int    // partitions of the topic of readings
	nodes      int    // brokers of a fake cluster
	fetchBytes int32  // what a fake gives of a partition at a time
	batchBytes int32  // of the producer
	steps      []step
}

// What a step does.
const (
	doOpen          = "open"
	doClose         = "close"
	doPut           = "put"
	doTxn           = "txn"
	doBegin         = "begin"
	doEnd           = "end"
	doCheck         = "check"
	doRead          = "read"
	doCompact       = "compact"
	doAddPartitions = "add-partitions"
	doRecreate      = "recreate"
	doDeleteRecords = "delete-records"
	doMoveLeader    = "move-leader"
)

// How a table ends.
const (
	byCancel = "cancel" // its Run, at whatever it is doing
	byClose  = "close"  // while it runs
	byCrash  = "crash"  // its disk forgets what was not synced
)

// A step is one thing that happens.
type step struct {
	do      string
	recs    []rec
	commit  bool
	n       int
	share   float64
	how     string
	left    bool
	options options
}

// A rec is a record of the table's topic.
type rec struct {
	partition int32
	key       string
	nullKey   bool
	value     string
	deletes   bool
}

// options are those that a table is opened with.
type options struct {
	bulkFrom, chunk int
	flush           time.Duration
	budget          int64
	memtable        uint64
	level0          int
	transform       string // version; empty for none
	uncommitted     bool
	encodes         bool // its key codec is not the one that a string is looked up without
}

// generator makes a story's steps.
type generator struct {
	*rand.Rand
	s           *story
	partitions  int
	home        map[string]int32 // of each key, for as long as the topic is the same one
	keys        []string
	names       []string // of keys that are not used yet
	named       int
	values      int
	running     bool
	open        bool // a transaction is
	anchored    bool // each log begins with a record that stays there, see anchor
	trimmed     bool // the beginning of a log was deleted; the fake's compaction would bring some of it back
	uncommitted bool // some table of the story reads so
	options     options
}

// oddKeys are empty, like parts of the store's own, longer or shorter than others.
func oddKeys() []string {
	return []string{
		"", "\x00", "\x00\x00", "\x01", "\xff", "\xff\xff\xff\xff", "a", "a\x00", "a\x00\xff", "a\xff", "r", "i", "s", "\x7f", "\x80",
		strings.Repeat("long", 80), strings.Repeat("\xff", 70), "ключ", " ",
	}
}

func newStory(seed uint64) *story {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 1)), s: &story{seed: seed}}
	g.s.policy = []string{"compact", "compact", "compact,delete", "delete"}[g.IntN(4)]
	g.uncommitted = g.IntN(6) == 0
	g.s.forgets = g.compacts() && g.IntN(3) == 0
	g.s.partitions, g.s.readings = 1+g.IntN(5), 1+g.IntN(5)
	if g.s.readings == g.s.partitions {
		g.s.readings++
	}
	g.s.nodes = 2 + g.IntN(2)
	g.s.fetchBytes, g.s.batchBytes = int32(300+g.IntN(20_000)), int32(512<<g.IntN(6))
	g.fresh(g.s.partitions)
	g.options, g.anchored = g.anyOptions(), g.s.forgets && g.IntN(3) > 0
	g.anchor(0)
	if g.IntN(4) > 0 {
		g.add(step{do: doPut, recs: g.many()})
	}
	g.start()
	for range 4 + g.IntN(9) {
		g.next()
	}
	if !g.running {
		g.start()
	}
	if g.open {
		g.end()
	}
	g.add(step{do: doCheck})
	g.read()
	g.stop(byCancel)
	return g.s
}

func (g *generator) add(s step)     { g.s.steps = append(g.s.steps, s) }
func (g *generator) compacts() bool { return strings.Contains(g.s.policy, "compact") && !g.uncommitted }

// fresh begins with an empty topic.
func (g *generator) fresh(partitions int) {
	g.partitions, g.home, g.keys, g.names, g.trimmed = partitions, map[string]int32{}, nil, oddKeys(), false
	g.Shuffle(len(g.names), func(i, j int) { g.names[i], g.names[j] = g.names[j], g.names[i] })
}

// anchor begins the logs of partitions from a number on with a row that nothing
// changes. Where a log starts at what compaction has left, a table need not look for
// rows below it.
func (g *generator) anchor(from int) {
	if !g.anchored {
		return
	}
	var rs []rec
	for p := from; p < g.partitions; p++ {
		rs = append(rs, rec{partition: int32(p), key: fmt.Sprint("anchor", p), value: "stays"})
	}
	g.add(step{do: doPut, recs: rs})
}

// key returns a key that is there, or a new one. A key stays in its partition.
func (g *generator) key() string {
	if len(g.keys) > 0 && g.IntN(100) < 70 {
		return g.keys[g.IntN(len(g.keys))]
	}
	if len(g.names) == 0 || g.IntN(3) > 0 {
		g.named++
		g.names = append(g.names, "k"+strconv.Itoa(g.named))
	}
	k := g.names[len(g.names)-1]
	g.names = g.names[:len(g.names)-1]
	g.keys = append(g.keys, k)
	g.home[k] = int32(g.IntN(g.partitions))
	return k
}

func (g *generator) rec() rec {
	if g.s.policy == "delete" && g.IntN(25) == 0 {
		return rec{nullKey: true, partition: int32(g.IntN(g.partitions)), value: "no key"}
	}
	k := g.key()
	r := rec{key: k, partition: g.home[k]}
	g.values++
	v := "v" + strconv.Itoa(g.values)
	switch d := g.IntN(100); {
	case d < 25:
		r.deletes = true
	case d < 30:
		r.value = "" // which is a value
	case d < 37:
		r.value = "filter" + v
	case d < 44:
		r.value = "reject" + v
	case d < 46:
		r.value = v + strings.Repeat("-", g.IntN(3000))
	default:
		r.value = v
	}
	return r
}

func (g *generator) recs(n int) (rs []rec) {
	for range n {
		rs = append(rs, g.rec())
	}
	return rs
}

func (g *generator) few() []rec { return g.recs(1 + g.IntN(12)) }

func (g *generator) many() []rec {
	switch d := g.IntN(100); {
	case d < 60:
		return g.recs(1 + g.IntN(60))
	case d < 95:
		return g.recs(60 + g.IntN(300))
	}
	return g.recs(360 + g.IntN(1500))
}

func (g *generator) anyOptions() options {
	o := options{
		bulkFrom: 1 << 30, chunk: 500 << g.IntN(8), flush: time.Duration(1+g.IntN(100)) * time.Millisecond,
		budget: 16 << (20 + g.IntN(3)), memtable: 16 << (10 + g.IntN(8)), level0: 1 + g.IntN(8),
		uncommitted: g.uncommitted && g.IntN(2) == 0, encodes: g.IntN(3) == 0,
	}
	if g.IntN(3) > 0 {
		o.bulkFrom = 1 + g.IntN(150)
	}
	if g.IntN(2) == 0 {
		o.transform = []string{"+", "#"}[g.IntN(2)]
	}
	return o
}

// start opens the table, mostly so that its rows need not be made anew.
func (g *generator) start() {
	o := g.anyOptions()
	if g.IntN(6) > 0 {
		o.transform, o.uncommitted = g.options.transform, g.options.uncommitted
	}
	g.options, g.running = o, true
	g.add(step{do: doOpen, options: o})
}

// stop ends the table after some batches: at once, or when it has all there is.
func (g *generator) stop(how string) {
	g.running = false
	g.add(step{do: doClose, how: how, n: g.IntN(4) * g.IntN(4)})
}

func (g *generator) end() {
	g.open = false
	g.add(step{do: doEnd, commit: g.IntN(3) > 0})
}

// read sends readings: of rows, of keys that were deleted or never there, and
// some that name no key.
func (g *generator) read() {
	s := step{do: doRead, left: g.IntN(2) == 0}
	for range 1 + g.IntN(25) {
		r := rec{partition: int32(g.IntN(g.s.readings))}
		switch d := g.IntN(20); {
		case d == 0:
			r.nullKey = true
		case d < 3 || len(g.keys) == 0:
			r.key = "absent" + strconv.Itoa(d)
		default:
			r.key = g.keys[g.IntN(len(g.keys))]
		}
		s.recs = append(s.recs, r)
	}
	g.add(s)
}

// topic changes the topic in a way other than by records.
func (g *generator) topic() {
	switch d := g.IntN(10); {
	case d < 2 && g.partitions < 6:
		to := g.partitions + 1 + g.IntN(6-g.partitions)
		g.add(step{do: doAddPartitions, n: to})
		from := g.partitions
		g.partitions = to
		g.anchor(from)
		g.add(step{do: doPut, recs: g.few()})
	case d < 4:
		if g.open {
			g.end()
		}
		n := 1 + g.IntN(5)
		g.add(step{do: doRecreate, n: n})
		g.fresh(n)
		g.anchor(0)
		if g.IntN(4) > 0 {
			g.add(step{do: doPut, recs: g.many()})
		}
	case d < 6 && strings.Contains(g.s.policy, "delete") && !g.open:
		p := int32(g.IntN(g.partitions))
		g.trimmed = true
		g.add(step{do: doDeleteRecords, n: int(p), share: g.Float64()})
		// With a record behind it is known when the table was told.
		g.add(step{do: doPut, recs: []rec{{partition: p, key: fmt.Sprint("behind", p), value: fmt.Sprint("b", g.values)}}})
	case d < 9 && g.compacts() && !g.open && !g.trimmed:
		g.add(step{do: doCompact})
	default:
		g.add(step{do: doMoveLeader, n: g.IntN(g.partitions)})
	}
}

func (g *generator) next() {
	switch d := g.IntN(100); {
	case d < 22:
		g.add(step{do: doPut, recs: g.many()})
	case d < 32:
		for range 1 + g.IntN(5) {
			g.add(step{do: doPut, recs: g.few()})
		}
	case d < 44 && !g.open:
		g.add(step{do: doTxn, recs: g.few(), commit: g.IntN(3) > 0})
	case d < 54:
		if g.open {
			g.end()
			return
		}
		g.open = true
		g.add(step{do: doBegin, recs: g.few()})
		g.add(step{do: doPut, recs: g.few()})
	case d < 62 && g.running:
		g.add(step{do: doCheck})
	case d < 72 && g.running:
		g.read()
	case d < 86:
		g.topic()
	case !g.running:
		g.start()
	default:
		g.stop([]string{byCancel, byCancel, byClose, byCrash}[g.IntN(4)])
		switch d := g.IntN(4); {
		case g.s.forgets && d < 2 && !g.open && !g.trimmed:
			g.add(step{do: doPut, recs: g.many()})
			g.add(step{do: doPut, recs: g.few()}) // the last batch of each log is not compacted
			g.add(step{do: doCompact})
		case d == 0:
			g.add(step{do: doPut, recs: g.many()})
		case d == 1:
			g.topic()
		}
		if g.IntN(4) > 0 {
			g.start()
		}
	}
}

// String shows a story as it can be read, at is the step that is marked.
func (s *story) show(at int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "history %d: policy=%s forgets=%v partitions=%d readings=%d nodes=%d fetch=%d batch=%d\n",
		s.seed, s.policy, s.forgets, s.partitions, s.readings, s.nodes, s.fetchBytes, s.batchBytes)
	for i, st := range s.steps {
		mark := "  "
		if i == at {
			mark = "=>"
		}
		fmt.Fprintf(&b, "%s %2d %s\n", mark, i, st)
	}
	return b.String()
}

func (s step) String() string {
	switch s.do {
	case doOpen:
		return fmt.Sprintf("%s %+v", s.do, s.options)
	case doClose:
		return fmt.Sprintf("%s by %s after %d batches", s.do, s.how, s.n)
	case doPut, doBegin:
		return fmt.Sprintf("%s %s", s.do, showRecs(s.recs))
	case doTxn:
		return fmt.Sprintf("%s commit=%v %s", s.do, s.commit, showRecs(s.recs))
	case doEnd:
		return fmt.Sprintf("%s commit=%v", s.do, s.commit)
	case doRead:
		return fmt.Sprintf("%s left=%v %s", s.do, s.left, showRecs(s.recs))
	case doDeleteRecords:
		return fmt.Sprintf("%s of partition %d, %.2f of it", s.do, s.n, s.share)
	case doAddPartitions, doRecreate, doMoveLeader:
		return fmt.Sprintf("%s %d", s.do, s.n)
	}
	return s.do
}

// showRecs shows records as partition:key=value, and a number of the rest.
func showRecs(rs []rec) string {
	const most = 40
	var out []string
	for r := range slices.Values(rs[:min(len(rs), most)]) {
		out = append(out, r.String())
	}
	if len(rs) > most {
		out = append(out, fmt.Sprintf("... %d in all", len(rs)))
	}
	return strings.Join(out, " ")
}

func (r rec) String() string {
	k := strconv.Quote(r.key)
	if plain := strings.Trim(k, `"`); len(r.key) > 30 {
		k = fmt.Sprintf("%s..(%d)", plain[:8], len(r.key))
	} else if plain == r.key && r.key != "" {
		k = r.key
	}
	switch {
	case r.nullKey:
		k = "null"
	case r.deletes:
		return fmt.Sprintf("%d:%s", r.partition, k)
	}
	v := r.value
	if len(v) > 20 {
		v = fmt.Sprintf("%s..(%d)", v[:12], len(v))
	}
	return fmt.Sprintf("%d:%s=%s", r.partition, k, v)
}
