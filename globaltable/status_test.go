package globaltable

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/globaltable/enrich/internal/kafkatest"
)

func TestStateNames(t *testing.T) {
	for s, want := range map[State]string{
		Starting: "starting", Bootstrapping: "bootstrapping", Ready: "ready", Stale: "stale", Verifying: "verifying",
		Rebuilding: "rebuilding", Stopped: "stopped", Failed: "failed", Closed: "closed", -1: "state--1", 9: "state-9",
	} {
		require.Equal(t, want, s.String())
	}
}

func TestStatusString(t *testing.T) {
	require.Equal(t, "ready", Status{State: Ready}.String())
	require.Equal(t, "stale: no leader", Status{State: Stale, Err: errors.New("no leader")}.String())
	require.Equal(t, "verifying ClockMovedBack", Status{State: Verifying, Reason: ClockMovedBack}.String())
}

// What a change of the status does and whom it tells. Time is virtual.
func TestStatusChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &recorder{}
		f := alone(t, 1, Hooks(h))
		e := f.e
		defer func() { require.NoError(t, e.close()) }()
		born := time.Now()
		require.Equal(t, Status{State: Starting, Since: born}, e.currentStatus())
		expect := func(calls int, want Status) {
			t.Helper()
			require.Equal(t, want, e.currentStatus())
			require.Len(t, h.statuses, calls)
			if calls > 0 {
				require.Equal(t, want, h.statuses[calls-1], "the hook is told the same")
			}
		}
		tick := func() time.Time { time.Sleep(time.Second); return time.Now() }

		// Trouble before it is ready is what it waits for, and no other state.
		tick()
		away := errors.New("no broker")
		e.trouble(away)
		expect(1, Status{State: Starting, Err: away, Since: born})
		e.trouble(errors.New("no broker"))
		require.Len(t, h.statuses, 1, "the same text is nothing new")
		e.trouble(errors.New("no leader"))
		require.Len(t, h.statuses, 2)
		e.trouble(nil)
		expect(3, Status{State: Starting, Since: born})
		e.trouble(nil)
		require.Len(t, h.statuses, 3)

		ready := tick()
		e.setStatus(Ready, "", nil)
		expect(4, Status{State: Ready, Since: ready})
		tick()
		e.setStatus(Ready, "", nil)
		require.Len(t, h.statuses, 4)

		// Once it is, trouble makes it stale, and the end of it ready again.
		stale := tick()
		e.trouble(away)
		expect(5, Status{State: Stale, Err: away, Since: stale})
		tick()
		other := errors.New("no leader")
		e.trouble(other)
		expect(6, Status{State: Stale, Err: other, Since: stale})
		back := tick()
		e.trouble(nil)
		expect(7, Status{State: Ready, Since: back})

		// While it verifies or rebuilds, trouble is told beside that.
		begun := tick()
		e.setStatus(Verifying, TombstonesExpired, nil)
		e.trouble(away)
		expect(9, Status{State: Verifying, Reason: TombstonesExpired, Err: away, Since: begun})
		again := tick()
		e.setStatus(Verifying, BelowLogStart, away)
		expect(10, Status{State: Verifying, Reason: BelowLogStart, Err: away, Since: again})

		closed := tick()
		require.NoError(t, e.close())
		expect(11, Status{State: Closed, Since: closed})
		e.setStatus(Ready, "", nil)
		require.Equal(t, Closed, e.currentStatus().State, "closed is the end")
	})
}

// Hooks are told statuses one at a time and in the order in which they became
// true, whoever changes them.
func TestStatusesAreToldInOrder(t *testing.T) {
	var told []Status // without a lock: the race detector tells if two come at once
	f := alone(t, 1, Hooks(statusFunc(func(s Status) { told = append(told, s) })))
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 200 {
				switch i % 4 {
				case 0:
					f.e.trouble(fmt.Errorf("%d-%d", w, i))
				case 1:
					f.e.setStatus(Ready, "", nil)
				case 2:
					f.e.trouble(nil)
				default:
					f.e.setStatus(Rebuilding, TopicRecreated, nil)
				}
			}
		})
	}
	wg.Wait()
	require.Equal(t, f.e.currentStatus(), told[len(told)-1], "the last one is what is")
	for i := 1; i < len(told); i++ {
		a, b := told[i-1], told[i]
		require.False(t, a.State == b.State && a.Reason == b.Reason && sameError(a.Err, b.Err), "a change changes something")
		require.False(t, b.Since.Before(a.Since))
		if a.State == b.State && a.Reason == b.Reason {
			require.Equal(t, a.Since, b.Since)
		}
		if b.State == Stale {
			require.Error(t, b.Err)
			require.Contains(t, []State{Ready, Stale}, a.State, "what was not ready does not become stale")
		}
	}
}

type statusFunc func(Status)

func (fn statusFunc) OnStatus(s Status) { fn(s) }

// The states of whole stories, in order, and what they wait for.
func TestStories(t *testing.T) {
	type story struct {
		name string
		run  func(t *testing.T, e *env, h *recorder)
		want []string
	}
	for _, s := range []story{
		{"brokers are away at first", func(t *testing.T, e *env, h *recorder) {
			g := newGate(e.broker)
			g.shut()
			r := e.open(Hooks(h))
			r.until("it says so", func() bool { return r.Status().Err != nil })
			require.Equal(t, Starting, r.Status().State)
			g.open()
			r.waitReady()
			require.NoError(t, r.Status().Err)
			r.close()
		}, []string{"starting", "bootstrapping", "ready", "stopped", "closed"}},

		{"brokers go away and come back", func(t *testing.T, e *env, h *recorder) {
			r := e.ready(Hooks(h))
			g := newGate(e.broker)
			g.shut()
			r.until("it is stale", func() bool { return r.Status().State == Stale })
			require.Error(t, r.Status().Err)
			require.Equal(t, e.want, r.rows())
			g.open()
			r.until("it is ready", func() bool { return r.Status().State == Ready })
			require.NoError(t, r.Status().Err)
			r.close()
		}, []string{"bootstrapping", "ready", "stale", "ready", "stopped", "closed"}},

		{"a restart", func(t *testing.T, e *env, h *recorder) {
			dir := t.TempDir()
			e.ready(Dir(dir)).close()
			e.ready(Dir(dir), Hooks(h)).close()
		}, []string{"bootstrapping", "ready", "stopped", "closed"}},

		{"a verification at start", func(t *testing.T, e *env, h *recorder) {
			dir := t.TempDir()
			e.ready(Dir(dir)).close()
			inStore(t, e.topic, dir, func(s *storeState) { s.At(0).AtEnd = time.Now().Add(time.Hour) })
			e.ready(Dir(dir), Hooks(h)).close()
		}, []string{"verifying ClockMovedBack", "ready", "stopped", "closed"}},

		{"a rebuild at start", func(t *testing.T, e *env, h *recorder) {
			dir := t.TempDir()
			e.ready(Dir(dir)).close()
			e.ready(Dir(dir), Hooks(h), ReadUncommitted()).close()
		}, []string{"rebuilding IsolationChanged", "ready", "stopped", "closed"}},

		{"the topic is deleted and created anew while it runs", func(t *testing.T, e *env, h *recorder) {
			r := e.ready(Hooks(h))
			e.deleteTopic()
			r.until("it is stale", func() bool { return errors.Is(r.Status().Err, ErrTopicAbsent) })
			require.Equal(t, Stale, r.Status().State)
			e.createAgain(1)
			r.until("it is rebuilt", func() bool { return r.Status().State == Ready })
			require.NoError(t, r.Status().Err)
			r.close()
		}, []string{"bootstrapping", "ready", "stale", "rebuilding TopicRecreated", "ready", "stopped", "closed"}},

		{"a topic that is not compacted", func(t *testing.T, e *env, h *recorder) {
			e.topic = e.broker.CreateTopic(t, "deleted", 1, 1, map[string]string{"cleanup.policy": "delete"})
			r := e.open(Hooks(h))
			require.Error(t, r.runErr())
			require.NoError(t, r.Close())
		}, []string{"failed", "closed"}},

		{"closed without a run", func(t *testing.T, e *env, h *recorder) {
			tb, err := Open(e.topic, stringKey, stringKey, e.opts(InMemory(), Hooks(h))...)
			require.NoError(t, err)
			require.NoError(t, tb.Close())
		}, []string{"closed"}},

		{"closed while it runs", func(t *testing.T, e *env, h *recorder) {
			r := e.ready(Hooks(h))
			require.NoError(t, r.Close())
			require.ErrorIs(t, r.runErr(), ErrClosed)
		}, []string{"bootstrapping", "ready", "closed"}},
	} {
		t.Run(s.name, func(t *testing.T) {
			e := newEnv(t, kafkatest.Fake(t), 1)
			e.put("a=1", "b=2")
			h := &recorder{}
			s.run(t, e, h)
			require.Equal(t, s.want, h.states())
			last := h.statuses[len(h.statuses)-1]
			require.Equal(t, Closed, last.State)
			require.NoError(t, last.Err)
		})
	}
}

// A verification while running goes over verifying to ready, and the trouble that
// led to it is over by then. Time is virtual.
func TestStoryOfAVerificationWhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := kafkatest.FakeVirtual(t)
		e := newEnv(t, b, 1)
		e.put("a=1")
		h := &recorder{}
		fetches := newGate(b, kmsg.Fetch)
		r := e.ready(Hooks(h), DeleteRetention(time.Minute))
		fetches.shut()
		time.Sleep(time.Hour) // virtual
		e.put("b=2")
		require.Equal(t, Stale, r.Status().State)
		fetches.open()
		time.Sleep(time.Minute)
		synctest.Wait()
		e.holds(r)
		require.Equal(t, Ready, r.Status().State)
		require.NoError(t, r.Status().Err)
		r.close()
		states := h.states()
		require.Equal(t, []string{"bootstrapping", "ready", "stale"}, states[:3])
		require.Contains(t, states, "verifying TombstonesExpired")
		require.Equal(t, []string{"ready", "stopped", "closed"}, states[len(states)-3:])
	})
}
