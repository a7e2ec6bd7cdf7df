package stream

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/globaltable/enrich/codec"
)

func TestErrorTextsSayWhere(t *testing.T) {
	cause := errors.New("cause")
	for _, tc := range []struct {
		err  error
		want string
	}{
		{&RecordError{Stage: "map", Topic: "in", Partition: 2, Offset: 7, Err: cause}, "stream: map of record in/2 offset 7: cause"},
		{&ProduceError{Topic: "out", FromTopic: "in", FromPartition: 1, FromOffset: 3, Err: cause}, "stream: produce to out for record in/1 offset 3: cause"},
		{&DataLossError{Topic: "in", Partition: 1, Position: 5, LogStart: 9, LogEnd: 12, Err: cause},
			"stream: data loss in in/1: the next offset to read was 5, the log holds 9 to 12: cause (reset the group's offsets to accept the loss)"},
		{&errBeforeCommit{cause}, "stream: before commit: cause"},
	} {
		require.EqualError(t, tc.err, tc.want)
		require.ErrorIs(t, tc.err, cause)
	}
	require.EqualError(t, &PanicError{Stage: "map", Value: "v"}, "stream: panic in map: v")
	require.EqualError(t, &notOwn{cause}, "cause")
}

func TestNamePartNamesTheHalfOnce(t *testing.T) {
	require.EqualError(t, namePart(codec.Key, errors.New("x")), "key: x")
	named := &codec.Error{Op: "decode", Codec: "json", Topic: "t", Part: codec.Value, Err: errors.New("x")}
	require.Same(t, named, namePart(codec.Value, named))
}
