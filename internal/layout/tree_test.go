package layout

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// A tree is a repository: its modules, its Go files, and its documents.
type tree struct {
	fset    *token.FileSet
	modules []module
	files   []*file
	docs    map[string]string // Markdown files, by path
	paths   map[string]bool   // all files and directories
	work    []string          // the directories that go.work uses
}

// A module is a directory with a go.mod.
type module struct {
	dir    string // "." for the one at the root
	path   string
	direct []string // modules it requires directly
}

// A file is a Go file.
type file struct {
	path  string
	dir   string
	test  bool
	lines int
	ast   *ast.File
	src   []byte
}

// A finding is one violation of one rule.
type finding struct {
	rule string
	at   string // file or document, with a line where there is one
	what string
}

func (f finding) String() string { return fmt.Sprintf("%s: %s [%s]", f.at, f.what, f.rule) }

// scan reads the repository in fsys. Directories which the go command does not
// look into are left out.
func scan(fsys fs.FS) (*tree, error) {
	tr := &tree{fset: token.NewFileSet(), docs: map[string]string{}, paths: map[string]bool{}}
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // gone since its directory was listed
			}
			return err
		}
		tr.paths[p] = true
		if d.IsDir() {
			if p != "." && (strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_") || d.Name() == "testdata") {
				return fs.SkipDir
			}
			return nil
		}
		switch {
		case d.Name() == "go.mod", p == "go.work", strings.HasSuffix(p, ".go"), strings.HasSuffix(p, ".md"):
		default:
			return nil
		}
		src, err := fs.ReadFile(fsys, p)
		if err != nil {
			return err
		}
		return tr.add(p, src)
	})
	if err != nil {
		return nil, err
	}
	if len(tr.modules) == 0 || tr.modules[0].dir != "." {
		return nil, errors.New("no go.mod at the root")
	}
	return tr, nil
}

func (tr *tree) add(p string, src []byte) error {
	switch {
	case path.Base(p) == "go.mod":
		m := module{dir: path.Dir(p)}
		for verb, args := range directives(src) {
			switch verb {
			case "module":
				m.path = args
			case "require":
				if mod, _, _ := strings.Cut(args, " "); !strings.Contains(args, "// indirect") {
					m.direct = append(m.direct, mod)
				}
			}
		}
		tr.modules = append(tr.modules, m)
		slices.SortFunc(tr.modules, func(a, b module) int { return strings.Compare(a.dir, b.dir) })
	case p == "go.work":
		for verb, args := range directives(src) {
			if verb == "use" {
				tr.work = append(tr.work, path.Clean(args))
			}
		}
	case strings.HasSuffix(p, ".md"):
		tr.docs[p] = string(src)
	default:
		f, err := parser.ParseFile(tr.fset, p, src, parser.ParseComments)
		if err != nil {
			return err
		}
		tr.files = append(tr.files, &file{
			path: p, dir: path.Dir(p), test: strings.HasSuffix(p, "_test.go"),
			lines: bytes.Count(src, []byte("\n")), ast: f, src: src,
		})
	}
	return nil
}

// directives yields the verbs and arguments of a go.mod or go.work, with the
// lines of a block each under the block's verb.
func directives(src []byte) func(yield func(verb, args string) bool) {
	return func(yield func(verb, args string) bool) {
		block := ""
		for line := range strings.Lines(string(src)) {
			line = strings.TrimSpace(line)
			verb, args, _ := strings.Cut(line, " ")
			switch {
			case line == "" || strings.HasPrefix(line, "//"):
				continue
			case line == ")":
				block = ""
				continue
			case args == "(":
				block = verb
				continue
			case block != "":
				verb, args = block, line
			}
			if !yield(verb, strings.Trim(args, `"`)) {
				return
			}
		}
	}
}

// packages returns the directories with Go files, in order.
func (tr *tree) packages() []string {
	var dirs []string
	for _, f := range tr.files {
		dirs = append(dirs, f.dir)
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// local returns the directory of an imported package of this repository.
func (tr *tree) local(importPath string) (dir string, ok bool) {
	root := tr.modules[0].path
	if importPath == root {
		return ".", true
	}
	return strings.CutPrefix(importPath, root+"/")
}

// at says where a node is.
func (tr *tree) at(n ast.Node) string {
	p := tr.fset.Position(n.Pos())
	return p.Filename + ":" + strconv.Itoa(p.Line)
}

// isStd tells whether an import path is of the standard library, whose first
// element has no dot.
func isStd(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return !strings.Contains(first, ".")
}
