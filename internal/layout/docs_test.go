package layout

import (
	"go/ast"
	"path"
	"regexp"
	"slices"
	"strings"
)

var (
	testName = regexp.MustCompile(`\b(?:Test|Fuzz|Benchmark)[A-Z]\w*\b`)
	link     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
)

// checkDocs finds tests that the documents, or the comments of the packages,
// name and that do not exist, and links to files that do not.
func checkDocs(tr *tree) []finding {
	have := map[string]bool{"TestMain": true}
	for _, f := range tr.files {
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && f.test && fn.Recv == nil {
				have[fn.Name.Name] = true
			}
		}
	}
	var out []finding
	tests := func(at, text string) {
		named := testName.FindAllString(text, -1)
		slices.Sort(named)
		for _, name := range slices.Compact(named) {
			if !have[name] {
				out = append(out, finding{"docs", at, "names the test " + name + ", which does not exist"})
			}
		}
	}
	for p, text := range tr.docs {
		tests(p, text)
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target, _, _ := strings.Cut(m[1], "#")
			if target == "" || strings.Contains(target, ":") {
				continue // within the page, or elsewhere
			}
			if to := path.Join(path.Dir(p), target); !tr.paths[to] {
				out = append(out, finding{"docs", p, "links to " + target + ", which does not exist"})
			}
		}
	}
	for _, f := range tr.files {
		if f.ast.Doc != nil {
			tests(f.path, prose(f.ast.Doc.Text()))
		}
	}
	return out
}

// prose returns a comment without its code, whose lines begin with a tab.
func prose(comment string) string {
	var out strings.Builder
	for line := range strings.Lines(comment) {
		if !strings.HasPrefix(line, "\t") {
			out.WriteString(line)
		}
	}
	return out.String()
}
