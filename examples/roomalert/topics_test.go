package main

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/internal/kafkatest"
)

func TestExistingTopicsAreUsedAsTheyAre(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		devices := b.CreateTopic(t, "devices", 1, 1, kafkatest.Compacted())
		readings := b.CreateTopic(t, "readings", 2, 1, forever())
		b.Produce(t, &kgo.Record{Topic: readings, Key: []byte("k")})
		var out output
		c, err := newCluster(b.Addrs(), nil, newConsole(&out, &out, false))
		require.NoError(t, err)
		defer c.close()
		require.NoError(t, c.ensureTopics(t.Context(), specs(&config{devicesTopic: devices, readingsTopic: readings})))
		p, err := c.find(t.Context(), readings)
		require.NoError(t, err)
		require.Equal(t, readings, p.topic)
		require.NotEmpty(t, p.cluster)
		require.NotEmpty(t, p.topicID)
		require.Len(t, p.ends, 2)
		require.EqualValues(t, 1, p.ends[0]+p.ends[1])
		require.Empty(t, out.String())

		_, limited := c.retention(t.Context(), readings)
		require.False(t, limited)
		_, limited = c.retention(t.Context(), devices)
		require.False(t, limited, "a compacted topic deletes nothing by age")
		keeps, limited := c.retention(t.Context(), b.CreateTopic(t, "short", 1, 1, map[string]string{"retention.ms": "60000"}))
		require.True(t, limited)
		require.Equal(t, time.Minute, keeps)
	})
}

func TestPersistTellsWhatItWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out output
		c := &cluster{reach: new(reach), con: newConsole(&out, &out, false)}
		begun, attempts := time.Now(), 0
		require.NoError(t, c.persist(t.Context(), "topics", func(context.Context) error {
			attempts++
			switch {
			case time.Since(begun) < 10*time.Second:
				return errors.New("not yet")
			case time.Since(begun) < 20*time.Second:
				return errors.New("nearly")
			}
			return nil
		}))
		require.Equal(t, "roomalert: topics: not yet; trying again until it works\nroomalert: topics: nearly; trying again until it works\n", out.String())
		require.Less(t, attempts, 20, "with a growing pause")
		require.Less(t, time.Since(begun), 23*time.Second, "of 2 s at most")
	})
}

func TestPersistIsQuietAboutWhatPassesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out output
		c := &cluster{reach: new(reach), con: newConsole(&out, &out, false)}
		attempts := 0
		require.NoError(t, c.persist(t.Context(), "topic", func(context.Context) error {
			if attempts++; attempts < 3 {
				return kerr.UnknownTopicOrPartition
			}
			return nil
		}))
		require.Empty(t, out.String())
	})
}

func TestPersistBoundsAnAttemptAndStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{reach: new(reach), con: newConsole(&output{}, &output{}, false)}
		ctx, stop := context.WithCancel(t.Context())
		begun, attempts := time.Now(), 0
		err := c.persist(ctx, "topics", func(ctx context.Context) error {
			if attempts++; attempts == 2 {
				stop()
			}
			<-ctx.Done()
			return ctx.Err()
		})
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, 2, attempts)
		require.Equal(t, askFor+100*time.Millisecond, time.Since(begun))
	})
}

func TestPersistGivesUpWhereWaitingDoesNotHelp(t *testing.T) {
	c := &cluster{reach: new(reach), con: newConsole(&output{}, &output{}, false)}
	err := c.persist(t.Context(), "topics", func(context.Context) error { return fmt.Errorf("create: %w", kerr.TopicAuthorizationFailed) })
	require.ErrorIs(t, err, kerr.TopicAuthorizationFailed)
	require.ErrorContains(t, err, "topics: create: ")
}
