package globaltable

import (
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/globaltable/enrich/internal/feed"
	"github.com/globaltable/enrich/internal/store"
)

var (
	// ErrNotReady is wrapped by the error of a read that comes before the
	// table is complete. Wait with [Table.WaitReady] and read again.
	ErrNotReady = errors.New("globaltable: not ready")

	// ErrClosed is returned by every use of a table that was closed.
	ErrClosed = errors.New("globaltable: closed")

	// ErrRunTwice is returned by [Table.Run] when it was called before: a
	// table runs once.
	ErrRunTwice = errors.New("globaltable: this table has run already; close it and open it again")

	// ErrLocked is wrapped by the error of [Open] and [Remove] when another
	// table, of this or of another process, has the directory open. See
	// [LockWait].
	ErrLocked = store.ErrLocked

	// ErrTopicAbsent is in [Status].Err while the cluster knows no topic of
	// the table's name.
	ErrTopicAbsent = feed.ErrTopicAbsent
)

type (
	// A WrongTableError is in the error of [Open] for a directory that holds
	// another topic's table. Nothing in it was touched.
	WrongTableError = store.WrongTableError

	// A NotATableError is in the error of [Open] and [Remove] for a directory
	// that holds files, and no table. Nothing in it was touched.
	NotATableError = store.NotATableError

	// A NewerFormatError is in the error of [Open] for a directory that was
	// written by a newer release. Nothing in it was touched.
	NewerFormatError = store.NewerFormatError

	// A WriteError is in the error of [Table.Run] when the file system
	// refused a write, for example because the disk is full. No position has
	// moved past a row that was not written: with space again, the next Open
	// and Run go on.
	WriteError = store.WriteError
)

// A RunError is returned by reads and waits once [Table.Run] has ended with an
// error: the rows would never change again.
type RunError struct {
	Topic string
	// Err is what Run returned.
	Err error
}

// Error implements the error interface.
func (e *RunError) Error() string {
	return fmt.Sprintf("globaltable: table %s has failed: %v", e.Topic, e.Err)
}

// Unwrap returns what Run returned.
func (e *RunError) Unwrap() error { return e.Err }

// A NotCompactedError is returned by [Table.Run] for a topic whose
// cleanup.policy is not compact: rows would vanish with its retention, and a
// fresh replica would never see them.
type NotCompactedError struct {
	Topic string
	// Policy is the topic's cleanup.policy.
	Policy string
}

// Error implements the error interface.
func (e *NotCompactedError) Error() string {
	return fmt.Sprintf("globaltable: topic %s has cleanup.policy=%s, so its rows expire; set cleanup.policy=compact on the topic, or accept it with AcceptUncompacted", e.Topic, e.Policy)
}

// A RowTooLargeError ends Run: a record is larger than what the memory budget
// lets one row take. Nothing behind it was applied, so that Run goes on from it
// when the table is opened with a larger budget.
type RowTooLargeError struct {
	Topic     string
	Partition int32
	Offset    int64
	// Bytes is the size of the key and the value, Limit what a row may have: an
	// eighth of Budget.
	Bytes, Limit, Budget int64
}

// Error implements the error interface.
func (e *RowTooLargeError) Error() string {
	return fmt.Sprintf("globaltable: the record at %s/%d offset %d has %d bytes, and a row may take an eighth of the memory budget of %d bytes; give at least MemoryBudget(%d)",
		e.Topic, e.Partition, e.Offset, e.Bytes, e.Budget, e.Bytes*rowShare)
}

// A KeyError says that a key could not be encoded, so that it was not looked up.
type KeyError struct {
	Topic string
	// Err is the codec's error.
	Err error
}

// Error implements the error interface.
func (e *KeyError) Error() string {
	return fmt.Sprintf("globaltable: cannot encode a key of table %s: %v", e.Topic, e.Err)
}

// Unwrap returns the codec's error.
func (e *KeyError) Unwrap() error { return e.Err }

// A DecodeError says that a row is there and that its key or its value cannot
// be decoded. Rows are decoded when they are read, so that one bad record does
// not keep a table from following its topic.
type DecodeError struct {
	Topic string
	// Partition and Offset are where the row's record stands.
	Partition int32
	Offset    int64
	// Err is the codec's error; it says whether it was the key or the value.
	Err error
}

// Error implements the error interface.
func (e *DecodeError) Error() string {
	return fmt.Sprintf("globaltable: cannot decode the row of %s/%d offset %d: %v", e.Topic, e.Partition, e.Offset, e.Err)
}

// Unwrap returns the codec's error.
func (e *DecodeError) Unwrap() error { return e.Err }

// A PositionError is returned by [Table.WaitFor] for a position that the table
// will never reach: it is of another topic, or of a topic of the same name that
// was deleted and created again, before or while it was waited for.
type PositionError struct {
	// Position is the one that was waited for.
	Position Position
	// Topic and TopicID are those of the table.
	Topic   string
	TopicID TopicID
}

// Error implements the error interface.
func (e *PositionError) Error() string {
	if e.Position.Topic != "" && e.Position.Topic != e.Topic {
		return fmt.Sprintf("globaltable: position of topic %s does not fit the table of topic %s", e.Position.Topic, e.Topic)
	}
	if e.Position.Partition < 0 || e.Position.Offset < 0 {
		return fmt.Sprintf("globaltable: partition %d offset %d is no position", e.Position.Partition, e.Position.Offset)
	}
	return fmt.Sprintf("globaltable: topic %s was created anew (its id is %s): the position, partition %d offset %d, is of the earlier one", e.Topic, e.TopicID, e.Position.Partition, e.Position.Offset)
}

// A PanicError is a panic of the user's code, turned into an error: a row that a
// [Transform] function panics on is rejected, and a codec that panics is one that
// returns an error.
type PanicError struct {
	// Where is "transform", "key codec" or "value codec".
	Where string
	// Value is the panic's value as text.
	Value string
	// Stack is the stack of the goroutine that panicked.
	Stack []byte
}

// Error implements the error interface. It does not include the stack.
func (e *PanicError) Error() string { return "globaltable: panic in " + e.Where + ": " + e.Value }

func newPanicError(where string, v any) error {
	return &PanicError{Where: where, Value: fmt.Sprint(v), Stack: debug.Stack()}
}
