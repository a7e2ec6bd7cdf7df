package feed

import (
	"errors"
	"fmt"
)

var (
	// ErrTopicAbsent means that the cluster knows no topic of that name.
	ErrTopicAbsent = errors.New("topic does not exist")
	// errCorruptBatch marks records that do not decode as Kafka batches.
	errCorruptBatch = errors.New("damaged record batch")
	// errAllRead ends a session whose Until was reached.
	errAllRead = errors.New("all read")
)

// A TopicChangedError means that the topic was deleted and created anew.
type TopicChangedError struct {
	Old, New TopicID
}

func (e *TopicChangedError) Error() string {
	return fmt.Sprintf("topic was recreated: its id is %s, was %s", e.New, e.Old)
}

// An OutOfRangeError means that a partition's log does not have the position.
type OutOfRangeError struct {
	Partition int32
	Position  int64
	// LogStart and End are the partition's lowest offset and its high
	// watermark, read after the fetch was refused.
	LogStart, End int64
}

func (e *OutOfRangeError) Error() string {
	return fmt.Sprintf("partition %d: position %d is outside of the log, which has offsets %d to %d", e.Partition, e.Position, e.LogStart, e.End)
}

// A DivergedError means that the log was truncated below the position and
// written anew: what was read from there on is not in it any more.
type DivergedError struct {
	Partition int32
	Position  int64
	// End is where the log ends for the epoch of the last batch read, or for
	// the highest epoch below it that the log has. It is -1 if the broker
	// only tells that the log does not have that epoch.
	End int64
}

func (e *DivergedError) Error() string {
	if e.End < 0 {
		return fmt.Sprintf("partition %d: the log does not have the leader epoch of the records read before position %d", e.Partition, e.Position)
	}
	return fmt.Sprintf("partition %d: the log was truncated to offset %d since it was read to position %d", e.Partition, e.End, e.Position)
}

// A LaterError is returned by a deliver function that cannot take a record yet.
// The partition waits, the others go on, and the record is delivered again.
type LaterError struct {
	// Next is the offset to go on from: the records before it were taken.
	Next int64
	// Err says what is waited for.
	Err error
}

func (e *LaterError) Error() string { return fmt.Sprintf("at offset %d: %v", e.Next, e.Err) }

// Unwrap returns what is waited for.
func (e *LaterError) Unwrap() error { return e.Err }
