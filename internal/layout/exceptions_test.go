package layout

import "strings"

// An exception is a finding that is right as it is.
type exception struct {
	rule string
	file string
	what string // part of the finding
	why  string
}

var exceptions = []exception{
	{"variables", "internal/kafkatest/each.go", "variable shared ", "the tests of one test binary share a real broker, and the binary is all that they have in common"},
}

// except leaves out the findings that are exceptions, and adds one for each
// exception that nothing needs any more.
func except(found []finding, exceptions []exception) []finding {
	var out []finding
	used := make([]bool, len(exceptions))
next:
	for _, f := range found {
		for i, e := range exceptions {
			if e.rule == f.rule && (f.at == e.file || strings.HasPrefix(f.at, e.file+":")) && strings.Contains(f.what, e.what) {
				used[i] = true
				continue next
			}
		}
		out = append(out, f)
	}
	for i, e := range exceptions {
		switch {
		case !used[i]:
			out = append(out, finding{e.rule, e.file, "has an exception which nothing needs: " + e.what})
		case e.why == "":
			out = append(out, finding{e.rule, e.file, "has an exception without a reason"})
		}
	}
	return out
}
