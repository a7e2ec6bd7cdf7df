package globaltable_test

import (
	"flag"
	"strings"
	"testing"

	"github.com/globaltable/enrich/internal/mutate"
)

var redRun = flag.Bool("red", false, "whether TestProofsGoRed runs, which takes some minutes")

// The random histories and the tests of concurrency go red where the source is
// wrong: each case is one mistake, and the tests that have to find it in a run as
// long as the default one.
func TestProofsGoRed(t *testing.T) {
	if !*redRun {
		t.Skip("it builds and runs the tests once for each mistake, some minutes in all; ask for it by -red")
	}
	const (
		histories = "TestMetamorphicHistories$"
		readers   = "TestReadersBesideEverything$"
		loads     = "TestLoadAgainstInvalidate$"
		closes    = "TestCloseWaitsForReads$"
	)
	for _, c := range []struct {
		tests, name, file, old, new string
	}{
		{histories, "a bulk load skips tombstones", "internal/store/chunk.go", "	c.add(at, len(c.arena), deleted)", "	_ = at"},
		{histories, "a batch skips tombstones", "globaltable/apply.go", "			count.Tombstones++\n			to.Delete(r.Key)", "			count.Tombstones++"},
		{histories, "a bulk load keeps the oldest of a key", "internal/store/chunk.go", "	return cmp.Compare(b.at, a.at)", "	return cmp.Compare(a.at, b.at)"},
		{histories, "a key's end counts for nothing", "internal/store/chunk.go", "		return cmp.Compare(a.key, b.key)\n", "		return 0\n"},
		{histories, "what is filtered leaves the old row", "globaltable/apply.go", "				to.Delete(r.Key)\n				continue", "				continue"},
		{histories, "batches do not tell what they change", "internal/store/batch.go", "	g.tellChanges(written)\n", "	_ = written\n"},
		{histories, "bulk loads do not tell what they change", "internal/store/bulk.go", "(*tell)(c.key(&c.refs[i])[1:])", "_ = i"},
		{histories, "joins keep rows for ever", "join/lookup.go", "if now != a.revision || now", "if now"},
		{histories, "aborted transactions are read", "globaltable/run.go", "Opts: opts, ReadUncommitted: e.cfg.uncommitted,", "Opts: opts, ReadUncommitted: true,"},
		{histories, "aborted records are decoded", "internal/feed/fetch.go", "iso := kgo.ReadCommitted()", "iso := kgo.ReadUncommitted()"},
		{histories, "a topic created again is the same", "globaltable/decide.go", "		return TopicRecreated\n", "		return \"\"\n"},
		{histories, "another transform keeps the rows", "globaltable/decide.go", "		return TransformChanged\n", "		return \"\"\n"},
		{histories, "another isolation keeps the rows", "globaltable/decide.go", "		return IsolationChanged\n", "		return \"\"\n"},
		{histories, "reading goes on one further", "globaltable/follower.go", "Offset: at.Next, Epoch: at.Epoch}", "Offset: at.Next + 1, Epoch: at.Epoch}"},
		{histories, "a batch's last record is left out", "globaltable/apply.go", "	for i, r := range b.Records {\n		if r.Key == nil {", "	for i, r := range b.Records {\n		if i > 5 && i == len(b.Records)-1 {\n			continue\n		}\n		if r.Key == nil {"},
		{histories, "added partitions are not read", "internal/feed/watch.go", "		if p == nil && s.until == nil {", "		if p == nil && s.until == nil && len(s.workers) == 0 {"},
		{histories, "rows below the log start stay", "internal/store/state.go", "offset < s.Partitions[partition].LogStart", "offset < 0"},
		{histories, "expired tombstones are not looked for", "globaltable/decide.go", "			pend(state, TombstonesExpired)\n", ""},
		{histories, "a verification deletes nothing", "globaltable/verify.go", "		f.batch.Delete(key)\n", ""},
		{histories, "a log that starts later is no reason to verify", "globaltable/decide.go", "			pend(state, BelowLogStart)\n", ""},
		{histories, "positions are durable before the rows", "internal/store/batch.go", "	if err := g.db.Apply(b.b, pebble.NoSync); err != nil {", "	_, _ = g.db.Set(stateKey, b.buf, pebble.NoSync), g.db.Flush()\n	if err := g.db.Apply(b.b, pebble.NoSync); err != nil {"},
		{histories, "left joins drop what has no row", "join/lookup.go", "!row.Found && !j.cfg.left {", "!row.Found {"},
		{histories, "one result in a hundred is another key's", "globaltable/many.go", "		same := m.misses[m.first[d]:m.first[d+1]]", "		same := m.misses[m.first[d]:m.first[d+1]]\n		if d == 99 {\n			same = m.misses[m.first[0]:m.first[1]]\n		}"},
		{readers, "batches do not tell what they change", "internal/store/batch.go", "	g.tellChanges(written)\n", "	_ = written\n"},
		{readers, "bulk loads do not tell what they change", "internal/store/bulk.go", "(*tell)(c.key(&c.refs[i])[1:])", "_ = i"},
		{readers, "a batch's position is published before its rows", "internal/store/batch.go", "	written := b.b.Repr()", "	g.publish(s)\n	written := b.b.Repr()"},
		{readers, "a chunk's position is published before its rows", "internal/store/bulk.go", "	err = g.db.Ingest(", "	g.publish(c.state)\n	err = g.db.Ingest("},
		{readers, "a batch is told of behind its position", "internal/store/batch.go", "	g.tellChanges(written)\n	g.publish(s)\n", "	g.publish(s)\n	g.tellChanges(written)\n"},
		{readers, "a record batch is applied in two parts", "globaltable/apply.go", "	if err := f.collect(b, shaped); err != nil {", "	if n := len(b.Records) / 2; n > 0 && f.bulk == nil && shaped == nil {\n		h := *b\n		h.Records = b.Records[:n]\n		if err := f.collect(&h, nil); err != nil {\n			return err\n		}\n		if err := f.apply(); err != nil {\n			return err\n		}\n		b.Records = b.Records[n:]\n	}\n	if err := f.collect(b, shaped); err != nil {"},
		{readers, "a snapshot has the positions of the moment", "internal/store/snapshot.go", "		s.state, err = parseState(b)\n", "		_ = b\n		s.state = g.State()\n"},
		{readers, "a wait ends one batch early", "globaltable/wait.go", "at.Next >= p.Offset", "at.Next+8 >= p.Offset"},
		{readers, "a wait does not ask which topic", "globaltable/wait.go", "	return rows == position || ", "	return rows == position || true || "},
		{readers, "a rebuild keeps what was decoded before", "globaltable/engine.go", "	cache := e.newCache(e.share.decoded())\n", "	cache := e.serving.Load().cache\n	if cache == nil {\n		cache = e.newCache(e.share.decoded())\n	}\n"},
		{readers, "a closed table goes on answering", "globaltable/engine.go", "	e.noView(ErrClosed)\n", ""},
		{loads, "a row is kept that was read before a change", "globaltable/rowcache.go", "if t.count.Load() != t.seen {", "if false {"},
		{loads, "a change does not count", "globaltable/rowcache.go", "%uint64(len(c.changes))].Add(1)", "%uint64(len(c.changes))].Add(0)"},
		{loads, "a ticket is taken when the row was read", "globaltable/read.go", "		row, bad = t.keep(cache, key, &found.Row, ok, ticket)\n", "		row, bad = t.keep(cache, key, &found.Row, ok, ticket)\n		if bad == nil {\n			cache.add(key, row, cache.before(key))\n		}\n"},
		{closes, "a close does not wait", "internal/store/generation.go", "		<-g.idle\n", ""},
	} {
		t.Run(strings.TrimSuffix(c.tests, "$")+": "+c.name, func(t *testing.T) {
			mutate.Red(t, mutate.Run{Package: "globaltable", Tests: c.tests, Args: []string{"-timeout", "3m"}}, mutate.Change{File: c.file, Old: c.old, New: c.new})
		})
	}
}
