package feed

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A TopicID is Kafka's id of a topic; all zero means that the broker reports
// none.
type TopicID [16]byte

// String returns the id as Kafka prints it.
func (id TopicID) String() string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// Known reports whether there is an id.
func (id TopicID) Known() bool { return id != TopicID{} }

// Config says what to read and how.
type Config struct {
	// Topic is the topic's name.
	Topic string
	// Opts are the user's options for every client: brokers, TLS, SASL,
	// timeouts, hooks. Options about producing, consuming and groups are left
	// out. RequestRetries, DisableClientMetrics and, where records are read,
	// BrokerMaxReadBytes are overruled; MaxDecompressBatchBytes has no
	// effect. No topic is ever created, even with
	// AllowAutoTopicCreation.
	Opts []kgo.Opt
	// ReadUncommitted delivers open and aborted transactions too.
	ReadUncommitted bool
	// Connections is how many fetches go on at once per broker; default 2.
	Connections int
	// MaxBytes bounds the fetch answers that are in memory at a time, of all
	// brokers and connections together and as records, at most 512 MiB;
	// MaxPartitionBytes each partition's part of one. Defaults 16 MiB and 4 MiB.
	MaxBytes, MaxPartitionBytes int32
	// BytesPerSecond bounds what is fetched, as sent; 0 does not.
	BytesPerSecond int64
	// MaxWait is how long a broker holds a fetch that has nothing to
	// deliver, at least 1 ms; default 500 ms.
	MaxWait time.Duration
	// MetadataInterval is how often the topic is looked at for changes that
	// fetches do not show, such as new partitions; default 5 s.
	MetadataInterval time.Duration
	// OnTrouble is told of each failure that is waited out, and of nil when
	// all fetches succeed again. Calls come from several goroutines, one at a
	// time and in order. It must not block.
	OnTrouble func(error)
	// Logger gets the same; default discards.
	Logger *slog.Logger
}

func (c *Config) setDefaults() {
	if c.Connections == 0 {
		c.Connections = 2
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 16 << 20
	}
	if c.MaxPartitionBytes == 0 {
		c.MaxPartitionBytes = 4 << 20
	}
	if c.MaxWait == 0 {
		c.MaxWait = 500 * time.Millisecond
	}
	if c.MetadataInterval == 0 {
		c.MetadataInterval = 5 * time.Second
	}
	if c.OnTrouble == nil {
		c.OnTrouble = func(error) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}

const (
	maxMaxBytes = 512 << 20
	maxMaxWait  = 5 * time.Minute
)

func (c *Config) validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(c.Topic != "", "no topic name given")
	check(c.Connections > 0, "connections per broker have to be above 0, not %d", c.Connections)
	check(c.MaxBytes > 0 && c.MaxBytes <= maxMaxBytes, "bytes of a fetch have to be from 1 to %d, not %d", maxMaxBytes, c.MaxBytes)
	check(c.MaxPartitionBytes > 0, "bytes of a partition in a fetch have to be above 0, not %d", c.MaxPartitionBytes)
	check(c.BytesPerSecond >= 0, "bytes per second cannot be below 0, as %d is", c.BytesPerSecond)
	// A broker counts whole milliseconds: less would ask without a pause.
	check(c.MaxWait >= time.Millisecond && c.MaxWait <= maxMaxWait, "wait of a fetch has to be from 1ms to %v, not %v", maxMaxWait, c.MaxWait)
	check(c.MetadataInterval > 0, "metadata interval has to be above 0, not %v", c.MetadataInterval)
	return errors.Join(errs...)
}

// requestTimeout bounds each question to the cluster, so that one that is away
// is noticed and asked again.
const requestTimeout = 10 * time.Second

var errNoAnswer = fmt.Errorf("no answer within %v: %w", requestTimeout, context.DeadlineExceeded)

func withTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, requestTimeout, errNoAnswer)
}

// A Client asks about a topic and reads it.
type Client struct {
	cfg          Config
	cl           *kgo.Client
	pace         pace
	decompressor kgo.Decompressor
}

// New returns a client. It connects to nothing yet. An error says what is wrong
// with the configuration.
func New(cfg Config) (*Client, error) {
	cfg.setDefaults()
	cfg.Opts = append(withoutRoles(cfg.Opts),
		// Questions are asked again here, where it shows what is wrong.
		kgo.RequestRetries(3),
		// A client that reports metrics of itself waits for up to 1 s to
		// report once more when it is closed.
		kgo.DisableClientMetrics())
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cl, err := kgo.NewClient(cfg.Opts...)
	if err != nil {
		return nil, err
	}
	return &Client{cfg: cfg, cl: cl, pace: pace{perSecond: cfg.BytesPerSecond}, decompressor: kgo.DefaultDecompressor()}, nil
}

// Close closes the client's connections.
func (c *Client) Close() { c.cl.Close() }

// withoutRoles leaves out what would make a client a producer, a consumer or a
// member of a group: the clients here only send requests of their own.
func withoutRoles(opts []kgo.Opt) []kgo.Opt {
	var kept []kgo.Opt
	for _, o := range opts {
		switch o.(type) {
		case nil, kgo.ProducerOpt, kgo.ConsumerOpt, kgo.GroupOpt:
		default:
			kept = append(kept, o)
		}
	}
	return kept
}

// fetchClients returns clients of their own for fetches: a broker answers a
// connection's requests one after the other, so that a fetch it holds would
// hold all that is asked behind it.
func (c *Client) fetchClients() ([]*kgo.Client, error) {
	// An answer has at most MaxBytes and one record batch, however large the
	// topic lets that be. The limit stays below what the first bytes of a TLS
	// alert are taken for, so that kgo can say what is wrong then.
	opts := slices.Concat(c.cfg.Opts, []kgo.Opt{kgo.BrokerMaxReadBytes(max(256<<20, c.cfg.MaxBytes+64<<20))})
	var clients []*kgo.Client
	for range c.cfg.Connections {
		cl, err := kgo.NewClient(opts...)
		if err != nil {
			closeAll(clients)
			return nil, err
		}
		clients = append(clients, cl)
	}
	return clients, nil
}

// promptly returns what ask returns, or ctx's error when that ends before: kgo
// does not give up a question to any broker while it opens a connection for it.
// What is left of it ends with the client at the latest.
func promptly[T any](ctx context.Context, ask func() (T, error)) (T, error) {
	type answer struct {
		t   T
		err error
	}
	ch := make(chan answer, 1)
	go func() {
		t, err := ask()
		ch <- answer{t, err}
	}()
	select {
	case a := <-ch:
		return a.t, a.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}

func closeAll(clients []*kgo.Client) {
	for _, cl := range clients {
		cl.Close()
	}
}
