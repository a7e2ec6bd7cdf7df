// Package store keeps one table's rows and the positions they stand for in a
// local Pebble store. It knows nothing of Kafka: its caller tells it what to
// put, what to delete, and which positions the store has reached by that.
//
// A [Root] is a table's directory. It holds a lock, a small descriptor file
// (TABLE) and one sub-directory for each [Generation]: the current one, and at
// times a second one that is being built beside it.
//
// # Guarantees
//
//   - [Generation.Apply] puts rows, positions and counters into the store in one
//     atomic step.
//   - The write-ahead log is off. After a crash a generation holds a prefix of
//     the applied batches, and its positions are those of that prefix: Pebble
//     flushes whole batches in order.
//   - A failed write never moves a durable position past a row that was not
//     written: after the first one nothing more reaches the disk, and
//     [Generation.Failed] tells of it.
//   - A user's key, whatever its bytes, never reaches an internal record: the
//     first byte of each stored key separates the two.
package store
