package globaltable

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/globaltable/enrich/internal/kafkatest"
)

func TestWaitForReadsYourOwnWrite(t *testing.T) {
	each(t, 3, func(t *testing.T, e *env) {
		r := e.ready()
		for i := range 50 {
			rec := e.put(fmt.Sprintf("k%d=%d", i%7, i))[0]
			require.NoError(t, r.WaitFor(e.ctx(), After(rec)))
			v, ok, err := r.Get(string(rec.Key))
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, fmt.Sprint(i), v)
		}
		// A position that was reached is no wait, also with its topic id.
		for _, p := range r.Positions() {
			require.True(t, p.TopicID.Known())
			require.NoError(t, r.WaitFor(e.ctx(), p))
		}
	})
}

func TestWaitForBeforeReadyWaitsForBoth(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	rec := e.put("a=1")[0]
	r := e.open()
	require.NoError(t, r.WaitFor(e.ctx(), After(rec)))
	v, ok, err := r.Get("a")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "1", v)
}

func TestWaitForWhatNeverComes(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	rec := e.put("a=1")[0]
	r := e.ready()
	wrong := &PositionError{}

	p := After(rec)
	p.Topic = "other"
	require.ErrorAs(t, r.WaitFor(e.ctx(), p), &wrong)
	require.ErrorContains(t, wrong, "does not fit the table of topic")

	p = After(rec)
	p.TopicID = TopicID{1, 2, 3}
	require.ErrorAs(t, r.WaitFor(e.ctx(), p), &wrong)
	require.ErrorContains(t, wrong, "created anew")

	require.ErrorAs(t, r.WaitFor(e.ctx(), Position{Partition: -1}), &wrong)
	require.ErrorContains(t, wrong, "is no position")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := r.WaitFor(ctx, Position{Offset: 1000})
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "table "+e.topic+" is ready")
}

func TestRecreatedTopicFailsItsWaiters(t *testing.T) {
	each(t, 1, func(t *testing.T, e *env) {
		e.put("a=1")
		r := e.ready()
		waiting := make(chan error, 1)
		go func() { waiting <- r.WaitFor(context.Background(), Position{Offset: 1 << 40}) }()
		r.until("somebody waits", func() bool {
			r.e.changed.mu.Lock()
			defer r.e.changed.mu.Unlock()
			return r.e.changed.ch != nil
		})
		e.recreate(1)
		wrong := &PositionError{}
		require.ErrorAs(t, <-waiting, &wrong)
	})
}

// While the rows are still those of the topic that is gone, however far they
// were, they do not stand for a position of the new one.
func TestWaitForIsNotMetByTheRowsOfTheEarlierTopic(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	e.put("old1=1", "old2=2")
	met, goOn := make(chan struct{}), make(chan struct{})
	meet, release := sync.OnceFunc(func() { close(met) }), sync.OnceFunc(func() { close(goOn) })
	r := e.ready(Transform("v1", func(en Entry[string, string]) (string, bool, error) {
		if en.Key == "new" {
			meet()
			<-goOn
		}
		return en.Value, true, nil
	}))
	t.Cleanup(release)
	e.recreate(1)
	rs := e.put("new=1")
	<-met
	over, cancel := context.WithCancel(t.Context())
	cancel()
	_, ok, err := r.Get("old1")
	require.NoError(t, err)
	require.True(t, ok, "the old rows answer")
	require.ErrorIs(t, r.WaitFor(over, After(rs[0])), context.Canceled)
	release()
	r.sees(rs)
	e.holds(r)
}
