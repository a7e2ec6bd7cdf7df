package globaltable

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/globaltable/enrich/internal/kafkatest"
)

// withoutTopicIDs makes a fake one of Kafka 2.7, the last release whose brokers
// report no topic ids.
func withoutTopicIDs() kfake.Opt { return kfake.MaxVersions(kversion.V2_7_0()) }

// oldTxn is a transaction with brokers that cannot describe it.
func oldTxn(e *env, commit bool, rs ...*kgo.Record) {
	e.t.Helper()
	cl, err := kgo.NewClient(append(e.broker.Opts(), kgo.TransactionalID(kafkatest.Unique("old")))...)
	require.NoError(e.t, err)
	defer cl.Close()
	require.NoError(e.t, cl.BeginTransaction())
	require.NoError(e.t, cl.ProduceSync(e.ctx(), rs...).FirstErr())
	require.NoError(e.t, cl.EndTransaction(e.ctx(), kgo.TransactionEndTry(commit)))
}

// A cluster that reports no topic id is read all the same, and Stats says what
// is not known of it.
func TestBrokersWithoutTopicIDs(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t, withoutTopicIDs()), 3)
	dir := t.TempDir()
	e.put(numbered("k", 0, 200)...)
	committed := records(e.topic, "k1=committed")
	oldTxn(e, true, committed...)
	fold(e.want, committed)
	oldTxn(e, false, records(e.topic, "k2=aborted")...)
	r := e.ready(Dir(dir))
	e.holds(r)
	st := r.Stats()
	require.Equal(t, []string{"topic id"}, st.Unknown)
	require.False(t, st.TopicID.Known())
	require.Contains(t, st.String(), `unknown="topic id"`)

	// Positions are good without an id.
	rs := e.put("k3=live", "k4")
	r.sees(rs)
	e.holds(r)
	for _, p := range r.Positions() {
		require.False(t, p.TopicID.Known())
		require.NoError(t, r.WaitFor(e.ctx(), p))
	}
	// An id that somebody else knows is no contradiction.
	p := After(rs[0])
	p.TopicID = TopicID{1}
	require.NoError(t, r.WaitFor(e.ctx(), p))

	// New partitions, and a restart.
	_, err := e.broker.Admin(t).UpdatePartitions(e.ctx(), 4, e.topic)
	require.NoError(t, err)
	added := records(e.topic, "in-4=1")
	e.broker.ProduceTo(t, 3, added...)
	fold(e.want, added)
	r.until("the new partition", func() bool { _, ok, err := r.Get("in-4"); return ok && err == nil })
	r.close()
	e.put("k5=while away")
	r = e.ready(Dir(dir))
	require.Equal(t, Resumed, r.Stats().Decision)
	e.holds(r)
}

// Brokers that learned to report ids name the topic of rows that had none.
func TestBrokersThatLearnTopicIDs(t *testing.T) {
	data := t.TempDir()
	dir := t.TempDir()
	b := kafkatest.Fake(t, withoutTopicIDs(), kfake.DataDir(data))
	e := newEnv(t, b, 1)
	e.put("a=1")
	r := e.ready(Dir(dir))
	require.Equal(t, []string{"topic id"}, r.Stats().Unknown)
	r.close()
	b.Fake().Close()

	e.broker = kafkatest.Fake(t, kfake.DataDir(data))
	e.put("b=2")
	r = e.ready(Dir(dir))
	require.Equal(t, Resumed, r.Stats().Decision)
	require.Empty(t, r.Stats().Unknown)
	e.holds(r)
	r.close()
	e.recreate(1)
	e.put("c=3")
	r = e.ready(Dir(dir))
	require.Equal(t, TopicRecreated, r.Stats().Reason, "from then on it is guarded")
	e.holds(r)
}
