package stream

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// commitAt commits an offset for the group from outside.
func (e *env) commitAt(topic string, at int64, epoch int32) {
	e.t.Helper()
	var offsets kadm.Offsets
	offsets.Add(kadm.Offset{Topic: topic, Partition: 0, At: at, LeaderEpoch: epoch})
	resp, err := e.adm.CommitOffsets(e.ctx(), e.group(), offsets)
	require.NoError(e.t, err)
	require.NoError(e.t, resp.Error())
}

func requireLoss(t *testing.T, err error) *DataLossError {
	t.Helper()
	loss, ok := errors.AsType[*DataLossError](err)
	require.True(t, ok, "%v", err)
	return loss
}

func TestCommittedOffsetBelowTheLogIsDataLoss(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		in, out := e.topic("in", 1), e.topic("out", 1)
		e.putN(in, 0, 0, 10)
		e.commitAt(in, 2, -1)
		e.deleteRecords(in, 5)
		err := Run(e.ctx(), toStrs(strs(in), out), e.opts()...)
		loss := requireLoss(t, err)
		require.Equal(t, DataLossError{Topic: in, Position: 2, LogStart: 5, LogEnd: 10, Err: loss.Err}, *loss)
		require.ErrorIs(t, err, kerr.OffsetOutOfRange)
		require.ErrorContains(t, err, "reset the group's offsets")
		require.Empty(t, e.read(out), "nothing is read from elsewhere")
		require.EqualValues(t, 2, e.committed(e.group(), in, 0))
	})
}

func TestCommittedOffsetAboveTheLogIsDataLoss(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		in, out := e.topic("in", 1), e.topic("out", 1)
		e.putN(in, 0, 0, 10)
		e.commitAt(in, 100, -1)
		loss := requireLoss(t, Run(e.ctx(), toStrs(strs(in), out), e.opts()...))
		require.EqualValues(t, 100, loss.Position)
		require.EqualValues(t, 10, loss.LogEnd)
		require.Empty(t, e.read(out))
	})
}

func TestTruncationSeenByItsEpochIsDataLoss(t *testing.T) {
	e := onFake(t)
	in, out := e.topic("in", 1), e.topic("out", 1)
	e.putN(in, 0, 0, 10)
	e.commitAt(in, 8, 0)
	// The new leader says that the old one's log ended at 6.
	e.fake.ControlKey(kmsg.OffsetForLeaderEpoch.Int16(), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		e.fake.KeepControl()
		req := kreq.(*kmsg.OffsetForLeaderEpochRequest)
		resp := req.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
		rt := kmsg.NewOffsetForLeaderEpochResponseTopic()
		rt.Topic = in
		rp := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
		rp.LeaderEpoch, rp.EndOffset = 0, 6
		rt.Partitions = append(rt.Partitions, rp)
		resp.Topics = append(resp.Topics, rt)
		return resp, nil, true
	})
	err := Run(e.ctx(), toStrs(strs(in), out), e.opts()...)
	loss := requireLoss(t, err)
	require.EqualValues(t, 8, loss.Position)
	cause, ok := errors.AsType[*kgo.ErrDataLoss](err)
	require.True(t, ok)
	require.EqualValues(t, 6, cause.ResetTo)
	require.Empty(t, e.read(out), "the client goes on at 6, we do not")
	require.EqualValues(t, 8, e.committed(e.group(), in, 0))
}

func TestRecordsThatVanishWhileConsumingAreDataLoss(t *testing.T) {
	e := onFake(t)
	in := e.topic("in", 1)
	e.putN(in, 0, 0, 5)
	var c collector
	r := e.start(ForEach(strs(in), c.add))
	r.until("they are done", func(s Stats) bool { return len(c.values()) == 5 })
	// From here on fetches are answered as if retention had overtaken us.
	e.fake.ControlKey(kmsg.Fetch.Int16(), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		e.fake.KeepControl()
		req := kreq.(*kmsg.FetchRequest)
		resp := req.ResponseKind().(*kmsg.FetchResponse)
		for _, t := range req.Topics {
			rt := kmsg.NewFetchResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			rp := kmsg.NewFetchResponseTopicPartition()
			rp.ErrorCode = kerr.OffsetOutOfRange.Code
			rt.Partitions = append(rt.Partitions, rp)
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
	loss := requireLoss(t, r.wait())
	require.EqualValues(t, 5, loss.Position)
	require.EqualValues(t, 5, e.committed(e.group(), in, 0), "what is done is committed")
}

func TestRecreatedTopicIsDataLoss(t *testing.T) {
	e := onFake(t)
	in := e.topic("in", 1)
	e.putN(in, 0, 0, 3)
	var c collector
	r := e.start(ForEach(strs(in), c.add))
	r.until("they are done", func(Stats) bool { return len(c.values()) == 3 })
	require.NoError(t, e.fake.DeleteTopic(in))
	require.NoError(t, e.fake.CreateTopic(in, 1, nil))
	loss := requireLoss(t, r.wait())
	require.ErrorIs(t, loss, kerr.UnknownTopicID)
	require.Len(t, c.values(), 3)
}

func TestNothingCommittedStartsAtTheEarliest(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		in := e.topic("in", 1)
		e.putN(in, 0, 0, 10)
		e.deleteRecords(in, 4)
		var c collector
		_, err := e.runToEnd(ForEach(strs(in), c.add))
		require.NoError(t, err)
		require.Equal(t, numbered("v", 4, 10), c.values())
	})
}
