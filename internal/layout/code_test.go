package layout

import (
	"fmt"
	"go/ast"
	"regexp"
	"strings"
)

const maxLines = 700

// checkLengths finds source files that are too long.
func checkLengths(tr *tree) []finding {
	var out []finding
	for _, f := range tr.files {
		if !f.test && f.lines > maxLines {
			out = append(out, finding{"length", f.path, fmt.Sprintf("has %d lines, more than %d", f.lines, maxLines)})
		}
	}
	return out
}

// library tells whether others call this file's code.
func (f *file) library() bool { return !f.test && f.ast.Name.Name != "main" }

// checkManners finds what a library must leave to its user: output, the global
// logger, the end of the process, panics.
func checkManners(tr *tree) []finding {
	var out []finding
	for _, f := range tr.files {
		if !f.library() {
			continue
		}
		for _, spec := range f.ast.Imports {
			if spec.Path.Value == `"log"` {
				out = append(out, finding{"manners", tr.at(spec), "a library does not log through the global logger"})
			}
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			what := ""
			switch name := f.callee(call); name {
			case "os.Exit", "runtime.Goexit", "syscall.Exit":
				what = "ends the process"
			case "panic":
				what = "panics"
			case "print", "println", "fmt.Print", "fmt.Printf", "fmt.Println":
				what = "prints"
			case "log/slog.Debug", "log/slog.Info", "log/slog.Warn", "log/slog.Error", "log/slog.Default", "log/slog.SetDefault":
				what = "logs through the global logger"
			}
			if what != "" {
				out = append(out, finding{"manners", tr.at(call), fmt.Sprintf("a library never %s: %s", what, f.callee(call))})
			}
			return true
		})
	}
	return out
}

// callee names a called function: "panic" for one of the language or of this
// package, "os.Exit" for another package's, by import path; "" for what else can
// be called.
func (f *file) callee(call *ast.CallExpr) string {
	switch fn := call.Fun.(type) {
	case *ast.Ident:
		if fn.Obj != nil {
			return "" // declared in this file
		}
		return fn.Name
	case *ast.SelectorExpr:
		x, ok := fn.X.(*ast.Ident)
		if !ok || x.Obj != nil {
			return ""
		}
		for _, spec := range f.ast.Imports {
			path := strings.Trim(spec.Path.Value, `"`)
			name := path[strings.LastIndexByte(path, '/')+1:]
			if spec.Name != nil {
				name = spec.Name.Name
			}
			if name == x.Name {
				return path + "." + fn.Sel.Name
			}
		}
	}
	return ""
}

// checkSleeps finds sleeps outside of virtual time. A call is in virtual time
// inside the arguments of synctest.Test, or of a function of the same directory
// whose body calls synctest.Test.
func checkSleeps(tr *tree) []finding {
	bubbles := map[string]bool{}
	for _, f := range tr.files {
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil || fn.Recv != nil || !f.test {
				continue
			}
			ast.Inspect(fn.Body, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok && f.callee(call) == "testing/synctest.Test" {
					bubbles[f.dir+" "+fn.Name.Name] = true
				}
				return true
			})
		}
	}
	var out []finding
	for _, f := range tr.files {
		virtual := func(call *ast.CallExpr) bool {
			if f.callee(call) == "testing/synctest.Test" {
				return true
			}
			id, ok := call.Fun.(*ast.Ident)
			return ok && bubbles[f.dir+" "+id.Name]
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if f.callee(call) == "time.Sleep" {
				out = append(out, finding{"sleep", tr.at(call), "waits by sleeping; wait for what is to happen, or use testing/synctest"})
			}
			return !virtual(call)
		})
	}
	return out
}

// checkSkips finds tests that skip without a reason.
func checkSkips(tr *tree) []finding {
	var out []finding
	for _, f := range tr.files {
		ast.Inspect(f.ast, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) > 0 {
				return true
			}
			if fn, ok := call.Fun.(*ast.SelectorExpr); ok && (fn.Sel.Name == "Skip" || fn.Sel.Name == "SkipNow") {
				if x, ok := fn.X.(*ast.Ident); ok && (x.Name == "t" || x.Name == "b" || x.Name == "f" || x.Name == "tb") {
					out = append(out, finding{"skip", tr.at(call), "skips without a reason"})
				}
			}
			return true
		})
	}
	return out
}

var leftover = regexp.MustCompile(`\b(TODO|FIXME|XXX|HACK)\b`)

// checkLeftovers finds notes of what is still to be done.
func checkLeftovers(tr *tree) []finding {
	var out []finding
	for _, f := range tr.files {
		for _, group := range f.ast.Comments {
			for _, c := range group.List {
				if m := leftover.FindString(c.Text); m != "" {
					out = append(out, finding{"leftovers", tr.at(c), m + ": do it, or say it in docs"})
				}
			}
		}
	}
	return out
}
