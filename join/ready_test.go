package join

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/globaltable"
	"github.com/globaltable/enrich/internal/kafkatest"
	"github.com/globaltable/enrich/stream"
)

func TestStreamWaitsForEveryTable(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		e.row(0, "a", "1")
		e.puts("a", "b")
		g := newGate()
		near, far := e.table(), e.table(g.opt())
		first := Left(e.source(), near, byValue, func(r record, _ entry) (string, error) { return r.Value, nil })
		r := e.start(Inner(first, far, byValue, show))
		require.NoError(t, near.WaitReady(e.ctx()))
		r.until("it waits", func(s stream.Stats) bool { return s.State == stream.StateWaitingForDependencies })
		require.Zero(t, r.Stats().Records, "one of two tables is not enough")
		g.open()
		r.until("both are done", func(s stream.Stats) bool { return s.Outputs == 1 && s.Dropped[DropNoMatch] == 1 })
		require.NoError(t, r.stop())
		require.Equal(t, []string{"a+1"}, e.values())
	})
}

// A table that is not ready when a record comes: the join is built without the
// table as a dependency, as if the table had been ready before.
func notReady(e *env, kind string, g *gate, key func(record) (string, bool)) *texts {
	tb := e.table(g.opt())
	return build(e.source(), newConfig(kind == "left", nil), lookup[string, string](tb), key, show)
}

func TestNotReadyIsNeverAMiss(t *testing.T) {
	for kind, want := range map[string][]string{
		"inner": {"a+1", "b+2"},
		"left":  {"a+1", "+null", "b+2", "c+null"},
	} {
		t.Run(kind, func(t *testing.T) {
			each(t, func(t *testing.T, e *env) {
				e.row(0, "a", "1")
				e.row(1, "b", "2")
				e.puts("a", "", "b", "c")
				g := newGate()
				var asked atomic.Int64
				s := notReady(e, kind, g, func(r record) (string, bool) { asked.Add(1); return byValue(r) })
				r := e.start(s, stream.OnBadRecord(stream.Skip))
				r.until("the partition waits", func(s stream.Stats) bool { return s.Retries >= 2 })

				stats := r.Stats()
				require.ErrorIs(t, stats.LastError, globaltable.ErrNotReady)
				require.Zero(t, stats.Dropped[DropNoMatch])
				require.Zero(t, stats.BadRecords)
				require.Zero(t, stats.Outputs)
				require.EqualValues(t, -1, e.committed())
				require.Empty(t, e.values())

				g.open()
				r.until("the input is done", func(stream.Stats) bool { return e.committed() == 4 })
				require.NoError(t, r.stop())
				require.Equal(t, want, e.values())
				require.EqualValues(t, 4, asked.Load(), "the key function is called once for each record, though the lookup was tried again")
			})
		})
	}
}

func TestStopWhileATableIsNotReady(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		e.row(0, "a", "1")
		e.puts("a", "b")
		s := notReady(e, "inner", newGate(), byValue)
		r := e.start(s)
		r.until("the partition waits", func(s stream.Stats) bool { return s.Retries >= 1 })
		require.NoError(t, r.stop())
		require.EqualValues(t, -1, e.committed())

		stats := e.mustRun(Inner(e.source(), e.table(), byValue, show))
		require.Equal(t, []string{"a+1"}, e.values())
		require.Equal(t, map[string]int64{DropNoMatch: 1}, stats.Dropped)
	})
}

func TestTableThatFailsAtItsStartEndsTheStream(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		e.rows = e.broker.CreateTopic(t, "uncompacted", 1, 1, map[string]string{"cleanup.policy": "delete"})
		e.puts("a")
		stats, err := e.runToEnd(Left(e.source(), e.table(), byValue, show))
		failed := &globaltable.RunError{}
		require.ErrorAs(t, err, &failed)
		uncompacted := &globaltable.NotCompactedError{}
		require.ErrorAs(t, err, &uncompacted)
		require.ErrorContains(t, err, "waiting for table "+e.rows)
		require.Zero(t, stats.Records)
		require.EqualValues(t, -1, e.committed())
	})
}

func TestTableThatFailsInMidStreamEndsTheStream(t *testing.T) {
	for name, tc := range map[string]struct {
		fail func(e *env, tb *table)
		is   func(t *testing.T, err error)
	}{
		"Run ends with an error": {
			// The topic is created anew, and is not compacted.
			fail: func(e *env, tb *table) {
				_, err := e.adm.DeleteTopic(e.ctx(), e.rows)
				require.NoError(e.t, err)
				require.Eventually(e.t, func() bool {
					_, err := e.adm.CreateTopic(e.ctx(), 2, 1, nil, e.rows)
					return err == nil
				}, patience, pollEvery)
				require.Eventually(e.t, func() bool { return tb.Status().State == globaltable.Failed }, patience, pollEvery)
			},
			is: func(t *testing.T, err error) {
				failed := &globaltable.RunError{}
				require.ErrorAs(t, err, &failed)
			},
		},
		"it is closed": {
			fail: func(e *env, tb *table) { require.NoError(e.t, tb.Close()) },
			is:   func(t *testing.T, err error) { require.ErrorIs(t, err, globaltable.ErrClosed) },
		},
	} {
		for kind, join := range kinds {
			t.Run(name+"/"+kind, func(t *testing.T) {
				each(t, func(t *testing.T, e *env) {
					e.row(0, "a", "1")
					e.puts("a", "a")
					tb := e.table()
					r := e.start(join(e.source(), tb, byValue, show), stream.OnBadRecord(stream.Skip))
					r.until("both are committed", func(stream.Stats) bool { return e.committed() == 2 })
					tc.fail(e, tb)
					e.puts("a", "b")
					tc.is(t, r.wait())
					require.EqualValues(t, 2, e.committed(), "nothing is committed past the failure")
					require.Equal(t, []string{"a+1", "a+1"}, e.values())
					require.Zero(t, r.Stats().BadRecords, "it is not about a record")
					require.Empty(t, r.Stats().Dropped)
				})
			})
		}
	}
}

// A table whose Run has ended well goes on answering.
func TestStoppedTableStillJoins(t *testing.T) {
	e := onFake(t)
	e.row(0, "a", "1")
	tb, stop := stoppable(e, codec.String(), codec.String())
	require.NoError(t, tb.WaitReady(e.ctx()))
	stop()
	require.Equal(t, globaltable.Stopped, tb.Status().State)
	e.puts("a", "b")
	s := build(e.source(), newConfig(false, nil), lookup[string, string](tb), byValue, show)
	e.mustRun(s)
	require.Equal(t, []string{"a+1"}, e.values())
}

// Partitions that need no row go on while others wait for the table.
func TestOnlyWhoNeedsTheTableWaits(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		e := newEnv(t, b, 1, 2)
		e.row(0, "a", "1")
		e.produce(&kgo.Record{Topic: e.in, Partition: 0, Value: []byte("a")})
		for range 3 {
			e.produce(&kgo.Record{Topic: e.in, Partition: 1, Value: []byte("")})
		}
		g := newGate()
		s := notReady(e, "left", g, byValue)
		r := e.start(s)
		r.outputs(3)
		require.Equal(t, "+null+null+null", strings.Join(e.values(), ""))
		r.until("the other one waits", func(s stream.Stats) bool { return s.Retries >= 1 })
		g.open()
		r.outputs(4)
		require.NoError(t, r.stop())
	})
}
