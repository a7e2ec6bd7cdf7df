package kafkatest

import (
	"context"
	"fmt"
	"time"
)

// poll calls try until it returns nil, pausing in between, or until ctx ends;
// then it returns the error of the last try. It is for what happens in another
// process, which nothing here can be told of.
func poll(ctx context.Context, every time.Duration, try func() error) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (given up: %w)", err, context.Cause(ctx))
		case <-ticker.C:
		}
	}
}
