package globaltable_test

import (
	"flag"
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
	const histories = "TestMetamorphicHistories$"
	for _, c := range []struct {
		name, file, old, new string
	}{
		{"a bulk load skips tombstones", "internal/store/chunk.go", "	c.add(at, len(c.arena), deleted)", "	_ = at"},
		{"a batch skips tombstones", "globaltable/apply.go", "			count.Tombstones++\n			to.Delete(r.Key)", "			count.Tombstones++"},
		{"a bulk load keeps the oldest of a key", "internal/store/chunk.go", "	return cmp.Compare(b.at, a.at)", "	return cmp.Compare(a.at, b.at)"},
		{"a key's end counts for nothing", "internal/store/chunk.go", "		return cmp.Compare(a.key, b.key)\n", "		return 0\n"},
		{"what is filtered leaves the old row", "globaltable/apply.go", "				to.Delete(r.Key)\n				continue", "				continue"},
		{"batches do not tell what they change", "internal/store/batch.go", "	g.tellChanges(written)\n", "	_ = written\n"},
		{"bulk loads do not tell what they change", "internal/store/bulk.go", "(*tell)(c.key(&c.refs[i])[1:])", "_ = i"},
		{"joins keep rows for ever", "join/lookup.go", "if now != a.revision || now", "if now"},
		{"aborted transactions are read", "globaltable/run.go", "Opts: opts, ReadUncommitted: e.cfg.uncommitted,", "Opts: opts, ReadUncommitted: true,"},
		{"aborted records are decoded", "internal/feed/fetch.go", "iso := kgo.ReadCommitted()", "iso := kgo.ReadUncommitted()"},
		{"a topic created again is the same", "globaltable/decide.go", "		return TopicRecreated\n", "		return \"\"\n"},
		{"another transform keeps the rows", "globaltable/decide.go", "		return TransformChanged\n", "		return \"\"\n"},
		{"another isolation keeps the rows", "globaltable/decide.go", "		return IsolationChanged\n", "		return \"\"\n"},
		{"reading goes on one further", "globaltable/follower.go", "Offset: at.Next, Epoch: at.Epoch}", "Offset: at.Next + 1, Epoch: at.Epoch}"},
		{"a batch's last record is left out", "globaltable/apply.go", "	for i, r := range b.Records {\n		if r.Key == nil {", "	for i, r := range b.Records {\n		if i > 5 && i == len(b.Records)-1 {\n			continue\n		}\n		if r.Key == nil {"},
		{"added partitions are not read", "internal/feed/watch.go", "		if p == nil && s.until == nil {", "		if p == nil && s.until == nil && len(s.workers) == 0 {"},
		{"rows below the log start stay", "internal/store/state.go", "offset < s.Partitions[partition].LogStart", "offset < 0"},
		{"expired tombstones are not looked for", "globaltable/decide.go", "			pend(state, TombstonesExpired)\n", ""},
		{"a verification deletes nothing", "globaltable/verify.go", "		f.batch.Delete(key)\n", ""},
		{"a log that starts later is no reason to verify", "globaltable/decide.go", "			pend(state, BelowLogStart)\n", ""},
		{"positions are durable before the rows", "internal/store/batch.go", "	if err := g.db.Apply(b.b, pebble.NoSync); err != nil {", "	_, _ = g.db.Set(stateKey, b.buf, pebble.NoSync), g.db.Flush()\n	if err := g.db.Apply(b.b, pebble.NoSync); err != nil {"},
		{"left joins drop what has no row", "join/lookup.go", "!row.Found && !j.cfg.left {", "!row.Found {"},
		{"one result in a hundred is another key's", "globaltable/many.go", "		same := m.misses[m.first[d]:m.first[d+1]]", "		same := m.misses[m.first[d]:m.first[d+1]]\n		if d == 99 {\n			same = m.misses[m.first[0]:m.first[1]]\n		}"},
	} {
		t.Run(c.name, func(t *testing.T) {
			mutate.Red(t, mutate.Run{Package: "globaltable", Tests: histories, Args: []string{"-timeout", "3m"}}, mutate.Change{File: c.file, Old: c.old, New: c.new})
		})
	}
}
