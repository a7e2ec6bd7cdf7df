package main

// lookupGoroutines are the numbers of goroutines that look up at once.
var lookupGoroutines = []int{1, 2, 4, 8}

func lookupPlan(s settings) []group {
	data := rowsTopic{Rows: s.rows}
	of := func(name, values string, j job, kinds, beside []string, weight float64) measure {
		j.Kinds, j.Beside, j.Goroutines, j.Seconds = kinds, beside, lookupGoroutines, s.seconds
		if j.Peer != peerEnrich && j.Peer != peerGoMap {
			j.Goroutines = []int{1, 2, 4}
		}
		return measure{Work: "lookup", Name: name, Values: values, Data: data, Job: j, Weight: weight}
	}
	decoding := func(budget int64, warm bool) job {
		j := enrichJob("lookup", budget)
		j.Decode, j.Warm = true, warm
		return j
	}
	blocks := enrichJob("lookup", smallBudget)
	blocks.BlockCache, blocks.Warm = allBlocks, true
	uniform := []string{"uniform"}
	return []group{group{Title: "Lookups", Measures: []measure{
		of("enrich 64 MB", "bytes", enrichJob("lookup", smallBudget), []string{"uniform", "zipf", "absent", "batch"}, uniform, 16),
		of("enrich 64 MB decoded", "decoded", decoding(smallBudget, false), []string{"hot", "uniform", "zipf"}, []string{"hot", "uniform"}, 16),
		of("enrich in block cache", "bytes", blocks, []string{"uniform", "absent", "batch"}, uniform, 18),
		of("enrich in decoded cache", "decoded", decoding(decodedBudget, true), []string{"hot", "uniform", "zipf", "batch"}, uniform, 24),
		of("pebble 64 MB", "bytes", pebbleJob("lookup", smallBudget), []string{"uniform", "zipf", "absent"}, nil, 20),
		of("gomap", "bytes", tableOf("lookup", peerGoMap), []string{"hot", "uniform", "absent"}, nil, 10),
		of("goka", "bytes", tableOf("lookup", peerGoka), []string{"hot", "uniform", "zipf", "absent"}, uniform, 20),
		of("kstreams", "bytes", tableOf("lookup", peerKStreams), []string{"hot", "uniform", "zipf", "absent"}, uniform, 20),
	}}.rounds(min(s.rounds, 3), false)}
}

func joinPlan(s settings) []group {
	data := rowsTopic{Rows: s.rows}
	of := func(name string, j job, output bool, weight float64) measure {
		values := "bytes"
		if j.Peer == peerRaw {
			values = ""
		}
		return measure{Work: "join", Name: name, Values: values, Data: data, Stream: s.rows, Output: output, Job: j, Weight: weight}
	}
	cold := enrichJob("join", smallBudget)
	cold.Cold = true
	cached := enrichJob("join", joinBudget)
	measures := []measure{
		of("raw", tableOf("join", peerRaw), false, 2),
		of("enrich cached", cached, false, 8),
		of("enrich cold 64 MB", cold, false, 8),
		of("kstreams", tableOf("join", peerKStreams), false, 30),
		of("raw, output", tableOf("join", peerRaw), true, 8),
		of("enrich cached, output", cached, true, 15),
		of("enrich cold 64 MB, output", cold, true, 10),
		of("kstreams, output", tableOf("join", peerKStreams), true, 35),
		of("kstreams tuned", tuned(tableOf("join", peerKStreams)), false, 30),
		of("kstreams tuned, output", tuned(tableOf("join", peerKStreams)), true, 35),
	}
	for i := range measures {
		m := &measures[i]
		if m.Output {
			m.Rounds, m.NoWarmUp = 3, true
		}
		if m.Job.Tuned {
			m.Rounds, m.NoWarmUp = 1, true
		}
	}
	return []group{{Title: "Stream join", Measures: measures}}
}

func restartPlan(s settings) []group {
	data := rowsTopic{Rows: s.rows}
	var all []measure
	of := func(name string, j job, killed bool, weight float64) {
		prepare := j
		if killed {
			prepare.Work, prepare.Updates = "kill", s.updates/10
		}
		all = append(all, measure{Work: "restart", Name: name, Values: "bytes", Data: data, Prepare: []job{prepare}, Job: j, Weight: weight})
	}
	of("enrich, clean", enrichJob("fill", largeBudget), false, 4)
	of("enrich, kill -9", enrichJob("fill", largeBudget), true, 6)
	of("goka, clean", tableOf("fill", peerGoka), false, 15)
	of("goka, kill -9", tableOf("fill", peerGoka), true, 15)
	of("kstreams, clean", tableOf("fill", peerKStreams), false, 15)
	of("kstreams, kill -9", tableOf("fill", peerKStreams), true, 25)
	g := group{Title: "Restart", Measures: all}.rounds(min(s.rounds, 3), false)
	return []group{g.peersOnce()}
}

func livePlan(s settings) []group {
	data := rowsTopic{Rows: s.rows}
	of := func(name string, j job, weight float64) measure {
		j.Updates, j.Probes = s.updates, s.probes
		if j.Peer != peerEnrich {
			j.Updates = s.updates / 4 // they take that much longer
		}
		return measure{Work: "live", Name: name, Values: "bytes", Data: data, Job: j, Weight: weight}
	}
	g := group{Title: "Live updates", Measures: []measure{
		of("enrich", enrichJob("live", largeBudget), 20),
		of("enrich 64 MB", enrichJob("live", smallBudget), 20),
		of("goka", tableOf("live", peerGoka), 35),
		of("kstreams", tableOf("live", peerKStreams), 35),
	}}.rounds(min(s.rounds, 3), false)
	return []group{g.peersOnce()}
}

// peersOnce has the peers take part in one round only, since they are slow.
func (g group) peersOnce() group {
	for i := range g.Measures {
		if g.Measures[i].Job.Peer != peerEnrich {
			g.Measures[i].Rounds = 1
		}
	}
	return g
}

func rebuildPlan(s settings) []group {
	of := func(name, work string, budget int64) measure {
		j := enrichJob(work, budget)
		j.Seconds, j.Updates = 4*s.seconds, s.updates/10
		return measure{Work: "rebuild", Name: name, Values: "bytes", Data: rowsTopic{Rows: s.rows}, OwnTopic: work == "rebuild", Job: j, Weight: 25}
	}
	return []group{group{Title: "Rebuild and verification under a reader", Measures: []measure{
		of("rebuild", "rebuild", largeBudget),
		of("rebuild 64 MB", "rebuild", smallBudget),
		of("verification", "verify", largeBudget),
		of("verification 64 MB", "verify", smallBudget),
	}}.rounds(min(s.rounds, 2), false)}
}

// quickPlan is as much as fits into two minutes and gives every key figure.
func quickPlan(s settings) []group {
	data, small := rowsTopic{Rows: s.rows}, rowsTopic{Rows: max(probeRows, s.rows/10)}
	decoded := enrichJob("lookup", largeBudget)
	decoded.Decode, decoded.Kinds, decoded.Goroutines, decoded.Seconds = true, []string{"hot"}, []int{1, 2}, s.seconds
	bytes := enrichJob("lookup", smallBudget)
	bytes.Kinds, bytes.Goroutines, bytes.Seconds = []string{"uniform", "absent", "batch"}, []int{1}, s.seconds
	cold := enrichJob("join", smallBudget)
	cold.Cold = true
	memory := enrichJob("fill", largeBudget)
	memory.Seconds = s.seconds
	restart := enrichJob("fill", largeBudget)
	once := func(g group, n int, warmUp bool) group { return g.rounds(min(n, s.rounds), warmUp) }
	peers := []measure{
		{Work: "bootstrap", Name: "raw", Data: data, Job: tableOf("fill", peerRaw), Weight: 1},
		{Work: "bootstrap", Name: "enrich", Values: "bytes", Data: data, Job: enrichJob("fill", largeBudget), Weight: 2},
		{Work: "bootstrap", Name: "goka", Values: "bytes", Data: data, Job: tableOf("fill", peerGoka), Weight: 5},
		{Work: "bootstrap", Name: "kstreams", Values: "bytes", Data: data, Job: tableOf("fill", peerKStreams), Weight: 7},
	}
	bootstrap := once(group{Title: "Cold bootstrap", Measures: peers}, 3, true)
	for i := range bootstrap.Measures[2:] {
		m := &bootstrap.Measures[2+i]
		m.Rounds, m.NoWarmUp = min(2, s.rounds), true
	}
	return only([]group{
		bootstrap,
		once(group{Title: "Lookups", Measures: []measure{
			{Work: "lookup", Name: "enrich decoded", Values: "decoded", Data: data, Job: decoded, Weight: 3},
			{Work: "lookup", Name: "enrich 64 MB", Values: "bytes", Data: data, Job: bytes, Weight: 4},
		}}, 2, false),
		once(group{Title: "Stream join", Measures: []measure{
			{Work: "join", Name: "raw", Data: data, Stream: s.rows, Job: tableOf("join", peerRaw), Weight: 1},
			{Work: "join", Name: "enrich cached", Values: "bytes", Data: data, Stream: s.rows, Job: enrichJob("join", joinBudget), Weight: 4},
			{Work: "join", Name: "enrich cold 64 MB", Values: "bytes", Data: data, Stream: s.rows, Job: cold, Weight: 4},
		}}, 3, false),
		once(group{Title: "Memory, " + small.String(), Measures: []measure{
			{Work: "memory", Name: "enrich", Values: "bytes", Data: small, Job: memory, Weight: 1},
		}}, 1, false),
		once(group{Title: "Memory, " + data.String(), Measures: []measure{
			{Work: "memory", Name: "enrich", Values: "bytes", Data: data, Job: memory, Weight: 2},
		}}, 1, false),
		once(group{Title: "Restart", Measures: []measure{
			{Work: "restart", Name: "enrich, clean", Values: "bytes", Data: data, Prepare: []job{restart}, Job: restart, Weight: 3},
		}}, 2, false),
	}, s.peers)
}
