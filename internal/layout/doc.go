// Package layout has no code. Its tests hold the repository to the rules of
// docs/package-layout.md: which package may import what, which dependencies
// there are, and a few habits that no linter knows.
package layout
