package globaltable

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/internal/feed"
	"github.com/globaltable/enrich/internal/kafkatest"
	"github.com/globaltable/enrich/internal/store"
)

// What ends Run, and what is waited out.
func TestFatalErrors(t *testing.T) {
	full := &WriteError{Op: "write", Path: "x", Err: errors.New("no space")}
	for _, c := range []struct {
		err   error
		fatal bool
	}{
		{nil, false},
		{errors.New("anything"), false},
		{context.DeadlineExceeded, false},
		{feed.ErrTopicAbsent, false},
		{&feed.TopicChangedError{}, false},
		{&feed.OutOfRangeError{}, false},
		{&feed.DivergedError{}, false},
		{store.ErrCorrupt, false},
		{kerr.LeaderNotAvailable, false},
		{&NotCompactedError{Topic: "t"}, true},
		{full, true},
		{&rebuildError{full}, false},
		{&rebuildError{errors.New("anything")}, false},
		{&rebuildError{kerr.TopicAuthorizationFailed}, true},
		{kerr.TopicAuthorizationFailed, true},
		{kerr.ClusterAuthorizationFailed, true},
		{kerr.SaslAuthenticationFailed, true},
		{kerr.UnsupportedSaslMechanism, true},
		{kerr.InvalidTopicException, true},
		{store.ErrClosed, true},
		{errInternal, true},
	} {
		for _, err := range []error{c.err, wrapped(c.err)} {
			got := fatalError(err)
			if !c.fatal {
				require.NoError(t, got, "%v", err)
				continue
			}
			require.ErrorIs(t, got, c.err)
		}
	}
	require.ErrorIs(t, fatalError(errors.Join(errors.New("first"), full)), full)
}

func wrapped(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("broker 1: %w", err)
}

// A read that meets a generation which was swapped away is done on the next one;
// if there is no other, the table was closed.
func TestReadsGoToTheNextGeneration(t *testing.T) {
	f := alone(t, 1)
	e, first := f.e, f.gen
	second, err := e.root.Create(first.Identity())
	require.NoError(t, err)
	reads := 0
	read := func(v *view) error {
		reads++
		_, _, err := v.gen.Get([]byte("a"))
		return err
	}
	require.ErrorIs(t, e.onView(read), ErrNotReady)
	require.Zero(t, reads)

	e.serve(first)
	require.NoError(t, e.onView(read))
	require.Equal(t, 1, reads)

	// It is swapped away while the read begins.
	var seen []uint64
	require.NoError(t, e.onView(func(v *view) error {
		seen = append(seen, v.gen.Number())
		if v.gen == first {
			require.NoError(t, e.root.Promote(second))
			e.serve(second)
			require.NoError(t, e.root.Discard(first))
		}
		return read(v)
	}))
	require.Equal(t, []uint64{first.Number(), second.Number()}, seen)

	// Other errors are the caller's, with the table's name.
	bad := errors.New("bad")
	err = e.onView(func(*view) error { return bad })
	require.ErrorIs(t, err, bad)
	require.EqualError(t, err, "globaltable: table devices: bad")

	// Closed, before and after the view says so.
	require.NoError(t, e.root.Close())
	require.ErrorIs(t, e.onView(read), ErrClosed)
	require.NoError(t, e.close())
	require.ErrorIs(t, e.onView(read), ErrClosed)
}

// Many goroutines close, run and wait at once: each gets an answer, and there is
// one run at most.
func TestCloseRunAndWaitAtOnce(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	e.put("a=1")
	for range 20 {
		tb, err := Open(e.topic, codec.String(), codec.String(), e.opts(InMemory())...)
		require.NoError(t, err)
		var wg sync.WaitGroup
		start := make(chan struct{})
		ran := atomic.Int64{}
		for range 3 {
			wg.Go(func() {
				<-start
				err := tb.Run(context.Background())
				switch {
				case errors.Is(err, ErrRunTwice):
				case errors.Is(err, ErrClosed):
					ran.Add(1)
				default:
					t.Errorf("run: %v", err)
				}
			})
			wg.Go(func() {
				<-start
				if err := tb.WaitReady(context.Background()); err != nil && !errors.Is(err, ErrClosed) && !errors.Is(err, ErrNotReady) {
					t.Errorf("wait: %v", err)
				}
			})
			wg.Go(func() {
				<-start
				if err := tb.WaitFor(context.Background(), Position{Offset: 1}); err != nil && !errors.Is(err, ErrClosed) && !errors.Is(err, ErrNotReady) {
					t.Errorf("wait for: %v", err)
				}
			})
			wg.Go(func() {
				<-start
				if err := tb.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
		}
		close(start)
		wg.Wait()
		require.Positive(t, ran.Load())
		require.Equal(t, Closed, tb.Status().State)
		_, _, err = tb.Get("a")
		require.ErrorIs(t, err, ErrClosed)
	}
}

// refusal makes every broker answer questions for the topic with an error.
type refusal struct {
	asked atomic.Int64
	over  atomic.Bool
}

func refuse(e *env, why *kerr.Error) *refusal {
	r := &refusal{}
	e.broker.Fake().ControlKey(kmsg.Metadata.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		e.broker.Fake().KeepControl()
		m := req.(*kmsg.MetadataRequest)
		if r.over.Load() || len(m.Topics) != 1 {
			return nil, nil, false
		}
		r.asked.Add(1)
		resp := req.ResponseKind().(*kmsg.MetadataResponse)
		t := kmsg.NewMetadataResponseTopic()
		t.Topic, t.ErrorCode = m.Topics[0].Topic, why.Code
		resp.Topics = append(resp.Topics, t)
		return resp, nil, true
	})
	return r
}

// Access that is denied is an error of Run, which names the topic; waiting would
// not help.
func TestDeniedAccessEndsRun(t *testing.T) {
	for _, denied := range []*kerr.Error{kerr.TopicAuthorizationFailed, kerr.InvalidTopicException} {
		e := newEnv(t, kafkatest.Fake(t), 1)
		refuse(e, denied)
		r := e.open()
		err := r.runErr()
		require.ErrorIs(t, err, denied)
		require.ErrorContains(t, err, "table "+e.topic)
		require.Equal(t, Failed, r.Status().State)
		require.ErrorIs(t, r.Status().Err, denied)
		failed := &RunError{}
		require.ErrorAs(t, r.WaitReady(t.Context()), &failed)
		require.Equal(t, e.topic, failed.Topic)
		require.ErrorIs(t, failed, denied)
		require.ErrorAs(t, r.WaitFor(t.Context(), Position{}), &failed)
		_, err = r.Snapshot()
		require.ErrorAs(t, err, &failed)
		require.Empty(t, r.Positions())
	}
}

// What may go away is asked again, less and less often, and shows meanwhile. Time
// is virtual.
func TestTroubleAtStartIsWaitedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, kafkatest.FakeVirtual(t), 1)
		e.put("a=1")
		refused := refuse(e, kerr.LeaderNotAvailable)
		h := &recorder{}
		r := e.open(Hooks(h))
		time.Sleep(time.Minute) // virtual
		require.Equal(t, Starting, r.Status().State)
		require.ErrorIs(t, r.Status().Err, kerr.LeaderNotAvailable)
		// 100 ms, doubled each time up to 5 s: 17 questions in a minute, each
		// of which the client repeats.
		require.Less(t, refused.asked.Load(), int64(17*5), "not without a pause")
		require.GreaterOrEqual(t, refused.asked.Load(), int64(15), "nor never")
		refused.over.Store(true)
		time.Sleep(6 * time.Second) // virtual
		require.Equal(t, Ready, r.Status().State)
		require.NoError(t, r.Status().Err)
		e.holds(r)
		r.close()
		require.Equal(t, []string{"starting", "bootstrapping", "ready", "stopped", "closed"}, h.states())
	})
}
