package globaltable

import (
	"errors"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/internal/kafkatest"
	"github.com/globaltable/enrich/internal/store"
)

var (
	stringKey = codec.String()
	// errAway makes a record wait.
	errAway = codec.Retryable(errors.New("registry is away"))
)

func kmsgDeleteRecords(upTo map[string]map[int32]int64) *kmsg.DeleteRecordsRequest {
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.TimeoutMillis = 10_000
	for topic, parts := range upTo {
		t := kmsg.NewDeleteRecordsRequestTopic()
		t.Topic = topic
		for p, at := range parts {
			dp := kmsg.NewDeleteRecordsRequestTopicPartition()
			dp.Partition, dp.Offset = p, at
			t.Partitions = append(t.Partitions, dp)
		}
		req.Topics = append(req.Topics, t)
	}
	return req
}

// epochEnds answers that every epoch ends at an offset.
func epochEnds(req *kmsg.OffsetForLeaderEpochRequest, end int64) *kmsg.OffsetForLeaderEpochResponse {
	resp := req.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
	for _, t := range req.Topics {
		rt := kmsg.NewOffsetForLeaderEpochResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			rp.Partition, rp.LeaderEpoch, rp.EndOffset = p.Partition, p.LeaderEpoch, end
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

type storeState = store.State

// inStore changes the stored state of a closed table.
func inStore(t *testing.T, topic, dir string, change func(*storeState)) {
	t.Helper()
	root, err := store.OpenRoot(store.Options{Dir: dir, Topic: topic})
	require.NoError(t, err)
	defer func() { require.NoError(t, root.Close()) }()
	gen, err := root.Current()
	require.NoError(t, err)
	require.NotNil(t, gen)
	s := gen.State().Clone()
	change(s)
	require.NoError(t, gen.Apply(nil, s))
	require.NoError(t, gen.Flush())
}

// gate makes every broker of a fake refuse to talk, or to answer some kinds of
// requests.
type gate struct{ closed atomic.Bool }

func newGate(b *kafkatest.Broker, keys ...kmsg.Key) *gate {
	g := &gate{}
	guard := func(kmsg.Request) (kmsg.Response, error, bool) {
		b.Fake().KeepControl()
		if g.closed.Load() {
			return nil, errors.New("the gate is shut"), true
		}
		return nil, nil, false
	}
	for _, key := range keys {
		b.Fake().ControlKey(key.Int16(), guard)
	}
	if len(keys) == 0 {
		b.Fake().Control(guard)
	}
	return g
}

func (g *gate) shut() { g.closed.Store(true) }
func (g *gate) open() { g.closed.Store(false) }
