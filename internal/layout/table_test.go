package layout

import (
	"fmt"
	"regexp"
	"strings"
)

// rules are the two tables of docs/package-layout.md.
type rules struct {
	rooms map[string]room
	deps  map[string]dep // by name
}

// A room is a package with what it may import: directories of this repository
// and names of dependencies.
type room struct {
	source  []string
	tests   []string // in addition
	planned bool
}

// A dep is a dependency.
type dep struct {
	path string
	why  string
}

const (
	packagesHead     = "| Package | What it is for | May import | Its tests also |"
	dependenciesHead = "| Name | Path | Why |"
)

var ticked = regexp.MustCompile("`([^`]+)`")

// readRules reads the tables out of the document.
func readRules(doc string) (*rules, error) {
	r := &rules{rooms: map[string]room{}, deps: map[string]dep{}}
	rows, err := readTable(doc, packagesHead)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		name, err := one(row[0])
		if err != nil {
			return nil, err
		}
		if _, twice := r.rooms[name]; twice {
			return nil, fmt.Errorf("package %s has two rows", name)
		}
		if row[1] == "" {
			return nil, fmt.Errorf("package %s: what is it for?", name)
		}
		r.rooms[name] = room{source: names(row[2]), tests: names(row[3]), planned: strings.Contains(row[1], "(planned)")}
	}
	rows, err = readTable(doc, dependenciesHead)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		name, err := one(row[0])
		if err != nil {
			return nil, err
		}
		path, err := one(row[1])
		if err != nil {
			return nil, err
		}
		if _, twice := r.deps[name]; twice {
			return nil, fmt.Errorf("dependency %s has two rows", name)
		}
		if row[2] == "" {
			return nil, fmt.Errorf("dependency %s: why?", name)
		}
		r.deps[name] = dep{path: path, why: row[2]}
	}
	for pkg, rm := range r.rooms {
		for _, name := range append(append([]string(nil), rm.source...), rm.tests...) {
			_, isRoom := r.rooms[name]
			_, isDep := r.deps[name]
			if isRoom == isDep { // in neither table, or in both
				return nil, fmt.Errorf("package %s: %q must be the name of one package or of one dependency", pkg, name)
			}
		}
	}
	return r, nil
}

// readTable returns the cells of the Markdown table with this head.
func readTable(doc, head string) ([][]string, error) {
	columns := strings.Count(head, "|") - 1
	var rows [][]string
	in := false
	for line := range strings.Lines(doc) {
		line = strings.TrimSpace(line)
		switch {
		case line == head:
			if in || rows != nil {
				return nil, fmt.Errorf("two tables %q", head)
			}
			in = true
		case !in || strings.HasPrefix(line, "|--"):
		case !strings.HasPrefix(line, "|"):
			in = false
		default:
			cells := strings.Split(strings.TrimSuffix(strings.TrimPrefix(line, "|"), "|"), "|")
			if len(cells) != columns {
				return nil, fmt.Errorf("%d cells instead of %d: %s", len(cells), columns, line)
			}
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			rows = append(rows, cells)
		}
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("no table %q", head)
	}
	return rows, nil
}

// names returns the words of a cell that stand in backquotes.
func names(cell string) []string {
	var out []string
	for _, m := range ticked.FindAllStringSubmatch(cell, -1) {
		out = append(out, m[1])
	}
	return out
}

func one(cell string) (string, error) {
	if n := names(cell); len(n) == 1 {
		return n[0], nil
	}
	return "", fmt.Errorf("want one name in backquotes: %s", cell)
}

// dependency returns the name of the dependency that a package belongs to: the
// one with the longest path.
func (r *rules) dependency(importPath string) (name string, ok bool) {
	longest := -1
	for n, d := range r.deps {
		if (importPath == d.path || strings.HasPrefix(importPath, d.path+"/")) && len(d.path) > longest {
			name, longest = n, len(d.path)
		}
	}
	return name, longest >= 0
}
