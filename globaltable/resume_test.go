package globaltable

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/globaltable/enrich/internal/kafkatest"
)

func TestRestartResumes(t *testing.T) {
	each(t, 3, func(t *testing.T, e *env) {
		dir := t.TempDir()
		e.put(numbered("k", 0, 300)...)
		r := e.ready(Dir(dir))
		positions := r.Positions()
		r.close()

		e.put("k1=while away", "k2")
		h := &recorder{}
		r = e.ready(Dir(dir), Hooks(h))
		require.Equal(t, Resumed, r.Stats().Decision)
		require.EqualValues(t, 302, r.Stats().Records, "each record was read once over both runs")
		e.holds(r)
		r.close()
		require.Equal(t, []string{"resumed"}, h.readies)
		require.Len(t, positions, 3)

		// Nothing new: nothing is read.
		h = &recorder{}
		r = e.ready(Dir(dir), Hooks(h))
		require.Empty(t, h.batches)
		e.holds(r)
	})
}

func TestAddedPartitionsAreFound(t *testing.T) {
	each(t, 1, func(t *testing.T, e *env) {
		dir := t.TempDir()
		e.put("a=1")
		r := e.ready(Dir(dir))
		_, err := e.broker.Admin(t).UpdatePartitions(e.ctx(), 4, e.topic)
		require.NoError(t, err)
		for p := range int32(4) {
			rs := records(e.topic, numbered("new-"+string('a'+p), 0, 5)...)
			e.broker.ProduceTo(t, p, rs...)
			fold(e.want, rs)
		}
		r.until("all partitions", func() bool { return len(r.rows()) == len(e.want) })
		e.holds(r)
		require.Len(t, r.Positions(), 4)
		r.close()
		r = e.ready(Dir(dir))
		require.Equal(t, Resumed, r.Stats().Decision)
		e.holds(r)
	})
}

func TestProducersWithDifferentPartitioners(t *testing.T) {
	each(t, 4, func(t *testing.T, e *env) {
		for p := range int32(4) {
			rs := records(e.topic, numbered("anywhere-"+string('a'+p), 0, 10)...)
			e.broker.ProduceTo(t, p, rs...)
			fold(e.want, rs)
		}
		e.put(numbered("hashed-", 0, 40)...)
		e.holds(e.ready())
	})
}

// A stop in the middle of a bootstrap loses no more than it has to: the next
// run goes on from there.
func TestStopInTheMiddleOfABootstrap(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 2)
	dir := t.TempDir()
	e.put(numbered("k", 0, 2000)...)
	stuck := make(chan struct{})
	var once sync.Once
	hold := Transform("v1", func(en Entry[string, string]) (string, bool, error) {
		if en.Partition == 1 && en.Offset >= 100 {
			once.Do(func() { close(stuck) })
			return "", false, errAway
		}
		return en.Value, true, nil
	})
	r := e.open(Dir(dir), hold)
	<-stuck
	r.until("the other partition is there", func() bool {
		f := r.e.follower.Load()
		return f != nil && f.gen.State().Get(0).Next > 0 && f.gen.State().Get(1).Next == 100
	})
	_, _, err := r.Get("k1")
	require.ErrorIs(t, err, ErrNotReady)
	r.close()

	again := Transform("v1", func(en Entry[string, string]) (string, bool, error) { return en.Value, true, nil })
	r = e.ready(Dir(dir), again)
	require.Equal(t, Resumed, r.Stats().Decision)
	require.EqualValues(t, 2000, r.Stats().Records)
	e.holds(r)
}
