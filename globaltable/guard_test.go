package globaltable

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/globaltable/enrich/internal/kafkatest"
)

// jitterOfLarge makes some thousand bytes of old rows stand for as many GB.
func jitterOfLarge() Opt { return opt(func(c *config) { c.jitterRate = jitterRate / 1e9 }) }

// A table that answers waits before it is rebuilt, longer if it is larger, and says
// so; RebuildJitter bounds it, and the end of the run ends it.
func TestRebuildJitter(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	e.put("old=1")
	// The wait is one of hours.
	r := e.ready(RebuildJitter(1000*time.Hour), jitterOfLarge(), WhileRebuilding(Refuse))
	e.recreate(1)
	e.put("new=1")
	r.until("it says what it waits for", func() bool {
		s := r.Status()
		return s.State == Stale && s.Err != nil && strings.Contains(s.Err.Error(), "the rebuild (TopicRecreated) begins in")
	})
	v, ok, err := r.Get("old")
	require.True(t, err == nil && ok && v == "1", "nothing is rebuilt yet: it goes on answering")
	r.cancel()
	require.NoError(t, r.runErr())

	for _, opts := range [][]Opt{
		{RebuildJitter(0), jitterOfLarge()},
		{RebuildJitter(time.Millisecond), jitterOfLarge()},
		{AdmitRebuild(func(context.Context, Reason) error { return nil }), RebuildJitter(1000 * time.Hour), jitterOfLarge()},
		{}, // some thousand bytes are nothing
	} {
		e := newEnv(t, kafkatest.Fake(t), 1)
		e.put("old=1")
		r := e.ready(opts...)
		e.recreate(1)
		e.put("new=1")
		r.until("it is rebuilt", func() bool { _, ok, err := r.Get("new"); return ok && err == nil })
		e.holds(r)
	}
}

// A table that has nothing to answer with does not wait.
func TestNoJitterAtAStart(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	dir := t.TempDir()
	e.put("old=1")
	e.ready(Dir(dir)).close()
	e.recreate(1)
	e.put("new=1")
	r := e.ready(Dir(dir), RebuildJitter(1000*time.Hour), jitterOfLarge())
	require.Equal(t, TopicRecreated, r.Stats().Reason)
	e.holds(r)
}
