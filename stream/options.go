package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Opt configures a [Worker]. Options are applied in order; of two that set the
// same thing the later one counts.
type Opt interface{ apply(*config) }

type opt func(*config)

func (o opt) apply(c *config) { o(c) }

type config struct {
	brokers      []string
	group        string
	instance     string
	kafka        []kgo.Opt
	uncommitted  bool
	stopAtEnd    bool
	interval     time.Duration
	beforeCommit func(context.Context) error
	badRecord    BadRecordPolicy
	maxInFlight  int
	fetchBytes   int32
	shutdown     time.Duration
	logger       *slog.Logger
	hooks        hooks
}

func newConfig(opts []Opt) config {
	c := config{
		interval:    time.Second,
		badRecord:   Fail,
		maxInFlight: 10_000,
		fetchBytes:  8 << 20,
		shutdown:    10 * time.Second,
		logger:      slog.New(slog.DiscardHandler),
	}
	for _, o := range opts {
		if o != nil {
			o.apply(&c)
		}
	}
	return c
}

func (c *config) validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("stream: "+format, args...)) }
	if len(c.brokers) == 0 {
		bad("no brokers: give Brokers(...)")
	}
	if c.group == "" {
		bad("no group: give Group(...)")
	}
	if c.interval <= 0 {
		bad("CommitInterval has to be above 0, not %v", c.interval)
	}
	if c.maxInFlight <= 0 {
		bad("MaxInFlight has to be above 0, not %d", c.maxInFlight)
	}
	if c.fetchBytes <= 0 {
		bad("FetchBytes has to be above 0, not %d", c.fetchBytes)
	}
	if c.shutdown <= 0 {
		bad("ShutdownTimeout has to be above 0, not %v", c.shutdown)
	}
	if !c.badRecord.valid() {
		bad("OnBadRecord takes Fail, Skip or DeadLetter(topic), not %q", string(c.badRecord))
	}
	for _, h := range c.hooks {
		if !isHook(h) {
			bad("%T implements none of the Hook interfaces", h)
		}
	}
	return errors.Join(errs...)
}

// Which cluster, and as whom.

// Brokers sets the addresses, host:port, of some brokers of the cluster. It is
// required.
func Brokers(addrs ...string) Opt { return opt(func(c *config) { c.brokers = addrs }) }

// Group sets the consumer group: workers with one group share the partitions
// of the source topic. It is required.
func Group(name string) Opt { return opt(func(c *config) { c.group = name }) }

// InstanceID makes the worker a static member of its group: one that restarts
// within the session timeout gets its partitions back without a rebalance, and
// does not leave the group when it stops. The id has to be unique in the group
// and the same at each start; of two workers with one id the older ends with
// an error. By default membership is dynamic.
func InstanceID(id string) Opt { return opt(func(c *config) { c.instance = id }) }

// Kafka passes options through to every Kafka client that the worker makes:
// TLS, SASL, rack, timeouts, the sizes of fetches and batches.
//
// These are overruled: SeedBrokers, ConsumerGroup, ConsumeTopics, InstanceID,
// DisableAutoCommit, BlockRebalanceOnPoll, FetchIsolationLevel,
// KeepControlRecords, ConsumeStartOffset, ConsumeResetOffset, RequiredAcks, WithPools,
// the OnPartitions... callbacks and AdjustFetchOffsetsFn. TransactionalID,
// DisableIdempotentWrite, ManualFlushing, ConsumePartitions, ConsumeRegex and
// KeepRetryableFetchErrors are refused by [New]. MaxBufferedRecords is
// unbounded unless it is set here, since [MaxInFlight] bounds each partition
// by itself. FetchMaxWait is 500 ms unless it is set here: a partition that was
// paused may have to wait that long.
func Kafka(opts ...kgo.Opt) Opt {
	return opt(func(c *config) { c.kafka = append(c.kafka, opts...) })
}

// What is read.

// UncommittedReads also reads records of transactions that are open or were
// aborted. By default only committed records are read.
func UncommittedReads() Opt { return opt(func(c *config) { c.uncommitted = true }) }

// StopAtEnd makes the worker a batch job. When Run starts it reads where each
// partition of the source topic ends (the last stable offset; the high
// watermark with [UncommittedReads]), and returns nil once the group has
// committed all partitions up to there, by whichever worker. By default Run
// goes on until its context ends.
func StopAtEnd() Opt { return opt(func(c *config) { c.stopAtEnd = true }) }

// When it is committed.

// CommitInterval sets how often offsets are committed. The default is 1 s. It
// bounds what is done again after a crash.
func CommitInterval(d time.Duration) Opt { return opt(func(c *config) { c.interval = d }) }

// BeforeCommit sets a function that is called before each commit, after it was
// decided what to commit: everything below has been through the operators and
// its outputs are acknowledged. It can make the user's own state durable. An
// error ends Run with nothing committed from then on. Calls do not overlap.
// The default is none.
func BeforeCommit(fn func(context.Context) error) Opt {
	return opt(func(c *config) { c.beforeCommit = fn })
}

// What goes wrong, and what it may cost.

// OnBadRecord sets what becomes of a record that cannot be decoded or encoded,
// or for which a user's function returned an error or panicked. The default is
// [Fail].
func OnBadRecord(policy BadRecordPolicy) Opt {
	return opt(func(c *config) { c.badRecord = policy })
}

// MaxInFlight bounds, per partition, the records begun at or after the first
// one not yet acknowledged, and the outputs not yet acknowledged. The default
// is 10,000. At the bound the partition waits, so that a slow output slows the
// input; the others go on. As many records again, and one fetch, may wait to
// be begun.
func MaxInFlight(records int) Opt { return opt(func(c *config) { c.maxInFlight = records }) }

// FetchBytes bounds what one fetch brings from a broker, as it is sent: compressed,
// if the topic is. A single batch of the topic that is larger is fetched all the
// same. The default is 8 MiB. One fetch of each broker is on its way, another waits
// in the client, and what was queued of those before is bounded by [MaxInFlight]; a
// record costs about 200 bytes more until it is done. kgo.FetchMaxBytes and
// kgo.FetchMaxPartitionBytes through [Kafka] go before it.
func FetchBytes(bytes int32) Opt { return opt(func(c *config) { c.fetchBytes = bytes }) }

// ShutdownTimeout bounds a stop: the time for what has begun to finish, for
// outputs to be acknowledged, and for the last commit. It also bounds the work
// on a partition that is revoked, and so has to be below the group's rebalance
// timeout (60 s unless changed). The default is 10 s.
func ShutdownTimeout(d time.Duration) Opt { return opt(func(c *config) { c.shutdown = d }) }

// What is reported.

// Logger sets where the worker logs. By default it does not.
func Logger(l *slog.Logger) Opt {
	return opt(func(c *config) {
		if l != nil {
			c.logger = l
		}
	})
}

// Hooks adds hooks; see [Hook].
func Hooks(hs ...Hook) Opt { return opt(func(c *config) { c.hooks = append(c.hooks, hs...) }) }

// asking returns the options of a client that only asks questions, whatever
// the user's options say about consuming.
func (c *config) asking() []kgo.Opt {
	return append(c.shared(),
		kgo.ConsumerGroup(""), kgo.ConsumeTopics(), kgo.ConsumePartitions(nil),
		kgo.OnPartitionsAssigned(nil), kgo.OnPartitionsRevoked(nil), kgo.OnPartitionsLost(nil),
	)
}

// shared returns the options of every client.
func (c *config) shared() []kgo.Opt {
	own := []kgo.Opt{
		kgo.MaxBufferedRecords(maxBuffered), kgo.FetchMaxWait(fetchWait),
		kgo.FetchMaxBytes(c.fetchBytes), kgo.FetchMaxPartitionBytes(min(c.fetchBytes, partitionBytes)),
	}
	return append(append(own, c.kafka...),
		kgo.SeedBrokers(c.brokers...), kgo.RequiredAcks(kgo.AllISRAcks()))
}

// fetchWait is how long a broker may keep a fetch that finds nothing. A partition
// that is resumed waits for it; kgo's own 5 s would be felt.
const fetchWait = 500 * time.Millisecond

// partitionBytes is kgo's own bound for what a fetch brings of one partition.
const partitionBytes = 1 << 20

// maxBuffered is no limit: a limit of the client would let one partition's
// unacknowledged outputs stall all others.
const maxBuffered = math.MaxInt32
