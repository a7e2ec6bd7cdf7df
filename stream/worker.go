package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Worker runs a stream as one member of its group. Make it with [New].
type Worker struct {
	cfg   config
	sink  Sink
	hooks hooks
	log   *slog.Logger
	count counters
	state atomic.Int32

	started atomic.Bool
	halt    context.CancelCauseFunc
	failMu  sync.Mutex
	err     error // what ended the run, if something went wrong

	base   context.Context // Run's, without its end
	client *kgo.Client     // consumes and produces
	pool   recordPool      // of client
	ready  chan struct{}   // closed when client is set: its callbacks may come before
	admin  *admin          // asks; a fetch of the other client does not delay it

	mu        sync.Mutex
	parts     map[topicPartition]*partition
	stopping  bool             // no partition is taken any more
	closing   bool             // what had to be committed is; partitions are just given back
	lastParts []PartitionStats // set when the partitions were given back at the end

	commitMu sync.Mutex
	noCommit bool // nothing may be committed any more; guarded by commitMu
}

type topicPartition struct {
	topic     string
	partition int32
}

// Run makes a [Worker] and runs it: see [New] and [Worker.Run].
func Run(ctx context.Context, sink Sink, opts ...Opt) error {
	w, err := New(sink, opts...)
	if err != nil {
		return err
	}
	return w.Run(ctx)
}

// New makes a worker that runs the chain that ends in sink. It needs
// [Brokers] and [Group]. It connects to nothing; the error says which options
// or operators are wrong.
func New(sink Sink, opts ...Opt) (*Worker, error) {
	cfg := newConfig(opts)
	err := cfg.validate()
	if sink.open == nil && sink.plan.err == nil {
		err = errors.Join(err, errors.New("stream: no sink: end the chain with To or ForEach"))
	}
	if err := errors.Join(err, sink.plan.err); err != nil {
		return nil, err
	}
	w := &Worker{cfg: cfg, sink: sink, hooks: cfg.hooks, log: cfg.logger, ready: make(chan struct{}), parts: make(map[topicPartition]*partition)}
	w.log = w.log.With("group", cfg.group, "topics", sink.plan.sources)
	if err := w.checkKafka(); err != nil {
		return nil, err
	}
	return w, nil
}

// checkKafka finds pass-through options that would break a promise.
func (w *Worker) checkKafka() error {
	if err := kgo.ValidateOpts(w.clientOpts()...); err != nil {
		return fmt.Errorf("stream: Kafka options: %w", err)
	}
	// A client knows its options. This one consumes nothing, so it does not
	// connect.
	cl, err := kgo.NewClient(w.cfg.asking()...)
	if err != nil {
		return fmt.Errorf("stream: Kafka options: %w", err)
	}
	defer cl.Close()
	set := func(name string) bool { v, _ := cl.OptValue(name).(bool); return v }
	if id, ok := cl.OptValue(kgo.TransactionalID).(string); ok && id != "" {
		return errors.New("stream: Kafka options: TransactionalID is not supported here")
	}
	for _, name := range []string{"DisableIdempotentWrite", "ManualFlushing", "ConsumeRegex", "KeepRetryableFetchErrors"} {
		if set(name) {
			return fmt.Errorf("stream: Kafka options: %s is not supported here", name)
		}
	}
	return nil
}

// Run consumes, processes and produces until ctx ends, and then returns nil.
// It can be called once.
//
// It waits, visibly in Stats and log, for every dependency, for the brokers,
// and for every topic; then it joins its group. It ends early, with an error,
// if a dependency fails, under the policy [Fail] for a bad record
// ([*RecordError]), if a [Processor] returns an error, if Kafka refuses an
// output for good ([*ProduceError]), if records are gone before they were read
// ([*DataLossError]), if BeforeCommit fails, if access is denied, or if a
// worker with the same [InstanceID] took over. Brokers that cannot be reached
// do not end it.
//
// However it ends, what has begun is finished, outputs are awaited, and what
// is acknowledged is committed, within [ShutdownTimeout]; records that have
// not begun are left to the next run. If that fails, or takes too long
// ([ErrShutdownTimeout]), Run says so in its error.
func (w *Worker) Run(ctx context.Context) error {
	if w.started.Swap(true) {
		return ErrRunTwice
	}
	w.base = context.WithoutCancel(ctx)
	ctx, w.halt = context.WithCancelCause(ctx)
	defer w.halt(nil)
	defer w.setState(StateStopped)

	if err := w.run(ctx); err != nil {
		w.log.Error("stream ended", "error", err)
		return err
	}
	return nil
}

func (w *Worker) run(ctx context.Context) error {
	admin, err := newAdmin(w)
	if err != nil {
		return err
	}
	w.admin = admin
	defer admin.close()

	if err := w.waitForDependencies(ctx); err != nil {
		return endOf(ctx, err)
	}
	if err := w.waitForTopics(ctx); err != nil {
		return endOf(ctx, err)
	}
	var end *endWatch
	if w.cfg.stopAtEnd {
		if end, err = w.readEnds(ctx); err != nil {
			return endOf(ctx, err)
		}
	}
	if w.client, err = kgo.NewClient(w.clientOpts()...); err != nil {
		return fmt.Errorf("stream: %w", err)
	}
	close(w.ready)
	w.setState(StateRunning)

	var background sync.WaitGroup
	background.Go(func() { w.commitLoop(ctx) })
	if end != nil {
		background.Go(func() { w.watchEnd(ctx, end) })
	}
	w.consume(ctx)
	w.stopBeginning()
	w.setState(StateStopping)
	background.Wait()
	stopErr := w.shutdown()

	w.failMu.Lock()
	defer w.failMu.Unlock()
	return errors.Join(w.err, stopErr)
}

// endOf is what Run returns when it ends before it consumed anything.
func endOf(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// fail ends the run with an error; only the first one counts.
func (w *Worker) fail(err error) {
	w.failMu.Lock()
	if w.err == nil {
		w.err = err
	}
	w.failMu.Unlock()
	w.halt(err)
}

func (w *Worker) setState(s State) {
	if State(w.state.Swap(int32(s))) != s {
		w.log.Info("stream state", "state", s.String())
		w.hooks.state(s)
	}
}

// clientOpts are the options of the client that consumes and produces.
func (w *Worker) clientOpts() []kgo.Opt {
	isolation := kgo.ReadCommitted()
	if w.cfg.uncommitted {
		isolation = kgo.ReadUncommitted()
	}
	opts := append(w.cfg.shared(),
		kgo.ConsumerGroup(w.cfg.group),
		kgo.ConsumeTopics(w.sink.plan.sources...),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
		kgo.FetchIsolationLevel(isolation),
		kgo.KeepControlRecords(),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.OnPartitionsAssigned(w.assigned),
		kgo.OnPartitionsRevoked(w.revoked),
		kgo.OnPartitionsLost(w.lost),
		kgo.AdjustFetchOffsetsFn(w.offsetsFetched),
		kgo.WithHooks(connectHook{w}),
		kgo.WithPools(&w.pool),
	)
	if w.cfg.instance != "" {
		opts = append(opts, kgo.InstanceID(w.cfg.instance))
	}
	return opts
}

// connectHook makes brokers that cannot be reached visible.
type connectHook struct{ w *Worker }

// OnBrokerConnect implements kgo's hook.
func (h connectHook) OnBrokerConnect(meta kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, kgo.ErrClientClosed) {
		h.w.note(fmt.Errorf("connect to broker %s: %w", net.JoinHostPort(meta.Host, fmt.Sprint(meta.Port)), err))
	}
}

// allParts returns the assigned partitions.
func (w *Worker) allParts() []*partition {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Values(w.parts))
}
