package kafkatest

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPollUntilDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, tries := time.Now(), 0
		require.NoError(t, poll(t.Context(), time.Second, func() error {
			if tries++; tries < 4 {
				return errors.New("not yet")
			}
			return nil
		}))
		require.Equal(t, 4, tries)
		require.Equal(t, 3*time.Second, time.Since(start), "the first try does not wait")
	})
}

func TestPollGivesUpWithTheLastError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		last := errors.New("not yet")
		err := poll(ctx, time.Second, func() error { return last })
		require.ErrorIs(t, err, last)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestPollTellsWhyItWasCancelled(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errExited)
	err := poll(ctx, time.Hour, func() error { return errors.New("not yet") })
	require.ErrorIs(t, err, errExited)
}
