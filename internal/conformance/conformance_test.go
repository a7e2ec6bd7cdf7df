package conformance

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/globaltable/enrich/internal/kafkatest"
	"github.com/globaltable/enrich/internal/mutate"
)

var (
	rewrite   = flag.Bool("rewrite", false, "write docs/conformance.md anew")
	mutations = flag.Bool("mutations", false, "show that each row's test goes red under its mutation; takes some minutes")
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		os.Exit(child(dir))
	}
	os.Exit(kafkatest.Main(m))
}

// A verdict says how a row of Kafka's tests stands to this table.
type verdict string

const (
	match  verdict = "M" // the same
	other  verdict = "A" // the same guarantee, by other means
	better verdict = "B" // better on purpose
	own    verdict = "X" // Kafka does not test it
	skip   verdict = "-" // it has no meaning here
	later  verdict = "later"
)

// A row is one thing that Kafka's tests assert of global tables.
type row struct {
	ID string
	// Kafka is where its tests assert it: class and test.
	Kafka   string
	Verdict verdict
	// Ours is what this table does, or why the row has no meaning here.
	Ours string
	Test func(t *testing.T)
	// Red is a change of the code under which Test fails.
	Red []mutate.Change
	// TypeLevel says why there is no such change: the compiler sees to it.
	TypeLevel string
}

// counts reports whether the row has to be shown.
func (r *row) counts() bool { return r.Verdict != skip && r.Verdict != later }

// A section is the rows of some of Kafka's test classes.
type section struct {
	Title string
	Rows  []row
}

func sections() []section {
	return []section{
		{"Restoring and checkpoints", inOrder(restoreRows(), checkpointRows(), troubleRows())},
		{"Records on their way into the table", taskRows()},
		{"The thread that keeps a table up to date", threadRows()},
		{"What user code can reach", contextRows()},
		{"Integration", integrationRows()},
		{"Joins", joinRows()},
		{"Directories", directoryRows()},
		{"Finding and querying a store", queryRows()},
		{"Building a topology, and configuration", buildRows()},
		{"Decoding, converting and writing records", recordRows()},
		{"What Kafka does not test", ownRows()},
		{"Null rules of the join", nullRows()},
	}
}

// inOrder puts rows of one class of Kafka's in the order of their IDs, whose numbers
// are of one length.
func inOrder(rows ...[]row) []row {
	return slices.SortedFunc(slices.Values(slices.Concat(rows...)), func(a, b row) int { return strings.Compare(a.ID, b.ID) })
}

func allRows() (all []row) {
	for _, s := range sections() {
		all = append(all, s.Rows...)
	}
	return all
}

// An ID counts when its subtest ran, and did not skip or fail.
func TestConformance(t *testing.T) {
	passed := map[string]bool{}
	for _, r := range allRows() {
		if !r.counts() {
			continue
		}
		t.Run(r.ID, func(t *testing.T) {
			defer func() { passed[r.ID] = !t.Skipped() && !t.Failed() }()
			r.Test(t)
		})
	}
	if strings.Contains(flag.Lookup("test.run").Value.String(), "/") || flag.Lookup("test.skip").Value.String() != "" {
		return // some were asked for
	}
	for _, r := range allRows() {
		if r.counts() && !passed[r.ID] {
			t.Errorf("%s does not count: it was skipped, or failed", r.ID)
		}
	}
}

func TestRowsAreComplete(t *testing.T) {
	ids := map[string]bool{}
	for _, r := range allRows() {
		require.False(t, ids[r.ID], "%s is there twice", r.ID)
		ids[r.ID] = true
		require.NotEmpty(t, r.Ours, r.ID)
		require.Contains(t, []verdict{match, other, better, own, skip, later}, r.Verdict, r.ID)
		if !r.counts() {
			require.Nil(t, r.Test, r.ID)
			continue
		}
		require.NotNil(t, r.Test, r.ID)
		require.NotEqual(t, len(r.Red) > 0, r.TypeLevel != "", "%s has a mutation, or the reason why there is none", r.ID)
	}
}

// A mutation whose text is not in the code any more shows nothing.
func TestMutationsFit(t *testing.T) {
	for _, r := range allRows() {
		if err := mutate.Check(r.Red...); err != nil {
			t.Errorf("%s: %v", r.ID, err)
		}
	}
}

// Each row's test goes red under its mutation. Rows with the same one share a run.
func TestMutations(t *testing.T) {
	if !*mutations {
		t.Skip("it builds the tests anew for each mutation, which takes some minutes: run it with -mutations")
	}
	var order []string
	groups := map[string][]row{}
	for _, r := range allRows() {
		if len(r.Red) == 0 {
			continue
		}
		key := fmt.Sprintf("%q", r.Red)
		if groups[key] == nil {
			order = append(order, key)
		}
		groups[key] = append(groups[key], r)
	}
	play := func(t *testing.T, ids []string, red []mutate.Change) (failed bool, out string) {
		t.Helper()
		failed, out, err := mutate.Try(t.Context(), t.TempDir(), mutate.Run{
			Package: "internal/conformance",
			Tests:   "^TestConformance$/^(" + strings.Join(ids, "|") + ")$",
			// Vet and what a debugger needs take longer than the tests.
			Args: []string{"-short", "-timeout=180s", "-vet=off", "-ldflags=-s -w"},
			Env:  []string{"ENRICH_REQUIRE_KAFKA=0", patienceEnv + "=4s"},
		}, red...)
		require.NoError(t, err, "%s", out)
		return failed, out
	}
	t.Run("none", func(t *testing.T) {
		var ids []string
		for _, r := range allRows() {
			if len(r.Red) > 0 {
				ids = append(ids, r.ID)
			}
		}
		failed, out := play(t, ids, nil)
		require.False(t, failed, "without a mutation all are green: %s", failures(out))
	})
	for _, key := range order {
		rows := groups[key]
		var ids []string
		for _, r := range rows {
			ids = append(ids, r.ID)
		}
		t.Run(strings.Join(ids, ","), func(t *testing.T) {
			red, out := play(t, ids, rows[0].Red)
			require.True(t, red, "%s stays green under %v", ids, rows[0].Red)
			for _, id := range ids {
				// A panic of another goroutine ends all: then only who is
				// alone in its run is surely the one that it is about.
				alone := len(ids) == 1
				if !strings.Contains(out, "--- FAIL: TestConformance/"+id+" ") && !alone {
					t.Errorf("%s stays green under %v\n%s", id, rows[0].Red, failures(out))
				}
			}
		})
	}
}

// failures are the lines of an output that say what failed, and its end.
func failures(out string) string {
	var b strings.Builder
	for line := range strings.Lines(out) {
		if strings.Contains(line, "--- FAIL") {
			b.WriteString(line)
		}
	}
	return b.String() + "...\n" + out[max(0, len(out)-2000):]
}

const docPath = "../../docs/conformance.md"

// The document is what the rows say; -rewrite writes it.
func TestDocument(t *testing.T) {
	want := document()
	if *rewrite {
		require.NoError(t, os.WriteFile(docPath, []byte(want), 0o644))
	}
	has, err := os.ReadFile(docPath)
	require.NoError(t, err)
	require.Equal(t, want, string(has), "run: go test ./internal/conformance -run TestDocument -rewrite")
}

func document() string {
	n := map[verdict]int{}
	for _, r := range allRows() {
		n[r.Verdict]++
	}
	var b strings.Builder
	fmt.Fprintf(&b, `# Conformance with Kafka's global tables

Apache Kafka's own tests say what its global tables do, and what they refuse. This page lists what they assert, test by test, and what
this table does alike, or instead. It was made from Apache Kafka's test sources, October 2024; the few tests that came since are marked as
later. What they say is told in our words: look them up by their names.

Each row that is not left out is a subtest, under its ID. %d rows are shown:

| verdict | rows | meaning |
|---|---|---|
| M | %d | this table does the same |
| A | %d | it gives the same guarantee by other means |
| B | %d | it does better, on purpose |
| X | %d | Kafka does not test it, and here it is |
| later | %d | not yet, as the row says; not counted |
| - | %d | left out: it is about the JVM, or about Kafka Streams' topologies |

`+"```\n"+`go test ./internal/conformance -run '/GSM15$'      one row
go test ./internal/conformance                     all rows, on the fake broker and on a real Kafka
go test ./internal/conformance -run TestMutations -mutations -timeout 60m
go test ./internal/conformance -run TestDocument -rewrite
`+"```\n"+`
A row counts only if its subtest ran and was not skipped. The third command shows, for each row, that its subtest goes red when the
code is changed so that the row is not true any more. Where the compiler alone sees to a row there is no such change, and its
subtest looks at the types.
`, n[match]+n[other]+n[better]+n[own], n[match], n[other], n[better], n[own], n[later], n[skip])
	for _, s := range sections() {
		fmt.Fprintf(&b, "\n## %s\n\n| ID | Kafka's test | verdict | this table |\n|---|---|---|---|\n", s.Title)
		for _, r := range s.Rows {
			kafka := r.Kafka
			if kafka == "" {
				kafka = "none"
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.ID, kafka, r.Verdict, r.Ours)
		}
	}
	return b.String()
}
