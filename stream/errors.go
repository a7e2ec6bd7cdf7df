package stream

import (
	"errors"
	"fmt"
)

// ErrRunTwice is returned by [Worker.Run] when it was called before: a worker
// runs once.
var ErrRunTwice = errors.New("stream: this worker has run already; make another with New")

// ErrShutdownTimeout is in the error of Run when a stop took longer than
// [ShutdownTimeout]: a user function did not return, or outputs were not
// acknowledged. Nothing is lost; what was not committed is done again by the
// next run.
var ErrShutdownTimeout = errors.New("stream: shutdown timed out")

// errAbandoned ends the work on a partition that is being stopped. It is
// never returned to the user.
var errAbandoned = errors.New("stream: abandoned")

// errAtEnd stops a run that has read everything it was asked to.
var errAtEnd = errors.New("stream: at the end")

// notOwn wraps an error that reached an operator's function but is not about
// the record it works on.
type notOwn struct{ err error }

func (e *notOwn) Error() string { return e.err.Error() }

// A RecordError says which record could not be processed, where, and why. Run
// returns it under the policy [Fail].
type RecordError struct {
	// Stage is where it failed: "decode", "map", "filter", "flatmap",
	// "encode", "foreach", or the name given to [Process].
	Stage string
	// Topic, Partition and Offset name the input record.
	Topic     string
	Partition int32
	Offset    int64
	// Err is what was wrong. It is a [*PanicError] if a function panicked.
	Err error
}

// Error implements the error interface.
func (e *RecordError) Error() string {
	return fmt.Sprintf("stream: %s of record %s/%d offset %d: %v", e.Stage, e.Topic, e.Partition, e.Offset, e.Err)
}

// Unwrap returns what was wrong.
func (e *RecordError) Unwrap() error { return e.Err }

// A PanicError is a panic in a user's function, turned into an error.
type PanicError struct {
	// Stage is as in [RecordError].
	Stage string
	// Value is the panic's value as text.
	Value string
	// Stack is the stack of the goroutine that panicked.
	Stack []byte
}

// Error implements the error interface. It does not include the stack.
func (e *PanicError) Error() string {
	return fmt.Sprintf("stream: panic in %s: %s", e.Stage, e.Value)
}

// A ProduceError says that Kafka refused an output for good.
type ProduceError struct {
	// Topic is the topic written to.
	Topic string
	// FromTopic, FromPartition and FromOffset name the input record.
	FromTopic     string
	FromPartition int32
	FromOffset    int64
	// Err is Kafka's answer.
	Err error
}

// Error implements the error interface.
func (e *ProduceError) Error() string {
	return fmt.Sprintf("stream: produce to %s for record %s/%d offset %d: %v",
		e.Topic, e.FromTopic, e.FromPartition, e.FromOffset, e.Err)
}

// Unwrap returns Kafka's answer.
func (e *ProduceError) Unwrap() error { return e.Err }

// A DataLossError says that records which were not read yet are gone: deleted
// by retention or by hand, lost by the brokers, or gone with a topic that was
// deleted and created again. Run ends with it rather than go on elsewhere. To
// accept the loss, set the group's offsets with Kafka's tools and run again.
type DataLossError struct {
	Topic     string
	Partition int32
	// Position is the offset that should have been read next; -1 if it is
	// not known.
	Position int64
	// LogStart and LogEnd are the offsets that the partition had when the
	// loss was seen; -1 if they are not known.
	LogStart, LogEnd int64
	// Err is what the client reported.
	Err error
}

// Error implements the error interface.
func (e *DataLossError) Error() string {
	return fmt.Sprintf("stream: data loss in %s/%d: the next offset to read was %d, the log holds %d to %d: %v"+
		" (reset the group's offsets to accept the loss)", e.Topic, e.Partition, e.Position, e.LogStart, e.LogEnd, e.Err)
}

// Unwrap returns what the client reported.
func (e *DataLossError) Unwrap() error { return e.Err }
