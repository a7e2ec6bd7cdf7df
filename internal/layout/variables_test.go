package layout

import (
	"go/ast"
	"go/token"
	"strings"
)

// checkVariables finds package variables of libraries that change after they
// were set: those with no value, those whose value is there to be changed (a
// pointer to something new, a channel), and those that a function assigns to.
func checkVariables(tr *tree) []finding {
	type variable struct {
		spec *ast.ValueSpec
		name *ast.Ident
	}
	vars := map[string]map[string]variable{} // by directory and name
	var out []finding
	report := func(v variable, what string) {
		out = append(out, finding{"variables", tr.at(v.name), "package variable " + v.name.Name + " " + what})
	}
	for _, f := range tr.files {
		if !f.library() {
			continue
		}
		for _, d := range f.ast.Decls {
			gen, ok := d.(*ast.GenDecl)
			if !ok || gen.Tok != token.VAR {
				continue
			}
			for _, s := range gen.Specs {
				spec := s.(*ast.ValueSpec)
				for i, name := range spec.Names {
					if name.Name == "_" {
						continue
					}
					v := variable{spec, name}
					if vars[f.dir] == nil {
						vars[f.dir] = map[string]variable{}
					}
					vars[f.dir][name.Name] = v
					switch {
					case embedded(gen, spec):
					case len(spec.Values) == 0:
						report(v, "has no value, so something must change it")
					case len(spec.Values) == len(spec.Names) && made(spec.Values[i]):
						report(v, "holds what is there to be changed")
					}
				}
			}
		}
	}
	for _, f := range tr.files {
		if f.test || vars[f.dir] == nil {
			continue
		}
		// changed finds the variable under x, x.f, x[i], *x and so on.
		changed := func(e ast.Expr) {
			for {
				switch n := e.(type) {
				case *ast.SelectorExpr:
					e = n.X
				case *ast.IndexExpr:
					e = n.X
				case *ast.SliceExpr:
					e = n.X
				case *ast.StarExpr:
					e = n.X
				case *ast.ParenExpr:
					e = n.X
				case *ast.Ident:
					v, ok := vars[f.dir][n.Name]
					// An identifier that this file declares otherwise is another one.
					if ok && (n.Obj == nil || n.Obj.Decl == v.spec) {
						out = append(out, finding{"variables", tr.at(n), "package variable " + n.Name + " is changed"})
					}
					return
				default:
					return
				}
			}
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt:
				for _, lhs := range n.Lhs {
					changed(lhs)
				}
			case *ast.IncDecStmt:
				changed(n.X)
			case *ast.UnaryExpr:
				if n.Op == token.AND {
					changed(n.X)
				}
			case *ast.RangeStmt:
				if n.Tok == token.ASSIGN {
					changed(n.Key)
					changed(n.Value)
				}
			case *ast.CallExpr:
				if id, ok := n.Fun.(*ast.Ident); ok && id.Obj == nil && (id.Name == "delete" || id.Name == "clear" || id.Name == "copy") && len(n.Args) > 0 {
					changed(n.Args[0])
				}
			}
			return true
		})
	}
	return out
}

// embedded tells whether a //go:embed directive sets the variable.
func embedded(gen *ast.GenDecl, spec *ast.ValueSpec) bool {
	for _, doc := range []*ast.CommentGroup{gen.Doc, spec.Doc} {
		if doc == nil {
			continue
		}
		for _, c := range doc.List {
			if strings.HasPrefix(c.Text, "//go:embed ") {
				return true
			}
		}
	}
	return false
}

// made tells whether a value is new memory that only makes sense if it changes.
func made(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.UnaryExpr:
		_, lit := e.X.(*ast.CompositeLit)
		return e.Op == token.AND && lit
	case *ast.CallExpr:
		id, ok := e.Fun.(*ast.Ident)
		return ok && (id.Name == "make" || id.Name == "new")
	}
	return false
}
