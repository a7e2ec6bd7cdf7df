// Package scenario plays histories in which replicas of a topic are known to go
// wrong, against a table. Each is a file in testdata: what happens to the topic
// and to the table, and what the table has to answer, with the reason it gives.
//
// It has no code of its own besides its tests:
//
//	go test ./internal/scenario -run Scenario -v
//
// A file's first line is what it shows, in one sentence. A second line
// "# only kfake" or "# only kafka" keeps it from the other broker; all others are
// played on both. What "rows" prints is compared with the fold of what was
// produced too, so that a wrong golden file does not go unseen.
package scenario
