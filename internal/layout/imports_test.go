package layout

import (
	"fmt"
	"slices"
	"strconv"
)

// checkPackages compares the packages with the rows of the table, and the
// modules with go.work.
func checkPackages(tr *tree, r *rules) []finding {
	const doc = "docs/package-layout.md"
	var out []finding
	have := tr.packages()
	for _, dir := range have {
		if _, ok := r.rooms[dir]; !ok {
			out = append(out, finding{"packages", dir, "has no row in the table of packages in " + doc})
		}
	}
	for dir, rm := range r.rooms {
		if !rm.planned && !slices.Contains(have, dir) {
			out = append(out, finding{"packages", doc, dir + " has a row and is no package"})
		}
	}
	var dirs []string
	for _, m := range tr.modules {
		dirs = append(dirs, m.dir)
		if !slices.Contains(tr.work, m.dir) {
			out = append(out, finding{"packages", "go.work", "does not use module " + m.dir + ", so that no command from the root reaches it"})
		}
	}
	for _, dir := range tr.work {
		if !slices.Contains(dirs, dir) {
			out = append(out, finding{"packages", "go.work", "uses " + dir + ", which is no module"})
		}
	}
	return out
}

// checkImports compares each import with the row of its package.
func checkImports(tr *tree, r *rules) []finding {
	var out []finding
	for _, f := range tr.files {
		rm, ok := r.rooms[f.dir]
		if !ok {
			continue // checkPackages tells
		}
		for _, spec := range f.ast.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil || isStd(path) {
				continue
			}
			name, ok := tr.local(path)
			if !ok {
				if name, ok = r.dependency(path); !ok {
					out = append(out, finding{"imports", tr.at(spec), path + " is of no dependency in the table"})
					continue
				}
			}
			switch {
			case slices.Contains(rm.source, name):
			case f.test && (name == f.dir || slices.Contains(rm.tests, name)):
			case f.test:
				out = append(out, finding{"imports", tr.at(spec), fmt.Sprintf("tests of %s may not import %s (%s)", f.dir, path, name)})
			default:
				out = append(out, finding{"imports", tr.at(spec), fmt.Sprintf("%s may not import %s (%s)", f.dir, path, name)})
			}
		}
	}
	return out
}

// checkRequires compares what each go.mod requires with the table.
func checkRequires(tr *tree, r *rules) []finding {
	var out []finding
	for _, m := range tr.modules {
		for _, path := range m.direct {
			if _, ok := tr.local(path); ok {
				continue
			}
			if _, ok := r.dependency(path); !ok {
				out = append(out, finding{"dependencies", m.dir + "/go.mod", "requires " + path + ", which is not in the table"})
			}
		}
	}
	return out
}
