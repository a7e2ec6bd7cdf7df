package stream

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/internal/kafkatest"
)

// bubble runs a worker in a bubble of its own time, on a broker with n records
// in topic "in", partition 0.
func bubble(t *testing.T, n int, body func(t *testing.T, e *env, in string)) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, kafkatest.FakeVirtual(t))
		in := e.topic("in", 1)
		e.putN(in, 0, 0, n)
		body(t, e, in)
	})
}

func TestStopWaitsForOneRecordOnly(t *testing.T) {
	bubble(t, 500, func(t *testing.T, e *env, in string) {
		const work = 3 * time.Second
		begun := make(chan time.Time, 500)
		r := e.start(ForEach(strs(in), func(context.Context, Record[string, string]) error {
			begun <- time.Now()
			time.Sleep(work)
			return nil
		}))
		began := <-begun
		time.Sleep(time.Second)
		r.cancel()
		<-r.done
		require.NoError(t, r.err)
		require.WithinDuration(t, began.Add(work), time.Now(), time.Second)
		require.EqualValues(t, 1, e.committed(e.group(), in, 0))
	})
}

func TestStopGivesUpAtTheTimeout(t *testing.T) {
	for name, ignores := range map[string]bool{"its context ends": false, "a function that ignores it": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 5, func(t *testing.T, e *env, in string) {
				begun, never := make(chan struct{}), make(chan struct{})
				r := e.start(ForEach(strs(in), func(ctx context.Context, _ Record[string, string]) error {
					close(begun)
					if ignores {
						<-never
						return nil
					}
					<-ctx.Done()
					return ctx.Err()
				}), ShutdownTimeout(7*time.Second))
				<-begun
				stopped := time.Now()
				r.cancel()
				<-r.done
				took := time.Since(stopped)
				require.GreaterOrEqual(t, took, 7*time.Second)
				require.Less(t, took, 7*time.Second+abandonGrace+time.Second)
				require.Zero(t, r.Stats().BadRecords, "a record that was given up is not a bad one")
				require.ErrorIs(t, r.err, ErrShutdownTimeout)
				require.EqualValues(t, -1, e.committed(e.group(), in, 0))
				close(never)
			})
		})
	}
}

func TestStopWaitsForAcknowledgementsUpToTheTimeout(t *testing.T) {
	for name, late := range map[string]time.Duration{"in time": 4 * time.Second, "too late": time.Minute} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 5, func(t *testing.T, e *env, in string) {
				out := e.topic("out", 1)
				held := make(chan struct{}, 100)
				e.fake.ControlKey(kmsg.Produce.Int16(), func(kmsg.Request) (kmsg.Response, error, bool) {
					held <- struct{}{}
					e.fake.SleepControl(func() { time.Sleep(late) })
					return nil, nil, false
				})
				r := e.start(toStrs(strs(in), out), ShutdownTimeout(10*time.Second))
				<-held
				stopped := time.Now()
				r.cancel()
				<-r.done
				took := time.Since(stopped)
				if late > 10*time.Second {
					defer time.Sleep(late) // until the broker's goroutine has ended
					require.ErrorIs(t, r.err, ErrShutdownTimeout)
					require.ErrorContains(t, r.err, "5 outputs")
					require.WithinRange(t, stopped.Add(took), stopped.Add(10*time.Second), stopped.Add(12*time.Second))
					require.EqualValues(t, -1, e.committed(e.group(), in, 0))
					return
				}
				require.NoError(t, r.err)
				require.WithinRange(t, stopped.Add(took), stopped.Add(3*time.Second), stopped.Add(5*time.Second))
				require.EqualValues(t, 5, e.committed(e.group(), in, 0))
			})
		})
	}
}

func TestBackoffGrowsToFiveSeconds(t *testing.T) {
	bubble(t, 1, func(t *testing.T, e *env, in string) {
		times := make(chan time.Time, 100)
		r := e.start(ForEach(strs(in), func(context.Context, Record[string, string]) error {
			times <- time.Now()
			return codec.Retryable(errors.New("away"))
		}))
		last := <-times
		var gaps []time.Duration
		for range 8 {
			next := <-times
			gaps = append(gaps, next.Sub(last))
			last = next
		}
		ms := time.Millisecond
		require.Equal(t, []time.Duration{100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms, 3200 * ms, 5000 * ms, 5000 * ms}, gaps)
		stopped := time.Now()
		r.cancel()
		<-r.done
		require.NoError(t, r.err)
		require.Less(t, time.Since(stopped), time.Second, "a stop does not wait for the back-off")
	})
}

func TestCommitInterval(t *testing.T) {
	bubble(t, 3, func(t *testing.T, e *env, in string) {
		commits := make(chan time.Time, 10)
		hook := new(commitHook)
		hook.before(func([]Offset) { commits <- time.Now() })
		done := make(chan time.Time, 3)
		r := e.start(ForEach(strs(in), func(context.Context, Record[string, string]) error {
			done <- time.Now()
			return nil
		}), CommitInterval(30*time.Second), Hooks(hook))
		at := <-done
		require.WithinDuration(t, at.Add(30*time.Second), <-commits, 2*time.Second)
		require.Equal(t, [][]Offset{{{in, 0, 3}}}, hook.all())
		time.Sleep(5 * time.Minute)
		require.NoError(t, r.stop())
		require.Len(t, hook.all(), 1, "nothing new, no commit")
	})
}

func TestUnreachableBrokersDoNotDelayAStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := kafkatest.FakeVirtual(t)
		e := newEnv(t, b)
		in := e.topic("in", 1)
		e.putN(in, 0, 0, 3)
		var c collector
		r := e.start(ForEach(strs(in), c.add), ShutdownTimeout(10*time.Second), Kafka(kgo.RetryTimeout(5*time.Second)))
		for r.Stats().Commits == 0 {
			time.Sleep(10 * time.Millisecond)
		}
		b.Fake().Close()
		time.Sleep(30 * time.Second)
		require.Equal(t, StateRunning, r.Stats().State)
		require.Error(t, r.Stats().LastError, "it is visible")
		stopped := time.Now()
		r.cancel()
		<-r.done
		require.NoError(t, r.err, "there was nothing left to commit")
		require.Less(t, time.Since(stopped), 11*time.Second)
	})
}
