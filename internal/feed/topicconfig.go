package feed

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

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
	// DeleteRetention is delete.retention.ms, which may be zero. More than a
	// Duration can hold, some 292 years, is cut to that. DeleteRetentionKnown
	// is false when the broker does not tell.
	DeleteRetention      time.Duration
	DeleteRetentionKnown bool
}

// TopicConfig asks for the topic's settings. A cluster that refuses to tell gives
// a TopicConfig that is not Known and no error. It returns ErrTopicAbsent if
// there is no such topic; every other error may go away by itself.
func (c *Client) TopicConfig(ctx context.Context) (TopicConfig, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	req := kmsg.NewPtrDescribeConfigsRequest()
	res := kmsg.NewDescribeConfigsRequestResource()
	res.ResourceType, res.ResourceName = kmsg.ConfigResourceTypeTopic, c.cfg.Topic
	res.ConfigNames = []string{cleanupPolicy, deleteRetention}
	req.Resources = append(req.Resources, res)
	resp, err := promptly(ctx, func() (*kmsg.DescribeConfigsResponse, error) { return req.RequestWith(ctx, c.cl) })
	if err != nil {
		return TopicConfig{}, fmt.Errorf("topic settings: %w", err)
	}
	if len(resp.Resources) != 1 {
		return TopicConfig{}, fmt.Errorf("topic settings: answer has %d topics, not 1", len(resp.Resources))
	}
	switch err := kerr.ErrorForCode(resp.Resources[0].ErrorCode); {
	case err == nil:
		return newTopicConfig(resp.Resources[0].Configs), nil
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		return TopicConfig{}, ErrTopicAbsent
	case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed),
		errors.Is(err, kerr.UnsupportedVersion), errors.Is(err, kerr.InvalidRequest):
		// To ask again would not help.
		return TopicConfig{}, nil
	default:
		return TopicConfig{}, fmt.Errorf("topic settings: %w", err)
	}
}

const (
	cleanupPolicy   = "cleanup.policy"
	deleteRetention = "delete.retention.ms"
)

func newTopicConfig(settings []kmsg.DescribeConfigsResponseResourceConfig) TopicConfig {
	var cfg TopicConfig
	for _, kv := range settings {
		if kv.Value == nil {
			continue
		}
		switch kv.Name {
		case cleanupPolicy:
			cfg.Known = true
			cfg.CleanupPolicy = *kv.Value
		case deleteRetention:
			if ms, err := strconv.ParseInt(*kv.Value, 10, 64); err == nil && ms >= 0 {
				cfg.DeleteRetentionKnown = true
				cfg.DeleteRetention = time.Duration(min(ms, math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
			}
		}
	}
	for policy := range strings.SplitSeq(cfg.CleanupPolicy, ",") {
		switch strings.TrimSpace(policy) {
		case "compact":
			cfg.Compacted = true
		case "delete":
			cfg.Deleted = true
		}
	}
	return cfg
}
