// Package feed reads one topic from Kafka, all partitions at once, and tells
// exactly how far it has come. It knows nothing of the store.
//
// It sends its own fetch requests, by topic id, and lets kgo decode the
// answers. A plain consumer has no visible position: it drops transaction
// markers, aborted records and emptied batches, so that "last offset + 1 is the
// end" never comes true behind them. A fetch answer has it all: the true next
// offset, the last stable offset, the high watermark and the log start, read
// for this topic id and no other.
//
// # Guarantees
//
//   - For each partition batches come in order, without gap or overlap: each
//     begins where the one before ended.
//   - Nothing is delivered after the log was found to differ from what was read
//     before: recreated topic, offset out of range, diverging epoch end the
//     session with a typed error.
//   - Whatever may go away by itself (a broker that is away, a leader that
//     moves, a damaged record batch) never ends a session: it backs off and
//     reports. No position moves past what could not be read.
//   - A session ends promptly with its context, whatever a broker does. No
//     goroutine outlives the client.
//
// # Caveats
//
//   - Brokers before Kafka 3.1 are fetched from by name. If they report topic
//     ids, each answer counts only after the topic was seen to have the same id
//     still; if not, a topic deleted and recreated between two fetches is not
//     noticed.
//   - Records are read from partition leaders, never from followers.
//   - MaxBytes bounds what is asked for, by what was seen so far of how much larger
//     records are in memory: at first four times. A record batch larger than that
//     is read all the same, and each connection asks for 64 KiB at least, or for
//     its part of the bound if that is less.
package feed
