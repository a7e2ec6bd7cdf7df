package globaltable

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/internal/feed"
)

// An Entry is one row with what is known of its record.
type Entry[K, V any] struct {
	// Key and Value are decoded. They may be shared with other readers: do
	// not change what they refer to.
	Key   K
	Value V
	// Found is false only where a lookup had no row: in a result of
	// [Table.GetMany] and in what a left join passes on. Only Key is set then.
	Found bool
	// Timestamp is the record's time, in milliseconds.
	Timestamp time.Time
	// Partition and Offset are where the record stands in the topic.
	Partition int32
	Offset    int64
	// Headers are the record's: shared, do not change them. A table keeps them
	// only with [Headers]; a [Transform] is always given them.
	Headers []codec.Header
	// Generation is the number of the build that the row was read from. It
	// grows when the table is rebuilt.
	Generation uint64
}

// A Result is what [Table.GetMany] found for one key.
type Result[K, V any] struct {
	// Entry has Found set if there is a row.
	Entry[K, V]
	// Err is a [*KeyError] or a [*DecodeError] of this key only, or nil.
	Err error
}

// A TopicID is Kafka's id of a topic: a topic that is deleted and created again
// gets another one. The zero TopicID stands for unknown; brokers before Kafka
// 2.8 report none.
type TopicID = feed.TopicID

// A Position is a place in the log of one partition: everything below Offset
// lies before it. The position behind a record is one above the record's
// offset; see [After].
type Position struct {
	// Topic is the topic's name; empty means that of the table.
	Topic string
	// TopicID is the topic's id; zero means unknown.
	TopicID   TopicID
	Partition int32
	// Offset is the next offset.
	Offset int64
}

// String returns the position as topic/partition@offset.
func (p Position) String() string { return fmt.Sprintf("%s/%d@%d", p.Topic, p.Partition, p.Offset) }

// After returns the position behind a record that was produced: waiting for it
// makes the record visible.
func After(r *kgo.Record) Position {
	return Position{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset + 1}
}
