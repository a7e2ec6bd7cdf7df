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
//
// # Commands
//
// To the topic: topic, put, many, txn, begin and end (a transaction), compact,
// delete-records, expire, delete-topic, create-again, add-partitions. Records are
// lines "key=value"; "key" is a deletion, "<null>=value" has no key.
//
// To the table: open, ready, await, accept, stop; rows, old-rows, get, drops,
// applied (rows since it was opened), spread, unknown. "await" waits for a state, a
// reason, a row, or an age, and never for a time.
//
// To what is around it: disk (in memory, from now on), disk full, disk ok, crash
// (kill -9 and a power cut; with p and at once that position is durable), network
// away and back, registry away and back (for values that begin with "schema2"),
// clock forth and back, broker, format. Values that begin with "garbled" cannot be
// decoded.
//
// To a stream of readings with keys of rows: stream, send, lose-readings, join.
package scenario
