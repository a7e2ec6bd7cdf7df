package globaltable

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Opt configures a table. Options are applied in order; of two that set the
// same thing the later one counts.
type Opt interface{ apply(*config) }

type opt func(*config)

func (o opt) apply(c *config) { o(c) }

type config struct {
	brokers           []string
	kafka             []kgo.Opt
	uncommitted       bool
	acceptUncompacted bool
	deleteRetention   time.Duration

	fs            vfs.FS // nil is the operating system's
	bulk          bulkConfig
	dir           string
	memory        bool
	lockWait      time.Duration
	flushInterval time.Duration
	pebble        func(*pebble.Options)

	allowStale, maxStaleness time.Duration
	whileRebuilding          RebuildReads
	shrink                   shrinkGuard
	fetchRate                int64
	admitRebuild             func(context.Context, Reason) error
	rebuildJitter            time.Duration
	jitterRate               float64 // as the constant

	budget    *Budget
	valueSize any // a func(V) int

	transform  transformOpt
	badRecords BadRecordPolicy // 0 is none
	headers    bool

	logger *slog.Logger
	hooks  hooks
}

// transformOpt holds a function whose type depends on the table's.
type transformOpt struct {
	set     bool
	version string
	fn      any
}

func newConfig(opts []Opt) config {
	c := config{
		flushInterval: 10 * time.Second,
		bulk:          bulkConfig{from: bulkFrom},
		budget:        NewBudget(defaultBudget),
		shrink:        shrinkGuard{from: 1000, most: 0.5},
		rebuildJitter: 30 * time.Second, jitterRate: jitterRate,
		logger: slog.New(slog.DiscardHandler),
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
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("globaltable: "+format, args...)) }
	if len(c.brokers) == 0 {
		bad("no brokers: give Brokers(...)")
	}
	switch {
	case c.dir == "" && !c.memory:
		bad("no place for the rows: give Dir(...) or InMemory()")
	case c.dir != "" && c.memory:
		bad("Dir and InMemory exclude each other")
	}
	if c.fs != nil && c.memory {
		bad("FileSystem and InMemory exclude each other")
	}
	if c.flushInterval <= 0 {
		bad("FlushInterval has to be above 0, not %v", c.flushInterval)
	}
	if c.lockWait < 0 {
		bad("LockWait cannot be below 0, as %v is", c.lockWait)
	}
	if c.deleteRetention < 0 {
		bad("DeleteRetention cannot be below 0, as %v is", c.deleteRetention)
	}
	if c.allowStale < 0 || c.maxStaleness < 0 {
		bad("AllowStale and MaxStaleness cannot be below 0, as %v or %v is", c.allowStale, c.maxStaleness)
	}
	if c.fetchRate < 0 {
		bad("FetchRate cannot be below 0, as %d is", c.fetchRate)
	}
	if c.shrink.from < 1 || !(c.shrink.most >= 0 && c.shrink.most <= 1) {
		bad("ShrinkGuard needs 1 row or more and a share from 0 to 1, not %d and %v", c.shrink.from, c.shrink.most)
	}
	if c.whileRebuilding != Answer && c.whileRebuilding != Refuse {
		bad("WhileRebuilding takes Answer or Refuse, not %d", c.whileRebuilding)
	}
	if c.rebuildJitter < 0 {
		bad("RebuildJitter cannot be below 0, as %v is", c.rebuildJitter)
	}
	if c.badRecords != 0 && c.badRecords != Skip && c.badRecords != Fail {
		bad("BadRecords takes Skip or Fail, not %d", c.badRecords)
	}
	if c.transform.set && c.transform.version == "" {
		bad("Transform needs a version: rows made by one version are rebuilt for another")
	}
	if err := c.budget.validate(); err != nil {
		bad("%w", err)
	}
	for _, h := range c.hooks {
		if !isHook(h) {
			bad("%T implements none of the Hook interfaces", h)
		}
	}
	return errors.Join(errs...)
}

// Which topic, and how it is read.

// Brokers sets the addresses, host:port, of some brokers of the cluster. It is
// required.
func Brokers(addrs ...string) Opt { return opt(func(c *config) { c.brokers = addrs }) }

// Kafka passes options through to every Kafka client that the table makes: TLS,
// SASL, rack, dialer, timeouts.
//
// The table sends its own fetch requests, so options about consuming, groups,
// transactions and fetch sizes have no effect; SeedBrokers and
// BrokerMaxReadBytes are overruled.
func Kafka(opts ...kgo.Opt) Opt { return opt(func(c *config) { c.kafka = append(c.kafka, opts...) }) }

// ReadUncommitted makes records of open and of aborted transactions rows. By
// default only committed records are. A store written with one setting is
// rebuilt for the other.
func ReadUncommitted() Opt { return opt(func(c *config) { c.uncommitted = true }) }

// AcceptUncompacted accepts a topic whose cleanup.policy is not compact. Rows
// then vanish when their records expire. By default Run refuses such a topic
// with a [*NotCompactedError].
func AcceptUncompacted() Opt { return opt(func(c *config) { c.acceptUncompacted = true }) }

// DeleteRetention sets how long the topic keeps tombstones, its
// delete.retention.ms, for clusters that do not let the table read it. By
// default it is asked for, and 24 h, Kafka's own default, where the cluster
// does not tell. A table that was away for longer verifies its rows.
func DeleteRetention(d time.Duration) Opt { return opt(func(c *config) { c.deleteRetention = d }) }

// Where the rows are kept.

// Dir sets the directory for the rows. It is made if it is not there, and
// belongs to this table alone. It, or [InMemory], is required: there is no
// default.
func Dir(path string) Opt { return opt(func(c *config) { c.dir = path }) }

// InMemory keeps the rows in memory, for tests and small tables. They are read
// from Kafka again at each start. It excludes [Dir].
func InMemory() Opt { return opt(func(c *config) { c.memory = true }) }

// FileSystem sets the file system that [Dir] is a directory of: one that encrypts
// what is at rest, or one that fails, for tests. The default is the operating
// system's. [Remove] knows that one only.
func FileSystem(fs vfs.FS) Opt { return opt(func(c *config) { c.fs = fs }) }

// LockWait makes [Open] wait for up to d when another process has the directory
// open, for example one that is just being replaced. The default is 0: refuse
// at once.
func LockWait(d time.Duration) Opt { return opt(func(c *config) { c.lockWait = d }) }

// FlushInterval sets how often rows and positions are made durable while they
// change. The default is 10 s. It bounds what is read again after a crash;
// nothing is ever lost by it, since Kafka has the records.
func FlushInterval(d time.Duration) Opt { return opt(func(c *config) { c.flushInterval = d }) }

// Pebble lets fn change the options of the Pebble store before it is opened,
// for example the number of open files. Cache and memtable sizes set here count in
// place of what the budget gives, and are not bounded by it. FS, DisableWAL, FormatMajorVersion,
// Comparer, Merger, ReadOnly and Logger are set after it; an EventListener is
// called besides the table's own. For another FS there is [FileSystem].
func Pebble(fn func(*pebble.Options)) Opt { return opt(func(c *config) { c.pebble = fn }) }

// What a row is.

// Transform runs fn for every record with a value, when it arrives, in bootstrap
// and live alike. It returns the value to keep, which is encoded by
// the table's value codec; or false to filter the record out; or an error to
// reject it. A record that is filtered or rejected, or that cannot be decoded,
// takes the place of its key's row: the key has none then, as on a fresh
// replica. It is counted, by reason, in [Stats].
//
// Functions cannot be compared, so version names this one: a store whose rows
// were made by another version, or by none, is rebuilt.
//
// fn is called from several goroutines, for records of one partition too, and
// not in their order. It may be called again for a record, behind one that has to
// be tried again and after a restart: it must have no effects of its own. A
// codec's or fn's error that is marked by codec.Retryable rejects nothing: the
// record waits and is tried again. [BadRecords] can have a rejected record end Run
// instead. The types have to be those of the table, else
// [Open] says so. By default records are kept as they are and decoded when they
// are read.
func Transform[K, V any](version string, fn func(Entry[K, V]) (V, bool, error)) Opt {
	return opt(func(c *config) { c.transform = transformOpt{set: true, version: version, fn: fn} })
}

// What is reported.

// Logger sets where the table logs. By default it does not.
func Logger(l *slog.Logger) Opt {
	return opt(func(c *config) {
		if l != nil {
			c.logger = l
		}
	})
}

// Hooks adds hooks; see [Hook].
func Hooks(hs ...Hook) Opt { return opt(func(c *config) { c.hooks = append(c.hooks, hs...) }) }

// sleep waits for d and reports false if ctx ends before.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
