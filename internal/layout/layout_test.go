package layout

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// check runs all rules.
func check(tr *tree, r *rules) []finding {
	var out []finding
	out = append(out, checkPackages(tr, r)...)
	out = append(out, checkImports(tr, r)...)
	out = append(out, checkRequires(tr, r)...)
	out = append(out, checkLengths(tr)...)
	out = append(out, checkManners(tr)...)
	out = append(out, checkVariables(tr)...)
	out = append(out, checkSleeps(tr)...)
	out = append(out, checkSkips(tr)...)
	out = append(out, checkLeftovers(tr)...)
	out = append(out, checkDocs(tr)...)
	slices.SortFunc(out, func(a, b finding) int { return strings.Compare(a.String(), b.String()) })
	return out
}

// root returns the directory of go.work.
func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	require.NoError(t, err)
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		require.NotEqual(t, up, dir, "no go.work above the test")
		dir = up
	}
}

func TestRepositoryKeepsItsRules(t *testing.T) {
	tr, err := scan(os.DirFS(root(t)))
	require.NoError(t, err)
	r, err := readRules(tr.docs["docs/package-layout.md"])
	require.NoError(t, err)
	for _, f := range except(check(tr, r), exceptions) {
		t.Error(f)
	}
}
