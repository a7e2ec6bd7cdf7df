package stream

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"log/slog"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/internal/kafkatest"
)

func TestAskRepeatsUntilAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &Worker{log: slog.New(slog.DiscardHandler)}
		away := errors.New("away")
		began, tries := time.Now(), 0
		require.NoError(t, w.ask(t.Context(), func(context.Context) error {
			if tries++; tries < 7 {
				return away
			}
			return nil
		}))
		// 100 + 200 + 400 + 800 ms, then 1 s each.
		require.Equal(t, 3500*time.Millisecond, time.Since(began))
		require.ErrorIs(t, w.Stats().LastError, away)
	})
}

func TestAskBoundsEachQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &Worker{log: slog.New(slog.DiscardHandler)}
		ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second)
		defer cancel()
		asked := 0
		err := w.ask(ctx, func(ctx context.Context) error {
			asked++
			<-ctx.Done()
			return ctx.Err()
		})
		require.Error(t, err)
		require.Equal(t, 3, asked)
		require.ErrorIs(t, w.Stats().LastError, context.DeadlineExceeded, "a broker that does not answer is visible")
	})
}

func TestAskStopsWhenDenied(t *testing.T) {
	w := &Worker{log: slog.New(slog.DiscardHandler)}
	for _, err := range []error{kerr.TopicAuthorizationFailed, kerr.SaslAuthenticationFailed, kerr.InvalidTopicException} {
		asked := 0
		require.ErrorIs(t, w.ask(t.Context(), func(context.Context) error { asked++; return err }), err)
		require.Equal(t, 1, asked)
	}
	require.False(t, denied(kerr.UnknownTopicOrPartition))
	require.False(t, denied(nil))
}

func TestMissingTopicsAreCreatedOnRequest(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t, kfake.AllowAutoTopicCreation(), kfake.DefaultNumPartitions(1)))
	in, out := e.topic("in", 1), e.prefix+"out"
	e.put(in, 0, "k", "v")
	r := e.start(toStrs(strs(in), out))
	r.until("it waits", func(s Stats) bool { return s.LastError != nil })
	require.ErrorContains(t, r.Stats().LastError, out, "not by itself, though the broker would")
	require.NoError(t, r.stop())

	_, err := e.runToEnd(toStrs(strs(in), out), Kafka(kgo.AllowAutoTopicCreation()))
	require.NoError(t, err)
	require.Equal(t, []string{"v"}, values(e.read(out)))
}

func TestTheDeadLetterTopicIsAwaitedToo(t *testing.T) {
	e := onFake(t)
	in := e.topic("in", 1)
	r := e.start(ForEach(strs(in), new(collector).add), OnBadRecord(DeadLetter(e.prefix+"dead")))
	r.until("it waits", func(s Stats) bool { return s.LastError != nil })
	require.ErrorContains(t, r.Stats().LastError, "dead")
	e.topic("dead", 1)
	r.until("it runs", func(s Stats) bool { return s.State == StateRunning })
	require.NoError(t, r.stop())
}
