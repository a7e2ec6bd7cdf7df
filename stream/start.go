package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"
)

// admin is the client for questions.
type admin struct {
	client *kgo.Client
	adm    *kadm.Client
	// autoCreate says that the user wants missing topics created.
	autoCreate bool
}

func newAdmin(w *Worker) (*admin, error) {
	cl, err := kgo.NewClient(append(w.cfg.asking(), kgo.WithHooks(connectHook{w}))...)
	if err != nil {
		return nil, fmt.Errorf("stream: %w", err)
	}
	auto, _ := cl.OptValue(kgo.AllowAutoTopicCreation).(bool)
	return &admin{client: cl, adm: kadm.NewClient(cl), autoCreate: auto}, nil
}

func (a *admin) close() { a.client.Close() }

// askFor bounds one question, so that a broker that does not answer becomes
// visible.
const askFor = 10 * time.Second

// ask repeats a question until it is answered, ctx ends, or the answer is no
// for good.
func (w *Worker) ask(ctx context.Context, question func(context.Context) error) error {
	for attempt := 0; ; attempt++ {
		err := func() error {
			ctx, cancel := context.WithTimeout(ctx, askFor)
			defer cancel()
			return question(ctx)
		}()
		if err == nil || ctx.Err() != nil || denied(err) {
			return err
		}
		w.note(err)
		if !sleep(ctx, min(backoffFirst<<min(attempt, 10), time.Second)) {
			return ctx.Err()
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// denied reports errors that waiting does not cure.
func denied(err error) bool {
	for _, e := range []error{
		kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed, kerr.ClusterAuthorizationFailed,
		kerr.SaslAuthenticationFailed, kerr.UnsupportedSaslMechanism, kerr.FencedInstanceID, kerr.InvalidTopicException,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (w *Worker) waitForDependencies(ctx context.Context) error {
	deps := w.sink.plan.deps
	if len(deps) == 0 {
		return nil
	}
	w.setState(StateWaitingForDependencies)
	group, ctx := errgroup.WithContext(ctx)
	for _, d := range deps {
		group.Go(func() error {
			if err := d.WaitReady(ctx); err != nil {
				return fmt.Errorf("stream: waiting for %s: %w", d.Name(), err)
			}
			return nil
		})
	}
	return group.Wait()
}

// waitForTopics waits until every topic that is read or written exists.
func (w *Worker) waitForTopics(ctx context.Context) error {
	w.setState(StateWaitingForTopics)
	topics := slices.Concat(w.sink.plan.sources, w.sink.plan.outputs)
	if dead, ok := w.cfg.badRecord.deadLetterTopic(); ok {
		topics = append(topics, dead)
	}
	slices.Sort(topics)
	topics = slices.Compact(topics)
	return w.ask(ctx, func(ctx context.Context) error {
		req := kmsg.NewPtrMetadataRequest()
		req.AllowAutoTopicCreation = w.admin.autoCreate
		for _, topic := range topics {
			t := kmsg.NewMetadataRequestTopic()
			t.Topic = kmsg.StringPtr(topic)
			req.Topics = append(req.Topics, t)
		}
		resp, err := req.RequestWith(ctx, w.admin.client)
		if err != nil {
			return fmt.Errorf("stream: ask for topics %s: %w", strings.Join(topics, ", "), err)
		}
		var errs []error
		for _, t := range resp.Topics {
			if err := kerr.ErrorForCode(t.ErrorCode); err != nil && t.Topic != nil {
				errs = append(errs, fmt.Errorf("stream: topic %s: %w", *t.Topic, err))
			}
		}
		return errors.Join(errs...)
	})
}
