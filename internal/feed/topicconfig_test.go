package feed

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/globaltable/enrich/internal/kafkatest"
)

func TestTopicConfig(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		for policy, want := range map[string]TopicConfig{
			"compact":        {Known: true, Compacted: true, CleanupPolicy: "compact", DeleteRetention: time.Minute, DeleteRetentionKnown: true},
			"delete":         {Known: true, Deleted: true, CleanupPolicy: "delete", DeleteRetention: time.Minute, DeleteRetentionKnown: true},
			"compact,delete": {Known: true, Compacted: true, Deleted: true, CleanupPolicy: "compact,delete", DeleteRetention: time.Minute, DeleteRetentionKnown: true},
		} {
			topic := b.CreateTopic(t, "config", 1, 1, map[string]string{"cleanup.policy": policy, "delete.retention.ms": "60000"})
			got, err := client(t, b, topic).TopicConfig(t.Context())
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
		got, err := client(t, b, b.CreateTopic(t, "config", 1, 1, nil)).TopicConfig(t.Context())
		require.NoError(t, err)
		require.Equal(t, TopicConfig{Known: true, Deleted: true, CleanupPolicy: "delete", DeleteRetention: 24 * time.Hour, DeleteRetentionKnown: true}, got, "the broker's defaults")

		_, err = client(t, b, kafkatest.Unique("none")).TopicConfig(t.Context())
		require.ErrorIs(t, err, ErrTopicAbsent)
	})
}

func TestTopicConfigThatIsNotToBeHad(t *testing.T) {
	b := kafkatest.Fake(t)
	topic := b.CreateTopic(t, "denied", 1, 1, kafkatest.Compacted())
	c := client(t, b, topic)
	for _, e := range []*kerr.Error{kerr.TopicAuthorizationFailed, kerr.ClusterAuthorizationFailed, kerr.UnsupportedVersion, kerr.InvalidRequest} {
		answerConfig(b, e, nil)
		got, err := c.TopicConfig(t.Context())
		require.NoError(t, err)
		require.Equal(t, TopicConfig{}, got)
	}

	// What may go away is an error: to take it for a refusal would turn guards off.
	answerConfig(b, kerr.UnknownServerError, nil)
	_, err := c.TopicConfig(t.Context())
	require.ErrorIs(t, err, kerr.UnknownServerError)

	b.Fake().ControlKey(key(new(kmsg.DescribeConfigsRequest)), func(req kmsg.Request) (kmsg.Response, error, bool) {
		return req.ResponseKind(), nil, true
	})
	_, err = c.TopicConfig(t.Context())
	require.ErrorContains(t, err, "0 topics, not 1")

	// A right to describe the topic but not its settings, as ACLs give it.
	b.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.DescribeConfigs}, Resource: topic, Err: kerr.TopicAuthorizationFailed})
	got, err := c.TopicConfig(t.Context())
	require.NoError(t, err)
	require.False(t, got.Known)
}

func TestTopicConfigOfOddSettings(t *testing.T) {
	b := kafkatest.Fake(t)
	c := client(t, b, b.CreateTopic(t, "odd", 1, 1, nil))
	for _, tc := range []struct {
		settings map[string]*string
		want     TopicConfig
	}{
		{map[string]*string{"cleanup.policy": ptr(" delete , compact ")},
			TopicConfig{Known: true, Compacted: true, Deleted: true, CleanupPolicy: " delete , compact "}},
		{map[string]*string{"cleanup.policy": ptr("")}, TopicConfig{Known: true}},
		{map[string]*string{"cleanup.policy": nil, "delete.retention.ms": nil}, TopicConfig{}},
		{map[string]*string{"delete.retention.ms": ptr("9223372036854775807")}, TopicConfig{DeleteRetention: 9223372036854 * time.Millisecond, DeleteRetentionKnown: true}},
		{map[string]*string{"delete.retention.ms": ptr("0")}, TopicConfig{DeleteRetentionKnown: true}},
		{map[string]*string{"delete.retention.ms": ptr("")}, TopicConfig{}},
		{map[string]*string{"delete.retention.ms": ptr("-1")}, TopicConfig{}},
		{map[string]*string{"delete.retention.ms": ptr("a day")}, TopicConfig{}},
		{map[string]*string{"compaction": ptr("compact")}, TopicConfig{}},
	} {
		answerConfig(b, nil, tc.settings)
		got, err := c.TopicConfig(t.Context())
		require.NoError(t, err)
		require.Equal(t, tc.want, got)
	}
}

func ptr(s string) *string { return &s }

// answerConfig makes a fake answer the next question for settings.
func answerConfig(b *kafkatest.Broker, e *kerr.Error, settings map[string]*string) {
	b.Fake().ControlKey(key(new(kmsg.DescribeConfigsRequest)), func(req kmsg.Request) (kmsg.Response, error, bool) {
		resp := req.ResponseKind().(*kmsg.DescribeConfigsResponse)
		rr := kmsg.NewDescribeConfigsResponseResource()
		if e != nil {
			rr.ErrorCode = e.Code
		}
		for k, v := range settings {
			rc := kmsg.NewDescribeConfigsResponseResourceConfig()
			rc.Name, rc.Value = k, v
			rr.Configs = append(rr.Configs, rc)
		}
		resp.Resources = append(resp.Resources, rr)
		return resp, nil, true
	})
}
