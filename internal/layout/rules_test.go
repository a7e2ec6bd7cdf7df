package layout

import (
	"maps"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// sound is a small repository that keeps all rules.
var sound = map[string]string{
	"go.work": "go 1.26\n\nuse (\n\t.\n\t./examples\n)\n",
	"go.mod": `module example.org/m

go 1.26

require example.org/kv/v2 v2.0.1

require (
	example.org/check v1.0.0
	example.org/other v1.0.0 // indirect
)
`,
	"examples/go.mod": "module example.org/m/examples\n\nrequire example.org/m v0.0.0\n\nreplace example.org/m => ../\n",
	"docs/package-layout.md": `# Layout

| Package | What it is for | May import | Its tests also |
|---|---|---|---|
| ` + "`store` | Keeps | `kv` | `check` |" + `
| ` + "`table` | Reads | `store` | `check` |" + `
| ` + "`later` | (planned) | `table` | |" + `
| ` + "`examples/one` | Shows | `table` | |" + `

Between the tables.

| Name | Path | Why |
|---|---|---|
| ` + "`kv` | `example.org/kv/v2` | Keeps keys |" + `
| ` + "`kvtest` | `example.org/kv/v2/test` | Its test kit |" + `
| ` + "`check` | `example.org/check` | Assertions |" + `

TestGet proves it, see [the table](../table/table.go#L1) and [Go](https://go.dev).
`,
	"store/store.go":       "// Package store keeps. (TestGet)\n//\n//\tfunc TestOfAnExample\npackage store\n\nimport (\n\t\"errors\"\n\n\t\"example.org/kv/v2/sub\"\n)\n\nvar ErrGone = errors.New(\"gone\")\n\nvar names = [...]string{\"a\"}\n\nvar _ = sub.X\n",
	"table/table.go":       "package table\n\nimport \"example.org/m/store\"\n\nfunc Get() error { return store.ErrGone }\n",
	"table/table_test.go":  "package table_test\n\nimport (\n\t\"testing\"\n\n\t\"example.org/check\"\n\t\"example.org/m/table\"\n)\n\nfunc TestGet(t *testing.T) { check.That(t, table.Get() != nil) }\n",
	"examples/one/main.go": "package main\n\nimport (\n\t\"fmt\"\n\t\"os\"\n\n\t\"example.org/m/table\"\n)\n\nfunc main() {\n\tfmt.Println(table.Get())\n\tos.Exit(1)\n}\n",
	"store/testdata/x.go":  "this is no Go",
}

// checked returns the findings in the sound repository with some files changed;
// an empty text removes the file.
func checked(t *testing.T, changes map[string]string) []string {
	t.Helper()
	all := maps.Clone(sound)
	maps.Copy(all, changes)
	fsys := fstest.MapFS{}
	for p, text := range all {
		if text != "" {
			fsys[p] = &fstest.MapFile{Data: []byte(text)}
		}
	}
	tr, err := scan(fsys)
	require.NoError(t, err)
	r, err := readRules(tr.docs["docs/package-layout.md"])
	require.NoError(t, err)
	var out []string
	for _, f := range check(tr, r) {
		out = append(out, f.String())
	}
	return out
}

func TestSoundRepositoryHasNoFindings(t *testing.T) {
	require.Empty(t, checked(t, nil))
}

// in returns a change that adds source to package store, or to its tests.
func in(source string) map[string]string {
	return map[string]string{"store/more.go": "package store\n\n" + source}
}

func inTests(source string) map[string]string {
	return map[string]string{"store/more_test.go": "package store\n\n" + source}
}

func inDoc(old, now string) map[string]string {
	text := sound["docs/package-layout.md"]
	if !strings.Contains(text, old) {
		panic("not in the document: " + old)
	}
	return map[string]string{"docs/package-layout.md": strings.Replace(text, old, now, 1)}
}

func TestEachRuleCanFail(t *testing.T) {
	for name, c := range map[string]struct {
		change map[string]string
		want   string // the one finding; none if empty
	}{
		// Packages and modules.
		"a package without a row": {map[string]string{"new/new.go": "package new\n"}, "new: has no row in the table of packages in docs/package-layout.md [packages]"},
		"a row without a package": {inDoc("| (planned) |", "| Comes later |"), "docs/package-layout.md: later has a row and is no package [packages]"},
		"a planned package":       {map[string]string{"later/x.go": "package later\n"}, ""},
		"a module outside go.work": {
			map[string]string{"bench/go.mod": "module example.org/m/bench\n"},
			"go.work: does not use module bench, so that no command from the root reaches it [packages]",
		},
		"go.work uses what is no module": {map[string]string{"go.work": "use .\nuse ./examples\nuse ./gone\n"}, "go.work: uses gone, which is no module [packages]"},

		// Imports.
		"a package imports one above it": {in(`import _ "example.org/m/table"`), "store/more.go:3: store may not import example.org/m/table (table) [imports]"},
		"a test does":                    {inTests(`import _ "example.org/m/table"`), "store/more_test.go:3: tests of store may not import example.org/m/table (table) [imports]"},
		"source imports what tests may":  {in(`import _ "example.org/check"`), "store/more.go:3: store may not import example.org/check (check) [imports]"},
		"the package of a longer path":   {in(`import _ "example.org/kv/v2/test/x"`), "store/more.go:3: store may not import example.org/kv/v2/test/x (kvtest) [imports]"},
		"a path that only begins alike":  {in(`import _ "example.org/kv/v2x"`), "store/more.go:3: example.org/kv/v2x is of no dependency in the table [imports]"},
		"a dependency without a row":     {in(`import _ "example.org/other"`), "store/more.go:3: example.org/other is of no dependency in the table [imports]"},
		"another module's package": {
			map[string]string{"examples/one/more.go": "package main\n\nimport _ \"example.org/m/store\"\n"},
			"examples/one/more.go:3: examples/one may not import example.org/m/store (store) [imports]",
		},
		"a file for another system": {
			map[string]string{"store/more_windows.go": "//go:build windows\n\npackage store\n\nimport _ \"example.org/m/table\"\n"},
			"store/more_windows.go:5: store may not import example.org/m/table (table) [imports]",
		},
		"a requirement without a row": {
			map[string]string{"go.mod": sound["go.mod"] + "\nrequire example.org/new v1.0.0\n"},
			"./go.mod: requires example.org/new, which is not in the table [dependencies]",
		},
		"one in a block": {
			map[string]string{"examples/go.mod": "module example.org/m/examples\n\nrequire (\n\texample.org/m v0.0.0\n\texample.org/new v1.0.0\n)\n"},
			"examples/go.mod: requires example.org/new, which is not in the table [dependencies]",
		},

		// Length.
		"700 lines":        {in(strings.Repeat("\n", 698)), ""},
		"701 lines":        {in(strings.Repeat("\n", 699)), "store/more.go: has 701 lines, more than 700 [length]"},
		"a test may":       {inTests(strings.Repeat("\n", 699)), ""},
		"exit":             {in("import \"os\"\n\nfunc f() { os.Exit(1) }\n"), "store/more.go:5: a library never ends the process: os.Exit [manners]"},
		"exit, renamed":    {in("import other \"os\"\n\nfunc f() { other.Exit(1) }\n"), "store/more.go:5: a library never ends the process: os.Exit [manners]"},
		"panic":            {in("func f() { panic(1) }\n"), "store/more.go:3: a library never panics: panic [manners]"},
		"its own function": {in("func f(panic func(int)) { panic(1) }\n"), ""},
		"print":            {in("import \"fmt\"\n\nfunc f() { fmt.Println(1) }\n"), "store/more.go:5: a library never prints: fmt.Println [manners]"},
		"a log line":       {in("import _ \"log\"\n"), "store/more.go:3: a library does not log through the global logger [manners]"},
		"a global logger":  {in("import \"log/slog\"\n\nfunc f() { slog.Info(\"x\") }\n"), "store/more.go:5: a library never logs through the global logger: log/slog.Info [manners]"},
		"a logger":         {in("import \"log/slog\"\n\nfunc f(slog *slog.Logger) { slog.Info(\"x\") }\n"), ""},
		"a test's exit":    {inTests("import \"os\"\n\nfunc f() { os.Exit(1) }\n"), ""},

		// Variables.
		"without a value":      {in("var n int\n"), "store/more.go:3: package variable n has no value, so something must change it [variables]"},
		"embedded":             {in("import _ \"embed\"\n\n//go:embed x\nvar text string\n"), ""},
		"new":                  {in("var n = new(int)\n"), "store/more.go:3: package variable n holds what is there to be changed [variables]"},
		"an address":           {in("var n = &struct{ x int }{}\n"), "store/more.go:3: package variable n holds what is there to be changed [variables]"},
		"a channel":            {in("var c = make(chan int)\n"), "store/more.go:3: package variable c holds what is there to be changed [variables]"},
		"assigned":             {in("func f() { names = [...]string{\"b\"} }\n"), "store/more.go:3: package variable names is changed [variables]"},
		"assigned in part":     {in("func f() { (names)[0] = \"b\" }\n"), "store/more.go:3: package variable names is changed [variables]"},
		"counted":              {in("var n = 1\n\nfunc f() { n++ }\n"), "store/more.go:5: package variable n is changed [variables]"},
		"its address given":    {in("var n = 1\n\nfunc f() *int { return &n }\n"), "store/more.go:5: package variable n is changed [variables]"},
		"deleted from":         {in("var m = map[int]int{1: 1}\n\nfunc f() { delete(m, 1) }\n"), "store/more.go:5: package variable m is changed [variables]"},
		"set by a loop":        {in("var n = 1\n\nfunc f() { for n = range 3 {} }\n"), "store/more.go:5: package variable n is changed [variables]"},
		"a local one":          {in("func f() { names := 1; names++; _ = names }\n"), ""},
		"a parameter":          {in("func f(names []string) { names[0] = \"b\" }\n"), ""},
		"a test's":             {inTests("var n int\n\nfunc f() { n++ }\n"), ""},
		"another package's":    {map[string]string{"table/more.go": "package table\n\nfunc f(names map[int]int) { names[1]++ }\n"}, ""},
		"a program's variable": {map[string]string{"examples/one/more.go": "package main\n\nvar n int\n"}, ""},

		// Tests.
		"sleep in a test":     {inTests("import \"time\"\n\nfunc f() { time.Sleep(1) }\n"), "store/more_test.go:5: waits by sleeping; wait for what is to happen, or use testing/synctest [sleep]"},
		"sleep in the source": {in("import \"time\"\n\nfunc f() { time.Sleep(1) }\n"), "store/more.go:5: waits by sleeping; wait for what is to happen, or use testing/synctest [sleep]"},
		"sleep in virtual time": {
			inTests("import (\n\t\"testing/synctest\"\n\t\"time\"\n)\n\nfunc f() { synctest.Test(nil, func() { time.Sleep(1) }) }\n"), "",
		},
		"through a function of ours": {
			inTests("import (\n\t\"testing/synctest\"\n\t\"time\"\n)\n\nfunc bubble(f func()) { synctest.Test(nil, f) }\n\nfunc f() { bubble(func() { time.Sleep(1) }) }\n"), "",
		},
		"beside virtual time": {
			inTests("import (\n\t\"testing/synctest\"\n\t\"time\"\n)\n\nfunc f() {\n\tsynctest.Test(nil, nil)\n\ttime.Sleep(1)\n}\n"),
			"store/more_test.go:10: waits by sleeping; wait for what is to happen, or use testing/synctest [sleep]",
		},
		"skip without a reason": {inTests("import \"testing\"\n\nfunc f(t *testing.T) { t.Skip() }\n"), "store/more_test.go:5: skips without a reason [skip]"},
		"SkipNow":               {inTests("import \"testing\"\n\nfunc f(b *testing.B) { b.SkipNow() }\n"), "store/more_test.go:5: skips without a reason [skip]"},
		"skip with a reason":    {inTests("import \"testing\"\n\nfunc f(t *testing.T) { t.Skip(\"no disk\") }\n"), ""},
		"something left to do":  {in("// " + "TO" + "DO: more\n"), "store/more.go:3: " + "TO" + "DO: do it, or say it in docs [leftovers]"},

		// Documents.
		"a test that is gone":      {inDoc("TestGet proves", "TestPut proves"), "docs/package-layout.md: names the test TestPut, which does not exist [docs]"},
		"one in a package comment": {map[string]string{"store/store.go": strings.Replace(sound["store/store.go"], "TestGet", "FuzzGet", 1)}, "store/store.go: names the test FuzzGet, which does not exist [docs]"},
		"a dead link":              {inDoc("../table/table.go#L1", "table.go"), "docs/package-layout.md: links to table.go, which does not exist [docs]"},
		"the start of a page":      {map[string]string{"README.md": "[up](#top) [x](docs/package-layout.md) [dir](store/)\n"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var want []string
			if c.want != "" {
				want = []string{c.want}
			}
			require.Equal(t, want, checked(t, c.change))
		})
	}
}

func TestTablesThatCannotBeRules(t *testing.T) {
	doc := sound["docs/package-layout.md"]
	for name, c := range map[string]struct{ old, now, want string }{
		"no packages":        {packagesHead, "| Package |", `no table "| Package |`},
		"no dependencies":    {dependenciesHead, "| Name |", `no table "| Name |`},
		"two tables":         {"Between the tables.", "\n" + packagesHead + "\n", "two tables"},
		"cells missing":      {"| `store` | Keeps | `kv` | `check` |", "| `store` | Keeps | `kv` |", "3 cells instead of 4"},
		"no name":            {"| `store` |", "| store |", "want one name in backquotes: store"},
		"a package twice":    {"| `table` | Reads |", "| `store` | Reads |", "package store has two rows"},
		"no purpose":         {"| `store` | Keeps |", "| `store` | |", "package store: what is it for?"},
		"a dependency twice": {"| `kvtest` |", "| `kv` |", "dependency kv has two rows"},
		"no reason":          {"| Keeps keys |", "| |", "dependency kv: why?"},
		"an unknown name":    {"| Keeps | `kv` |", "| Keeps | `leveldb` |", `package store: "leveldb" must be the name of one package or of one dependency`},
		"a name for two":     {"| `check` | `example.org/check` |", "| `table` | `example.org/check` |", "must be the name of one package or of one dependency"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, doc, c.old)
			_, err := readRules(strings.ReplaceAll(doc, c.old, c.now))
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestScanRefuses(t *testing.T) {
	_, err := scan(fstest.MapFS{"a/go.mod": &fstest.MapFile{Data: []byte("module a\n")}})
	require.EqualError(t, err, "no go.mod at the root")
	_, err = scan(fstest.MapFS{"a.go": &fstest.MapFile{Data: []byte("no Go")}})
	require.ErrorContains(t, err, "a.go:1")
}

func TestExceptions(t *testing.T) {
	found := []finding{{"sleep", "a/x.go:7", "waits by sleeping"}, {"length", "a/x.go", "has 800 lines"}}
	waits := exception{"sleep", "a/x.go", "waits", "the other side cannot be asked"}
	require.Equal(t, found, except(found, nil))
	require.Equal(t, found[1:], except(found, []exception{waits}))
	require.Equal(t, found, except(found, []exception{{"sleep", "a/x.g", "waits", "another file"}})[:2])

	unused := except(found[1:], []exception{waits})
	require.Len(t, unused, 2, "an exception that nothing needs is a finding")
	require.Contains(t, unused[1].what, "nothing needs")

	waits.why = ""
	require.Contains(t, except(found[:1], []exception{waits})[0].what, "without a reason")
}
