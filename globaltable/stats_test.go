package globaltable

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/globaltable/enrich/internal/kafkatest"
)

func TestStatsStringIsStable(t *testing.T) {
	s := Stats{
		Topic:    "devices",
		Status:   Status{State: Rebuilding, Reason: TopicRecreated, Err: errors.New("no leader")},
		Decision: Rebuilt, Reason: TopicRecreated, Generation: 3,
		Records: 10, Tombstones: 2, NullKeys: 1, Rejected: 4, Filtered: 5, Verified: 6,
		Rebuilds: 1, RebuildsDropped: 2, Verifications: 3,
		Lag:       Lag{Records: 7, Age: 1500 * time.Millisecond, Partitions: []PartitionLag{{0, 5, 9, time.Time{}}, {2, 1, 4, time.Time{}}}},
		DiskBytes: 4096, Unknown: []string{"topic id", "leader epochs"}, TombstonesUnprovable: true,
	}
	require.Equal(t, `topic=devices status="rebuilding TopicRecreated: no leader" decision=rebuilt reason=TopicRecreated generation=3 `+
		`records=10 tombstones=2 null-keys=1 rejected=4 filtered=5 verified=6 rebuilds=1 rebuilds-dropped=2 verifications=3 `+
		`lag=7 age=1.5s disk=4096 positions=[0:5/9 2:1/4] unknown="topic id, leader epochs" tombstones-unprovable`, s.String())
	require.Equal(t, "state-99", State(99).String())
	require.Equal(t, "a/3@7", Position{Topic: "a", Partition: 3, Offset: 7}.String())
}

func TestStatsOfATable(t *testing.T) {
	each(t, 2, func(t *testing.T, e *env) {
		e.put("a=1", "b=2", "a")
		r := e.ready(Dir(t.TempDir()))
		r.until("no lag", func() bool { return r.Lag().Records == 0 })
		s := r.Stats()
		require.Equal(t, e.topic, s.Topic)
		require.Equal(t, Ready, s.Status.State)
		require.EqualValues(t, 3, s.Records)
		require.EqualValues(t, 1, s.Tombstones)
		require.NotZero(t, s.Generation)
		require.True(t, s.TopicID.Known())
		require.Empty(t, s.Unknown)
		require.False(t, s.TombstonesUnprovable)
		require.NotZero(t, s.DiskBytes)
		require.Len(t, s.Lag.Partitions, 2)
		for _, p := range s.Lag.Partitions {
			require.Equal(t, p.End, p.Position)
			require.WithinDuration(t, time.Now(), p.AtEnd, time.Minute)
		}
	})
}

// While brokers are away the table answers, its age grows and its status says
// so; when they are back it follows again. Time is virtual.
func TestStalenessIsVisibleAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := kafkatest.FakeVirtual(t)
		e := newEnv(t, b, 1)
		e.put("a=1")
		h := &recorder{}
		r := e.ready(Hooks(h))
		time.Sleep(10 * time.Second) // virtual
		require.Less(t, r.Lag().Age, 2*time.Second, "an idle topic is at its end")
		require.Equal(t, Ready, r.Status().State)

		gate := newGate(b)
		gate.shut()
		time.Sleep(time.Minute)
		require.Equal(t, Stale, r.Status().State)
		require.Error(t, r.Status().Err)
		require.Greater(t, r.Lag().Age, 50*time.Second)
		v, ok, err := r.Get("a")
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, "1", v)

		gate.open()
		time.Sleep(30 * time.Second)
		require.Equal(t, Ready, r.Status().State)
		require.NoError(t, r.Status().Err)
		require.Less(t, r.Lag().Age, 2*time.Second)
		r.sees(e.put("b=2"))
		e.holds(r)
		r.close()
	})
}
