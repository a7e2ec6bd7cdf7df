package globaltable

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Each error says what happened, to what, and what to do where something can be
// done; and gives its cause.
func TestErrorsSayWhatToDo(t *testing.T) {
	cause := errors.New("cause")
	for _, c := range []struct {
		err   error
		text  string
		cause bool
	}{
		{&RunError{Topic: "devices", Err: cause}, "globaltable: table devices has failed: cause", true},
		{&NotCompactedError{Topic: "devices", Policy: "delete"},
			"globaltable: topic devices has cleanup.policy=delete, so its rows expire; set cleanup.policy=compact on the topic, or accept it with AcceptUncompacted", false},
		{&KeyError{Topic: "devices", Err: cause}, "globaltable: cannot encode a key of table devices: cause", true},
		{&BadRecordError{Topic: "devices", Partition: 2, Offset: 7, Err: cause}, "globaltable: the record at devices/2 offset 7 is bad: cause; mend the codec or the transform, or give its key no row with BadRecords(Skip)", true},
		{&DecodeError{Topic: "devices", Partition: 2, Offset: 7, Err: cause}, "globaltable: cannot decode the row of devices/2 offset 7: cause", true},
		{&PositionError{Position: Position{Topic: "other", Offset: 1}, Topic: "devices"},
			"globaltable: position of topic other does not fit the table of topic devices", false},
		{&PositionError{Position: Position{Partition: -1, Offset: 3}, Topic: "devices"}, "globaltable: partition -1 offset 3 is no position", false},
		{&PositionError{Position: Position{Topic: "devices", Offset: -3}, Topic: "devices"}, "globaltable: partition 0 offset -3 is no position", false},
		{&PositionError{Position: Position{Partition: 1, Offset: 3}, Topic: "devices", TopicID: TopicID{1}},
			"globaltable: topic devices was created anew (its id is AQAAAAAAAAAAAAAAAAAAAA): the position, partition 1 offset 3, is of the earlier one", false},
		{&PanicError{Where: "transform", Value: "nil map", Stack: []byte("goroutine 1")}, "globaltable: panic in transform: nil map", false},
		{&rebuildError{cause}, "rebuild: cause", true},
	} {
		require.EqualError(t, c.err, c.text)
		require.Equal(t, c.cause, errors.Is(c.err, cause))
	}
}

func TestPanicErrorHasTheStackOfThePanic(t *testing.T) {
	var err error
	func() {
		defer func() { err = newPanicError("transform", recover()) }()
		panic("nil map")
	}()
	panicked := &PanicError{}
	require.ErrorAs(t, err, &panicked)
	require.Contains(t, panicked.Value, "nil map")
	require.Contains(t, string(panicked.Stack), "TestPanicErrorHasTheStackOfThePanic")
}

func TestPositionBehindARecord(t *testing.T) {
	p := After(&kgo.Record{Topic: "devices", Partition: 3, Offset: 41})
	require.Equal(t, Position{Topic: "devices", Partition: 3, Offset: 42}, p)
	require.Equal(t, "devices/3@42", p.String())
	require.Equal(t, "/0@0", Position{}.String())
}
