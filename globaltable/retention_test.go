package globaltable

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/globaltable/enrich/internal/feed"
	"github.com/globaltable/enrich/internal/kafkatest"
)

// How long tombstones are kept: what the user says, what the cluster says, and
// Kafka's own default where nobody does. Zero is an answer like any other.
func TestRetentionOfTombstones(t *testing.T) {
	known := func(d time.Duration) feed.TopicConfig {
		return feed.TopicConfig{Known: true, Compacted: true, DeleteRetention: d, DeleteRetentionKnown: true}
	}
	for _, c := range []struct {
		name   string
		option time.Duration
		topic  feed.TopicConfig
		want   time.Duration
	}{
		{"the cluster tells", 0, known(time.Hour), time.Hour},
		{"the cluster tells that it is nothing", 0, known(0), 0},
		{"the option overrules the cluster", time.Minute, known(time.Hour), time.Minute},
		{"the option stands where the cluster is silent", time.Minute, feed.TopicConfig{}, time.Minute},
		{"nobody tells", 0, feed.TopicConfig{}, 24 * time.Hour},
		{"the cluster tells the policy only", 0, feed.TopicConfig{Known: true, Compacted: true}, 24 * time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := &engine{cfg: config{deleteRetention: c.option}}
			require.Equal(t, c.want, e.retention(c.topic))
		})
	}
}

// A topic whose tombstones go faster than a reader can be sure to see them says
// so; ten seconds are enough.
func TestShortRetentionIsUnprovable(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		for ms, unprovable := range map[string]bool{"0": true, "9999": true, "10000": false} {
			e := newEnvWith(t, b, 1, map[string]string{"cleanup.policy": "compact", "delete.retention.ms": ms})
			e.put("a=1")
			r := e.ready()
			require.Equal(t, unprovable, r.Stats().TombstonesUnprovable, ms)
			e.holds(r)
		}
	})
}

// A cluster that does not tell the topic's settings is taken at Kafka's default,
// and is not asked to prove that the topic is compacted.
func TestSettingsThatAreForbidden(t *testing.T) {
	b := kafkatest.Fake(t)
	e := newEnvWith(t, b, 1, map[string]string{"cleanup.policy": "delete", "delete.retention.ms": "0"})
	b.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.DescribeConfigs}, Err: kerr.TopicAuthorizationFailed})
	e.put("a=1")
	r := e.ready()
	require.Equal(t, 24*time.Hour, r.e.follower.Load().retention)
	require.False(t, r.Stats().TombstonesUnprovable)
	require.Subset(t, r.Stats().Unknown, []string{"cleanup.policy", "delete.retention.ms"})
	e.holds(r)
}
