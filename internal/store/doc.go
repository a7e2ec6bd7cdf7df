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
//   - A [Bulk] load keeps to that: its chunks are taken in in the order in which
//     they were submitted, each with its positions, and are durable when
//     [BulkOptions].Applied or [Bulk.Wait] tells of them. How many tables may
//     overlap before it waits for compactions is bounded.
//   - A failed write never moves a durable position past a row that was not
//     written: after the first one nothing more reaches the disk, and
//     [Generation.Failed] tells of it. Apply, Flush and Close return then, with
//     a [*WriteError]; what is on disk opens again.
//   - A damaged file is an error that wraps [ErrCorrupt], and makes its
//     generation fail. It is never a wrong answer and never ends the process.
//   - The files on disk can be opened after a crash at any moment, also in the
//     middle of Create, Promote and Discard: the generation that answers is the
//     old one or the new one, and left-overs are removed.
//   - A directory is used by one Root at a time, under whatever name it is
//     opened. Without its lock nothing is written into it, and nothing but a
//     table's own files is ever deleted.
//   - Apply and reads go on while Flush writes.
//   - A user's key, whatever its bytes, never reaches an internal record: the
//     first byte of each stored key separates the two.
package store
