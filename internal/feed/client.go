package feed

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
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
	// Opts are the user's options for every client: brokers, TLS, SASL, rack.
	Opts []kgo.Opt
	// ReadUncommitted delivers open and aborted transactions too.
	ReadUncommitted bool
	// Connections is how many fetches go on at once per broker; default 2.
	Connections int
	// MaxBytes bounds one fetch answer, MaxPartitionBytes each partition's
	// part of it. Defaults 16 MiB and 4 MiB.
	MaxBytes, MaxPartitionBytes int32
	// MaxWait is how long a broker holds a fetch that has nothing to
	// deliver; default 500 ms.
	MaxWait time.Duration
	// MetadataInterval is how often the topic is looked at for changes that
	// fetches do not show, such as new partitions; default 5 s.
	MetadataInterval time.Duration
	// OnTrouble is told of each failure that is waited out, and of nil when
	// fetches succeed again. It may be called from several goroutines.
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

// requestTimeout bounds each question to the cluster, so that one that is away
// is noticed and asked again.
const requestTimeout = 10 * time.Second

// A Client asks about a topic and reads it.
type Client struct {
	cfg Config
	cl  *kgo.Client
	adm *kadm.Client
}

// New returns a client. It connects to nothing yet.
func New(cfg Config) (*Client, error) {
	cfg.setDefaults()
	cl, err := kgo.NewClient(cfg.Opts...)
	if err != nil {
		return nil, err
	}
	adm := kadm.NewClient(cl)
	return &Client{cfg: cfg, cl: cl, adm: adm}, nil
}

// Close closes the client's connections.
func (c *Client) Close() { c.cl.Close() }

// A Topic is what the cluster says of the topic.
type Topic struct {
	ClusterID  string // empty if unknown
	ID         TopicID
	Partitions []TopicPartition
}

// A TopicPartition is a partition and its leader.
type TopicPartition struct {
	Partition int32
	Leader    int32 // -1 if there is none
	Epoch     int32 // -1 if unknown
}

// Describe asks the cluster for the topic. It returns ErrTopicAbsent if there
// is none of that name; every other error may go away by itself.
func (c *Client) Describe(ctx context.Context) (*Topic, error) {
	return describe(ctx, c.cl, c.cfg.Topic)
}

func describe(ctx context.Context, cl *kgo.Client, topic string) (*Topic, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	req := kmsg.NewPtrMetadataRequest()
	rt := kmsg.NewMetadataRequestTopic()
	rt.Topic = kmsg.StringPtr(topic)
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	if len(resp.Topics) != 1 {
		return nil, fmt.Errorf("metadata: answer has %d topics, not 1", len(resp.Topics))
	}
	t := &resp.Topics[0]
	switch err := kerr.ErrorForCode(t.ErrorCode); {
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		return nil, ErrTopicAbsent
	case err != nil:
		return nil, fmt.Errorf("metadata: %w", err)
	}
	out := &Topic{ID: t.TopicID}
	if resp.ClusterID != nil {
		out.ClusterID = *resp.ClusterID
	}
	for _, p := range t.Partitions {
		tp := TopicPartition{Partition: p.Partition, Leader: p.Leader, Epoch: p.LeaderEpoch}
		if p.ErrorCode != 0 && !errors.Is(kerr.ErrorForCode(p.ErrorCode), kerr.ReplicaNotAvailable) {
			tp.Leader = -1
		}
		out.Partitions = append(out.Partitions, tp)
	}
	if len(out.Partitions) == 0 {
		return nil, errors.New("metadata: topic has no partitions yet")
	}
	return out, nil
}

// A TopicConfig is what the table needs to know of the topic's settings.
type TopicConfig struct {
	// Known is false when the broker does not tell, for example because the
	// client may not describe configurations.
	Known bool
	// Compacted and Deleted say whether cleanup.policy has "compact" and
	// "delete".
	Compacted, Deleted bool
	// CleanupPolicy is the setting itself.
	CleanupPolicy string
	// DeleteRetention is delete.retention.ms; zero if not known.
	DeleteRetention time.Duration
}

// TopicConfig asks for the topic's settings. A cluster that refuses to tell gives
// a TopicConfig that is not Known and no error.
func (c *Client) TopicConfig(ctx context.Context) (cfg TopicConfig, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	all, err := c.adm.DescribeTopicConfigs(ctx, c.cfg.Topic)
	if err == nil {
		var rc kadm.ResourceConfig
		if rc, err = all.On(c.cfg.Topic, nil); err == nil {
			err = rc.Err
		}
		for _, kv := range rc.Configs {
			switch kv.Key {
			case "cleanup.policy":
				cfg.CleanupPolicy = kv.MaybeValue()
				cfg.Known = cfg.CleanupPolicy != ""
			case "delete.retention.ms":
				if ms, err := strconv.ParseInt(kv.MaybeValue(), 10, 64); err == nil {
					cfg.DeleteRetention = time.Duration(min(ms, int64(1<<53))) * time.Millisecond
				}
			}
		}
	}
	for p := range strings.SplitSeq(cfg.CleanupPolicy, ",") {
		switch strings.TrimSpace(p) {
		case "compact":
			cfg.Compacted = true
		case "delete":
			cfg.Deleted = true
		}
	}
	var auth *kadm.AuthError
	switch {
	case err == nil:
		return cfg, nil
	case errors.As(err, &auth), errors.Is(err, kerr.TopicAuthorizationFailed),
		errors.Is(err, kerr.ClusterAuthorizationFailed), errors.Is(err, kerr.UnsupportedVersion),
		errors.Is(err, kerr.InvalidRequest):
		return TopicConfig{}, nil
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		return TopicConfig{}, ErrTopicAbsent
	}
	return TopicConfig{}, fmt.Errorf("topic settings: %w", err)
}

// A Range is the offsets that a partition's log has.
type Range struct {
	LogStart int64
	// End is the high watermark.
	End int64
}

// Ranges asks for the log of every partition. A partition whose leader did
// not answer is missing in the map.
func (c *Client) Ranges(ctx context.Context) (map[int32]Range, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	starts, err := c.adm.ListStartOffsets(ctx, c.cfg.Topic)
	if err != nil {
		return nil, fmt.Errorf("start offsets: %w", err)
	}
	ends, err := c.adm.ListEndOffsets(ctx, c.cfg.Topic)
	if err != nil {
		return nil, fmt.Errorf("end offsets: %w", err)
	}
	out := map[int32]Range{}
	starts.Each(func(s kadm.ListedOffset) {
		if e, ok := ends.Lookup(c.cfg.Topic, s.Partition); ok && s.Err == nil && e.Err == nil {
			out[s.Partition] = Range{LogStart: s.Offset, End: e.Offset}
		}
	})
	return out, nil
}

// EpochEnds asks, for each partition and leader epoch given, where the log of
// that epoch ends. A partition for which the broker does not tell is missing.
func (c *Client) EpochEnds(ctx context.Context, epochs map[int32]int32) (map[int32]int64, error) {
	if len(epochs) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	all, err := c.adm.OffsetForLeaderEpoch(ctx, kadm.OffsetForLeaderEpochRequest{c.cfg.Topic: epochs})
	if err != nil {
		var auth *kadm.AuthError
		if errors.As(err, &auth) || errors.Is(err, kerr.UnsupportedVersion) {
			return nil, nil
		}
		return nil, fmt.Errorf("leader epochs: %w", err)
	}
	out := map[int32]int64{}
	for p, e := range all[c.cfg.Topic] {
		if e.Err == nil && e.EndOffset >= 0 {
			out[p] = e.EndOffset
		}
	}
	return out, nil
}
