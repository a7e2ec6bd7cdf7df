package main

import "slices"

// A measure is one row of a table of results: who is measured, and how.
type measure struct {
	// Work is the workload, Name who is measured: the peer and what is
	// special. Ratio is the name of the measure it is compared with, if any.
	Work, Name string
	// Values says what becomes of a row's value when it is looked up or
	// arrives: "bytes", "decoded", or "" where there is none.
	Values string
	Data   rowsTopic
	// Register has the data be the vendor register instead.
	Register bool
	// Stream is the number of readings, 0 for none; Output has what is joined
	// go to a topic.
	Stream int
	Output bool
	// OwnTopic has the topic made for this measurement alone.
	OwnTopic bool
	// Prepare are done before, in the same directory; their figures do not
	// count.
	Prepare []job
	Job     job
	// Rounds bounds the rounds; 0 does not. NoWarmUp leaves the round out
	// that does not count.
	Rounds   int
	NoWarmUp bool
	// Weight is about how many seconds it takes, for the progress.
	Weight float64
}

// A group is measures that are interleaved, round by round.
type group struct {
	Title    string
	Measures []measure
}

const mb = 1 << 20

// The memory budgets of the tables.
const (
	largeBudget = 256 * mb
	smallBudget = 64 * mb
	// joinBudget keeps all rows that readings name decoded: an eighth of a
	// budget is for decoded rows.
	joinBudget = 1024 * mb
	// allBlocks is a cache for all blocks of the default table, and
	// decodedBudget keeps all its rows decoded.
	allBlocks     = 1024 * mb
	decodedBudget = 16 * 1024 * mb
)

// plan is what the settings ask for.
func plan(s settings) []group {
	if s.quick {
		return quickPlan(s)
	}
	var out []group
	for _, w := range workloads {
		if slices.Contains(s.run, w) {
			out = append(out, plans[w](s)...)
		}
	}
	return only(out, s.peers)
}

// only leaves out the peers that were not asked for.
func only(groups []group, peers []string) []group {
	for i := range groups {
		groups[i].Measures = slices.DeleteFunc(groups[i].Measures, func(m measure) bool { return !slices.Contains(peers, m.Job.Peer) })
	}
	return slices.DeleteFunc(groups, func(g group) bool { return len(g.Measures) == 0 })
}

var plans = map[string]func(settings) []group{
	"bootstrap": bootstrapPlan,
	"lookup":    lookupPlan,
	"join":      joinPlan,
	"memory":    memoryPlan,
	"restart":   restartPlan,
	"live":      livePlan,
	"rebuild":   rebuildPlan,
	"register":  registerPlan,
}

// tableOf is the job of a peer.
func tableOf(work, peer string) job { return job{Work: work, Peer: peer} }

func enrichJob(work string, budget int64) job {
	return job{Work: work, Peer: peerEnrich, Budget: budget}
}

func pebbleJob(work string, budget int64) job {
	return job{Work: work, Peer: peerPebble, Budget: budget}
}

func tuned(j job) job {
	j.Tuned = true
	return j
}

// secondsFor estimates the time of a bootstrap.
func secondsFor(rows int, perSecond float64) float64 { return 1 + float64(rows)/perSecond }

func bootstrapPlan(s settings) []group {
	of := func(data rowsTopic, name, values string, j job, perSecond float64) measure {
		return measure{Work: "bootstrap", Name: name, Values: values, Data: data, Job: j, Weight: secondsFor(s.rows, perSecond)}
	}
	decoding := enrichJob("fill", largeBudget)
	decoding.Transform, decoding.Version = true, "1"
	plain, zstd := rowsTopic{Rows: s.rows}, rowsTopic{Rows: s.rows, Zstd: true}
	first := group{Title: "Cold bootstrap", Measures: []measure{
		of(plain, "raw", "", tableOf("fill", peerRaw), 2e6),
		of(plain, "enrich", "bytes", enrichJob("fill", largeBudget), 1e6),
		of(plain, "enrich 64 MB", "bytes", enrichJob("fill", smallBudget), 1e6),
		of(plain, "enrich transform", "decoded", decoding, 4e5),
		of(plain, "pebble", "bytes", pebbleJob("fill", largeBudget), 3e5),
		of(plain, "gomap", "bytes", tableOf("fill", peerGoMap), 1e6),
		of(plain, "goka", "bytes", tableOf("fill", peerGoka), 2e5),
		of(plain, "kstreams", "bytes", tableOf("fill", peerKStreams), 2e5),
		of(plain, "kstreams tuned", "bytes", tuned(tableOf("fill", peerKStreams)), 2e5),
	}}
	second := group{Title: "Cold bootstrap, zstd", Measures: []measure{
		of(zstd, "raw", "", tableOf("fill", peerRaw), 2e6),
		of(zstd, "enrich", "bytes", enrichJob("fill", largeBudget), 1e6),
		of(zstd, "enrich 64 MB", "bytes", enrichJob("fill", smallBudget), 1e6),
		of(zstd, "gomap", "bytes", tableOf("fill", peerGoMap), 1e6),
		of(zstd, "goka", "bytes", tableOf("fill", peerGoka), 2e5),
		of(zstd, "kstreams", "bytes", tableOf("fill", peerKStreams), 2e5),
	}}
	for i := range second.Measures {
		second.Measures[i].Rounds = 2
	}
	return []group{first, second}
}

// rounds bounds the rounds of all measures, and tells whether one warms up.
func (g group) rounds(n int, warmUp bool) group {
	for i := range g.Measures {
		g.Measures[i].Rounds, g.Measures[i].NoWarmUp = n, !warmUp
	}
	return g
}

func memoryPlan(s settings) []group {
	var out []group
	for _, rows := range s.sizes {
		out = append(out, memoryGroup(s, rowsTopic{Rows: rows}))
	}
	return append(out, memoryGroup(s, rowsTopic{Rows: s.sizes[len(s.sizes)/2], RowBytes: 1000}))
}

// memoryGroup measures what a table of some size takes, lookups included. The
// largest sizes are measured once.
func memoryGroup(s settings, data rowsTopic) group {
	var all []measure
	of := func(name string, j job, perSecond float64) {
		j.Seconds = s.seconds
		all = append(all, measure{Work: "memory", Name: name, Values: "bytes", Data: data, Job: j, Weight: secondsFor(data.Rows, perSecond)})
	}
	of("enrich", enrichJob("fill", largeBudget), 1e6)
	if data.RowBytes == 0 {
		of("enrich 64 MB", enrichJob("fill", smallBudget), 1e6)
	}
	if data.Rows <= 2_000_000 {
		of("gomap", tableOf("fill", peerGoMap), 1e6)
	}
	of("goka", tableOf("fill", peerGoka), 1.5e5)
	of("kstreams", tableOf("fill", peerKStreams), 2e5)
	rounds := 3
	if data.Rows*max(160, data.RowBytes) > 500*mb {
		rounds = 1
	}
	return group{Title: "Memory, " + data.String(), Measures: all}.rounds(rounds, false)
}

func registerPlan(settings) []group {
	var all []measure
	for _, peer := range allPeers {
		j := tableOf("fill", peer)
		values := "bytes"
		switch peer {
		case peerRaw:
			values = ""
		case peerEnrich, peerPebble:
			j.Budget = largeBudget
		}
		all = append(all, measure{Work: "register", Name: peer, Values: values, Register: true, Job: j, Weight: 2})
	}
	return []group{group{Title: "The IEEE vendor register", Measures: all}.rounds(3, true)}
}
