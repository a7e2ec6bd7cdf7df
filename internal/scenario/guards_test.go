package scenario

import (
	"flag"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/globaltable/enrich/internal/mutate"
)

var guardsOff = flag.Bool("guards", false, "switch each guard off and see its scenario fail")

// A guard is what keeps a table from a wrong answer.
type guard struct {
	name string
	off  []mutate.Change // what switches it off
	pkg  string          // of the test; this one if empty
	test string          // a scenario, or in another package the name of a test
}

func table(file, was, is string) []mutate.Change {
	return []mutate.Change{{File: "globaltable/" + file, Old: was, New: is}}
}

func inFeed(file, was, is string) []mutate.Change {
	return []mutate.Change{{File: "internal/feed/" + file, Old: was, New: is}}
}

func guards() []guard {
	return []guard{
		// What was stored is compared with what is there.
		{"another topic id is another topic", table("decide.go", "has.TopicID != want.TopicID:", "has.TopicID != want.TopicID && false:"), "", "topic_recreated_longer_while_down"},
		{"an isolation level shapes rows", table("decide.go", "case has.ReadUncommitted != want.ReadUncommitted:", "case false:"), "", "isolation_changed_between_runs"},
		{"a transform shapes rows", table("decide.go", "case has.Transform != want.Transform,", "case"), "", "filter_changed_between_runs"},
		{"a policy shapes rows", table("badrecords.go", "return has == want || has == failed", "return true"), "globaltable", "TestBadRecordsAreSkipped"},
		{"a position above the end is of another log", table("decide.go", "case r.End < at.Next:", "case false:"), "globaltable", "TestJudge"},
		{"a leader epoch that ended below", table("decide.go", "ok && end < at.Next", "ok && end < at.Next && false"), "globaltable", "TestDivergedEpochIsRebuilt"},
		{"a position below the log start is verified", table("decide.go", "pend(state, BelowLogStart)", "_ = state"), "", "delete_records_moves_the_log_start_while_down"},
		{"tombstones expire while it is down", table("decide.go", "now.Sub(at.AtEnd) > retention {", "now.Sub(at.AtEnd) > retention && false {"), "", "away_for_longer_than_tombstones_are_kept"},
		{"tombstones expire while it runs", table("apply.go", "age(since) > f.retention {", "age(since) > f.retention && false {"), "globaltable", "TestTombstonesExpireWhileRunning"},
		{"a clock that went back", table("decide.go", "pend(state, ClockMovedBack)", "_ = state"), "", "clock_moved_back_while_down"},
		{"a newer format is refused", []mutate.Change{{File: "internal/store/descriptor.go", Old: "v.Format > formatVersion", New: "v.Format > formatVersion && false"}}, "", "format_written_by_a_newer_release"},
		{"settings that are denied are said", table("run.go", "f.unknown = e.unknownConfigs(cfg)", ""), "", "describe_configs_denied"},

		// Verification.
		{"rows without a record are deleted", table("verify.go", "f.batch.Delete(key)", ""), "", "deleted_while_down_tombstone_compacted_away"},
		{"rows with a record stay", table("verify.go", "&& !exists.has(partition, offset)", ""), "", "clock_moved_back_while_down"},
		{"it waits for the tail", table("verify.go", "if err := f.passEnd(ctx, tail); err != nil {", "if err := error(nil); err != nil {"), "globaltable", "TestVerificationWaitsForTheTail"},
		{"verified rows need no verification", table("verify.go", "at.AtEnd = began", "_ = at"), "globaltable", "TestVerifiedRowsWereAtTheEnd"},
		{"a tail that fell behind is verified again", table("verify.go", "if f.again {", "if false {"), "globaltable", "TestVerifyOnceMoreWhereTheTailFellBehind"},
		{"the end is where it was when it was asked for", table("apply.go", "at.AtEnd = b.Asked\n\t}\n\tf.endsMu", "at.AtEnd = time.Now()\n\t}\n\tf.endsMu"), "globaltable", "TestAtTheEndIsWhenItWasAsked"},

		// Rebuilds.
		{"a swap is not behind the old rows", table("follower.go", "if !behind {", "if true {"), "globaltable", "TestSwapIsNotBehindTheOldRows"},
		{"a swap that waited is verified", table("follower.go", "pending = f.pendingReason() != \"\" {", "pending = false {"), "globaltable", "TestSwapThatWaitedIsVerifiedFirst"},
		{"a lost topic empties nothing", table("guard.go", "if before == nil || g.most >= 1 {", "if true {"), "", "topic_recreated_empty_by_auto_creation"},
		{"a rebuild needs space", table("guard.go", "err == nil && has < needs {", "err == nil && has < needs && false {"), "globaltable", "TestRebuildNeedsSpace"},
		{"a rebuild that fails ends nothing", table("run.go", "return nil // the old generation goes on answering", "_ = rebuilding"), "", "rebuild_meets_a_full_disk"},
		{"a rebuild that fails is dropped", table("run.go", "return &rebuildError{errors.Join(err, e.root.Discard(pl.gen))}", "return &rebuildError{err}"), "globaltable", "TestStopAfterARebuildFailed"},
		{"a recreated topic is found while running", inFeed("watch.go", "t.ID.Known() && s.id.Known() && t.ID != s.id {", "false {"), "", "topic_recreated_while_running"},
		{"positions of the earlier topic fail", table("run.go", "e.topicID.Store(&id)", "_ = id"), "globaltable", "TestRecreatedTopicFailsItsWaiters"},

		{"what is resumed is known to be what it is now", table("decide.go", "if err := adopt(building, want); err != nil {", "if err := error(nil); err != nil {"), "globaltable", "TestBadRecordInARebuild"},
		{"many workers do not begin at once", table("guard.go", "wait := rand.N(most)", "wait := min(1, rand.N(most))"), "globaltable", "TestRebuildJitter"},
		{"a manifest that ends early is damage", []mutate.Change{{File: "internal/store/generation.go", Old: "if err = g.requireNumbers(); err == nil {", New: "if true {"}}, "internal/store", "TestDamagedManifestBringsNoOldRowsBack"},

		// What is applied.
		{"a bad record ends Run", table("apply.go", "if f.e.cfg.badRecords == Fail {", "if false {"), "", "bad_record_fails_run"},
		{"nothing behind a bad record is applied", table("writer.go", "if f.broken != nil {\n\t\treturn f.broken // there", "if false {\n\t\treturn f.broken // there"), "globaltable", "TestFlushBehindABadRecordOfABulkLoad"},
		{"records without a key are no rows", table("apply.go", "if r.Key == nil {", "if r.Key == nil && false {"), "", "null_keys_are_dropped"},
		{"what is rejected takes the row away", table("apply.go", "// never saw that either.\n\t\t\t\tto.Delete(r.Key)", "// never saw that either."), "", "poison_value_over_a_good_row"},
		{"what may be tried again is not bad", table("badrecords.go", "case codec.IsRetryable(err):", "case false:"), "", "schema_registry_away_under_skip"},
		{"rows below the log start are gone", []mutate.Change{{File: "internal/store/state.go", Old: "offset < s.Partitions[partition].LogStart", New: "offset < s.Partitions[partition].LogStart && false"}}, "", "delete_records_moves_the_log_start_while_running"},
		{"a key in two partitions is noted", table("apply.go", "f.watchSpread(r)\n", "\n"), "", "same_key_in_two_partitions"},
		{"a failed write ends Run", table("run.go", "if _, ok := errors.AsType[*WriteError](err); ok {", "if _, ok := errors.AsType[*WriteError](err); ok && false {"), "", "store_write_fails"},
		{"positions move over what nobody sees", table("apply.go", "if b.Next != at.Next || b.LogStart > at.LogStart {", "if len(b.Records) > 0 {"), "globaltable", "TestPositionsMoveWithoutRecords"},
		{"the last stable offset is the end", inFeed("fetch.go", "b.End = rp.LastStableOffset", ""), "", "open_transaction_at_the_end_commits"},
		{"partitions are found", inFeed("watch.go", "s.adopt(ctx, t)", "_ = t"), "", "partition_added_while_running"},
		{"kept rows are forgotten", table("rowcache.go", "c.rows.Invalidate(k)", "_ = k"), "", "table_update_during_the_stream"},
		{"rows that were read before a change are not kept", table("rowcache.go", "if t.count.Load() != t.seen {", "if false {"), "globaltable", "TestRowCacheRefusesWhatWasReadBeforeAChange"},

		// Answers.
		{"an old answer is a whole one", table("refuse.go", "|| !e.root.Whole(gen)", ""), "globaltable", "TestAllowStaleNeedsCompleteRows"},
		{"no answer before it is ready", append(
			table("refuse.go", "if e.cfg.allowStale == 0 {", "if false {"),
			table("refuse.go", "case age < 0 || age > e.cfg.allowStale:", "case age < 0:")...,
		), "", "broker_away_at_start"},
		{"too old an answer is none", table("refuse.go", "most > 0 && age > most {", "most < 0 && age > most {"), "", "broker_away_while_running_and_answers_must_be_fresh"},
		{"a table that failed ends the join", []mutate.Change{{File: "join/lookup.go", Old: "!failed && errors.Is(err, globaltable.ErrNotReady)", New: "failed || errors.Is(err, globaltable.ErrNotReady)"}}, "join", "TestTableThatFailsInMidStreamEndsTheStream"},
		{"a stream that fell off its log says so", []mutate.Change{{File: "stream/consume.go", Old: "errors.Is(err, kerr.OffsetOutOfRange), errors", New: "errors"}}, "", "stream_falls_off_its_log"},
	}
}

// What switches a guard off is there to be switched off.
func TestGuardsAreThere(t *testing.T) {
	for _, g := range guards() {
		require.NoError(t, mutate.Check(g.off...), g.name)
	}
}

// Each guard matters: without it the scenario named beside it fails.
func TestGuardsMatter(t *testing.T) {
	if !*guardsOff {
		t.Skip("it builds the table some forty times; give -guards")
	}
	run := func(pkg, tests string) mutate.Run {
		if pkg == "" {
			pkg, tests = "internal/scenario", "^TestScenario$/"+tests
		}
		return mutate.Run{Package: pkg, Tests: tests, Args: []string{"-short", "-timeout=100s"}}
	}
	// With all of them on, all is green.
	all := map[string][]string{}
	for _, g := range guards() {
		all[g.pkg] = append(all[g.pkg], g.test)
	}
	for pkg, tests := range all {
		red, out, err := mutate.Try(t.Context(), t.TempDir(), run(pkg, "^("+strings.Join(tests, "|")+")$"))
		require.NoError(t, err, out)
		require.False(t, red, out)
	}
	for _, g := range guards() {
		t.Run(g.name, func(t *testing.T) { mutate.Red(t, run(g.pkg, "^"+g.test+"$"), g.off...) })
	}
}
