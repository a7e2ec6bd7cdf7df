package globaltable

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/internal/kafkatest"
)

func TestBootstrapThenFollow(t *testing.T) {
	each(t, 3, func(t *testing.T, e *env) {
		e.put(numbered("dev-", 0, 500)...)
		e.put("dev-7=again", "dev-8", "gone=1", "gone")
		r := e.ready()
		e.holds(r)
		require.Equal(t, Bootstrapped, r.Stats().Decision)

		// Live: a new row, a changed one, a deletion.
		r.sees(e.put("new=1", "dev-9=changed", "dev-10"))
		e.holds(r)
		entry, ok, err := r.GetEntry("new")
		require.NoError(t, err)
		require.True(t, ok)
		require.True(t, entry.Found)
		require.False(t, entry.Timestamp.IsZero())
		_, ok, err = r.Get("dev-10")
		require.NoError(t, err)
		require.False(t, ok, "deleted")
		r.until("no lag", func() bool { return r.Lag().Records == 0 })
		require.Len(t, r.Positions(), 3)
	})
}

// The ends of logs behind which a consumer that compares offsets never gets.
func TestBootstrapEnds(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(e *env)
	}{
		{"empty topic", func(*env) {}},
		{"only tombstones", func(e *env) { e.put("a", "b", "a") }},
		{"one commit marker", func(e *env) { e.txn(true, "a=1", "b=2") }},
		{"two commit markers", func(e *env) { e.txn(true, "a=1"); e.txn(true, "a=2") }},
		{"aborted tail", func(e *env) { e.put("a=1"); e.txn(false, "a=aborted", "b=aborted") }},
		{"aborted in the middle", func(e *env) { e.put("a=1"); e.txn(false, "b=aborted"); e.put("c=3") }},
		{"only aborted", func(e *env) { e.txn(false, "a=aborted") }},
		{"log start above zero", func(e *env) {
			rs := e.put("a=1", "b=2", "c=3")
			deleteRecords(e, map[string]map[int32]int64{e.topic: {0: rs[1].Offset + 1}})
			delete(e.want, "a")
			delete(e.want, "b")
		}},
		{"everything deleted by hand", func(e *env) {
			rs := e.put("a=1", "b=2")
			deleteRecords(e, map[string]map[int32]int64{e.topic: {0: rs[1].Offset + 1}})
			clear(e.want)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
				// Only a topic that also deletes lets its records be deleted by hand.
				e := newEnvWith(t, b, 1, map[string]string{"cleanup.policy": "compact,delete"})
				c.make(e)
				r := e.ready()
				e.holds(r)
				r.sees(e.put("later=1"))
				e.holds(r)
			})
		})
	}
}

func deleteRecords(e *env, upTo map[string]map[int32]int64) {
	e.t.Helper()
	req := kmsgDeleteRecords(upTo)
	cl := e.broker.Client(e.t)
	resp, err := req.RequestWith(e.ctx(), cl)
	require.NoError(e.t, err)
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			require.Zero(e.t, p.ErrorCode)
		}
	}
}

func TestOpenTransactionAtTheEnd(t *testing.T) {
	for _, commit := range []bool{true, false} {
		t.Run(fmt.Sprintf("commit=%v", commit), func(t *testing.T) {
			each(t, 1, func(t *testing.T, e *env) {
				e.put("a=1")
				cl, err := kgo.NewClient(append(e.broker.Opts(), kgo.TransactionalID(kafkatest.Unique("open")))...)
				require.NoError(t, err)
				defer cl.Close()
				require.NoError(t, cl.BeginTransaction())
				open := records(e.topic, "a=2", "b=2")
				require.NoError(t, cl.ProduceSync(e.ctx(), open...).FirstErr())
				e.put("c=3") // behind the last stable offset

				r := e.ready()
				require.Equal(t, map[string]string{"a": "1"}, r.rows(), "ready at the last stable offset")

				require.NoError(t, cl.EndTransaction(e.ctx(), kgo.TransactionEndTry(commit)))
				if commit {
					fold(e.want, open)
				}
				r.until("the end of the transaction is seen", func() bool { _, ok, err := r.Get("c"); return ok && err == nil })
				e.holds(r)
			})
		})
	}
}

func TestReadUncommitted(t *testing.T) {
	each(t, 1, func(t *testing.T, e *env) {
		e.put("a=1")
		e.txn(false, "a=aborted", "b=aborted")
		r := e.ready(ReadUncommitted())
		require.Equal(t, map[string]string{"a": "aborted", "b": "aborted"}, r.rows())
	})
}

func TestNullKeysAreDroppedAndCounted(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		// Kafka refuses null keys in a compacted topic; one that was not
		// compacted from the beginning has them.
		e := newEnvWith(t, b, 1, map[string]string{"cleanup.policy": "delete"})
		e.put("a=1")
		e.broker.Produce(t, &kgo.Record{Topic: e.topic, Value: []byte("no key")}, &kgo.Record{Topic: e.topic})
		e.put("=empty key", "b=")
		h := &recorder{}
		r := e.ready(Hooks(h), AcceptUncompacted())
		e.holds(r)
		require.Contains(t, r.rows(), "", "an empty key is a key")
		require.EqualValues(t, 2, r.Stats().NullKeys)
		require.EqualValues(t, 5, r.Stats().Records)
		require.Equal(t, map[DropReason]int{DropNullKey: 2}, h.dropped())
	})
}

func TestKeysThatLookInternalAreOrdinaryRows(t *testing.T) {
	each(t, 2, func(t *testing.T, e *env) {
		for _, k := range []string{"", "\x00", "\x00\x01", "\x01", "\x02", "\xff", "\xff\xff\xff\xff", "__offset"} {
			e.put(k + "=v" + k)
		}
		r := e.ready()
		e.holds(r)
	})
}

func TestGetBeforeReadyIsNotAbsent(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	tb, err := Open(e.topic, codec.String(), codec.String(), e.opts(InMemory())...)
	require.NoError(t, err)
	defer func() { require.NoError(t, tb.Close()) }()
	_, _, err = tb.Get("a")
	require.ErrorIs(t, err, ErrNotReady)
	_, err = tb.GetMany([]string{"a"})
	require.ErrorIs(t, err, ErrNotReady)
	_, err = tb.Snapshot()
	require.ErrorIs(t, err, ErrNotReady)
	require.Empty(t, tb.Positions())
	require.EqualValues(t, -1, tb.Lag().Records)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err = tb.WaitReady(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "starting")
}
