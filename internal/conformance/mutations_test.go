package conformance

import "github.com/globaltable/enrich/internal/mutate"

// change is a mutation of one place.
func change(file, from, to string) []mutate.Change {
	return []mutate.Change{{File: file, Old: from, New: to}}
}

// The mutations that several rows share; each is named by what it breaks.

func positionsAreLost() []mutate.Change {
	return change("globaltable/wait.go", "Partition: int32(p), Offset: at.Next}", "Partition: int32(p), Offset: at.Next / 2}")
}

func storedPositionsAreWrong() []mutate.Change {
	return change("internal/store/state.go", "dst = binary.AppendVarint(dst, p.Next)", "dst = binary.AppendVarint(dst, p.Next+1)")
}

func startsAtTheLogStart() []mutate.Change {
	return change("globaltable/follower.go", "feed.Start{Partition: int32(p), Offset: at.Next, Epoch: at.Epoch}", "feed.Start{Partition: int32(p), Offset: feed.LogStart, Epoch: -1}")
}

func writeErrorsAreWaitedOut() []mutate.Change {
	return change("globaltable/run.go", "if _, ok := errors.AsType[*WriteError](err); ok {", "if _, ok := errors.AsType[*WriteError](err); ok && false {")
}

func topicIDsAreIgnored() []mutate.Change {
	return change("globaltable/decide.go", "want.TopicID != unknown && has.TopicID != want.TopicID:", "want.TopicID != unknown && has.TopicID != want.TopicID && false:")
}

func damageIsWaitedOut() []mutate.Change {
	return change("internal/store/generation.go", "\t\treturn err\n\t}\n\treturn corrupt(err)\n}", "\t\treturn err\n\t}\n\treturn err\n}")
}

func neverServed() []mutate.Change {
	return change("globaltable/follower.go", "if f.e.served() != f.gen {", "if false {")
}

func anyTopicFits() []mutate.Change {
	return change("internal/store/root.go", "if d.Topic != r.opts.Topic {", "if false {")
}

func locksAreNotTold() []mutate.Change {
	return change("internal/store/lock.go", "case heldByAnother(err):", "case heldByAnother(err) && false:")
}

func troubleIsHidden() []mutate.Change {
	return []mutate.Change{
		{File: "globaltable/run.go", Old: "\t\te.trouble(err)\n", New: ""},
		{File: "globaltable/run.go", Old: "OnTrouble: e.trouble,", New: "OnTrouble: func(error) {},"},
	}
}

func troubleEndsRun() []mutate.Change {
	return []mutate.Change{
		{File: "globaltable/run.go", Old: "\t\t\treturn err\n\t\t}\n\t}\n\treturn nil\n}\n\n// errInternal marks", New: "\t\t\treturn err\n\t\t}\n\t}\n\treturn err\n}\n\n// errInternal marks"},
		{File: "internal/feed/fetch.go", Old: "\t\tw.s.failed(fmt.Errorf(\"broker %d: fetch of partition %d: %w\", w.key.leader, p.number, err), p)\n\t\treturn waits, nil", New: "\t\treturn waits, err"},
	}
}

func valuesAreChanged() []mutate.Change {
	return change("globaltable/apply.go", "Headers: headers, Value: value}", "Headers: headers, Value: append([]byte{'0'}, value...)}")
}

func timesAreLost() []mutate.Change {
	return change("globaltable/apply.go", "row = store.Row{Timestamp: r.Timestamp.UnixMilli(),", "row = store.Row{Timestamp: 0,")
}

func tombstonesAreIgnored() []mutate.Change {
	return change("globaltable/apply.go", "count.Tombstones++\n\t\t\tto.Delete(r.Key)", "count.Tombstones++")
}

func orderIsReversed() []mutate.Change {
	return change("globaltable/apply.go", "for i, r := range b.Records {", "for i := range b.Records {\n\t\tr := b.Records[len(b.Records)-1-i]")
}

func nothingIsPut() []mutate.Change {
	return change("globaltable/apply.go", "to.Put(r.Key, &row)", "_ = &row")
}

func targetsAreZero() []mutate.Change {
	return change("globaltable/targets.go", "t.offsets[b.Partition] = b.End", "t.offsets[b.Partition] = 0")
}

func batchesAreNotTold() []mutate.Change {
	return change("globaltable/hooks.go", "{ eachHook(hs, func(h HookBatch) { h.OnBatchApplied(b) }) }", "{}")
}

func neverFlushedByTime() []mutate.Change {
	return change("globaltable/follower.go", "errors.Join(f.applySoon(), f.gen.Flush())", "errors.Join(f.applySoon())")
}

func flushedAtOnce() []mutate.Change {
	return change("globaltable/follower.go", "time.NewTicker(f.e.cfg.flushInterval)", "time.NewTicker(10 * time.Millisecond)")
}

func notFlushedWhenReady() []mutate.Change {
	return change("globaltable/follower.go", "errors.Join(f.gen.Flush(), f.e.root.MarkWhole(f.gen))", "errors.Join()")
}

func notFlushedByClose() []mutate.Change {
	return []mutate.Change{
		{File: "globaltable/run.go", Old: "errors.Join(f.applyPending(), f.gen.Flush())", New: "errors.Join(f.applyPending())"},
		{File: "internal/store/root.go", Old: "errs = append(errs, g.Flush(), g.close(false))", New: "errs = append(errs, g.close(false))"},
	}
}

func storeIsNotClosed() []mutate.Change {
	return change("globaltable/engine.go", "if err := e.root.Close(); err != nil {", "if err := error(nil); err != nil {")
}

func closeErrorsAreLost() []mutate.Change {
	return change("internal/store/root.go", "errs = append(errs, g.Flush(), g.close(false))", "_, _ = g.Flush(), g.close(false)")
}

func secondCloseIsAnError() []mutate.Change {
	return change("globaltable/engine.go", "\tif e.closed {\n\t\te.mu.Unlock()\n\t\treturn nil", "\tif e.closed {\n\t\te.mu.Unlock()\n\t\treturn ErrClosed")
}

func lockIsKeptAfterAnError() []mutate.Change {
	return change("internal/store/root.go", "r.closeErr = errors.Join(append(errs, r.lock.Close())...)", "if r.closeErr = errors.Join(errs...); r.closeErr == nil {\n\t\tr.closeErr = r.lock.Close()\n\t}")
}

func memoryIsOnDisk() []mutate.Change {
	return change("globaltable/table.go", `o.FS, o.Dir = vfs.NewMem(), "/table"`, `o.FS, o.Dir = vfs.Default, "table"`)
}

func nullKeysAreRows() []mutate.Change {
	return change("globaltable/apply.go", "if r.Key == nil {", "if false {")
}

func readyIsNotPublished() []mutate.Change {
	return change("globaltable/follower.go", "f.e.setStatus(Ready, \"\", nil)\n\tf.e.markReady(", "f.e.markReady(")
}

func stoppedIsNotPublished() []mutate.Change {
	return change("globaltable/engine.go", `		e.setStatus(Stopped, "", nil)`+"\n", "")
}

func stoppedTablesDoNotAnswer() []mutate.Change {
	return change("globaltable/engine.go", "\t\te.refuse(refusedRebuilding, nil)\n", "\t\te.noView(ErrNotReady)\n")
}

func uncompactedIsAccepted() []mutate.Change {
	return change("globaltable/run.go", "if cfg.Known && !cfg.Compacted && !e.cfg.acceptUncompacted {", "if false {")
}

func deniedIsWaitedOut() []mutate.Change {
	return change("globaltable/run.go", "if errors.Is(err, denied) {", "if errors.Is(err, denied) && false {")
}

func failedTablesAnswer() []mutate.Change {
	return change("globaltable/engine.go", "\te.noView(&RunError{Topic: e.topic, Err: err})\n", "")
}

func belowLogStartIsNotSeen() []mutate.Change {
	return change("globaltable/decide.go", "case at.Next < r.LogStart:", "case false:")
}

func rejectedKeepTheOldRow() []mutate.Change {
	return change("globaltable/apply.go", "// never saw that either.\n\t\t\t\tto.Delete(r.Key)", "// never saw that either.")
}

func rejectedIsNotCounted() []mutate.Change {
	return change("globaltable/apply.go", "count.Rejected++\n", "")
}

func badRecordsDoNotFail() []mutate.Change {
	return change("globaltable/apply.go", "if f.e.cfg.badRecords == Fail {", "if false {")
}

func badRecordsAreKept() []mutate.Change {
	return change("globaltable/table.go", "if shape == nil && cfg.badRecords != 0 && key", "if false && shape == nil && cfg.badRecords != 0 && key")
}

func transformIsIgnored() []mutate.Change {
	return change("globaltable/apply.go", "value = s.value", "_ = s.value")
}

func transformPanicsAreFilters() []mutate.Change {
	return change("globaltable/transform.go", `err = newPanicError("transform", v)`, `_ = v`)
}

func missesAreFound() []mutate.Change {
	return change("globaltable/read.go", "row, bad = t.keep(cache, key, &found.Row, ok, ticket)", "row, bad = t.keep(cache, key, &found.Row, ok || true, ticket)")
}

func closedAnswersFromMemory() []mutate.Change {
	return change("globaltable/engine.go", "\te.noView(ErrClosed)\n", "")
}

func clientIsNotClosed() []mutate.Change {
	return change("globaltable/run.go", "defer client.Close()", "_ = client")
}

func removeLeavesFiles() []mutate.Change {
	return change("internal/store/remove.go", "if _, ok := genNumber(name); ok {", "if _, ok := genNumber(name); ok && false {")
}

func removeTakesForeignFiles() []mutate.Change {
	return change("internal/store/remove.go", "if _, ok := genNumber(name); ok {", "if _, ok := genNumber(name); ok || name != lockName && name != descriptorName {")
}

func directoriesAreNotMade() []mutate.Change {
	return change("internal/store/root.go", "if err := makeDir(o.FS, o.Dir); err != nil {", "if err := error(nil); err != nil {")
}

func uncommittedIsRead() []mutate.Change {
	return []mutate.Change{
		{File: "internal/feed/fetch.go", Old: "if !cfg.ReadUncommitted {", New: "if false {"},
		{File: "internal/feed/fetch.go", Old: "\tif w.s.cfg.ReadUncommitted {\n\t\tiso = kgo.ReadUncommitted()", New: "\tif true {\n\t\tiso = kgo.ReadUncommitted()"},
	}
}

func markersAreNotPassed() []mutate.Change {
	return change("internal/feed/fetch.go", "From: p.next, Next: d.next,", "From: p.next, Next: p.next + int64(len(d.records)),")
}

func rangesAreReversed() []mutate.Change {
	return change("globaltable/snapshot.go", "return s.s.Scan(lo, hi, fn)", "return s.s.Scan(hi, lo, fn)")
}

func prefixesAreStarts() []mutate.Change {
	return change("globaltable/snapshot.go", "return s.s.ScanPrefix(prefix, fn)", "return s.s.Scan(prefix, nil, fn)")
}

func namesAreEmpty() []mutate.Change {
	return change("globaltable/table.go", `return "table " + t.e.topic }`, `return "table " }`)
}

func groupReadsEverything() []mutate.Change {
	return change("stream/worker.go", "kgo.ConsumeTopics(w.sink.plan.sources...),", `kgo.ConsumeTopics(".*"), kgo.ConsumeRegex(),`)
}

func rolesAreKept() []mutate.Change {
	return change("internal/feed/client.go", "case nil, kgo.ProducerOpt, kgo.ConsumerOpt, kgo.GroupOpt:", "case nil:")
}

func codecsAreToldTheWrongHalf() []mutate.Change {
	return change("globaltable/read.go", "t.value.Decode(row.Value, t.meta(codec.Value, headers))", "t.value.Decode(row.Value, t.meta(codec.Key, headers))")
}

func stagesHaveNoName() []mutate.Change {
	return []mutate.Change{
		{File: "join/options.go", Old: "\treturn c.name\n}", New: "\treturn \"join\"\n}"},
		{File: "join/options.go", Old: `return c.name + "/" + reason`, New: `return reason`},
	}
}

// Of joins.

func rowsNeedTheSamePartition() []mutate.Change {
	return change("join/lookup.go", "\t\t\trow = a.row(next)\n\t\t\tnext++\n", "\t\t\tif row = a.row(next); row.Partition != r.Partition {\n\t\t\t\trow = &none\n\t\t\t}\n\t\t\tnext++\n")
}

func leftDropsMisses() []mutate.Change {
	return change("join/lookup.go", "if row.Err == nil && !row.Found && !j.cfg.left {", "if row.Err == nil && !row.Found {")
}

func innerKeepsMisses() []mutate.Change {
	return change("join/lookup.go", "if row.Err == nil && !row.Found && !j.cfg.left {", "if row.Err == nil && !row.Found && false {")
}

func rowsAreKeptFromPollToPoll() []mutate.Change {
	return change("join/lookup.go", "if now != a.revision || now == (globaltable.Revision{}) || a.at == nil || len(a.found) > rowsKept {", "if a.revision == (globaltable.Revision{}) {")
}

func leftDropsRecordsWithoutKey() []mutate.Change {
	return change("join/key.go", "case !ok && !m.cfg.left:", "case !ok:")
}

func nullStreamKeysAreDropped() []mutate.Change {
	return change("join/key.go", "if r.NullValue {", "if r.NullValue || r.NullKey {")
}

func nullValuesAreJoined() []mutate.Change {
	return change("join/key.go", "if r.NullValue {", "if false {")
}

func outputsHaveTheRowsTime() []mutate.Change {
	return change("join/lookup.go", "out.Emit(i, stream.WithValue(*r, v))", "emit := stream.WithValue(*r, v)\n\t\t\temit.Timestamp = row.Timestamp.Add(1)\n\t\t\tout.Emit(i, emit)")
}

func joinersSeeNoTableKey() []mutate.Change {
	return change("join/lookup.go", "r.Value.value), row.Entry)", "r.Value.value), globaltable.Entry[TK, TV]{Value: row.Value, Found: row.Found})")
}
