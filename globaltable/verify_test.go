package globaltable

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/internal/feed"
	"github.com/globaltable/enrich/internal/kafkatest"
)

// keep is a first row that is never overwritten: the fake's compaction moves
// the log start up to the first record that is left, Kafka's does not.
const keepRow = "keep=1"

// compactSoon has a topic whose tombstones go as soon as the log is cleaned.
func compactSoon(t *testing.T, b *kafkatest.Broker) *env {
	t.Helper()
	return newEnvWith(t, b, 1, kafkatest.CompactedSoon(0))
}

// deletedAndForgotten deletes a row, and has the log cleaner remove the row's
// record and the tombstone.
func deletedAndForgotten(e *env, row *kgo.Record) {
	e.t.Helper()
	tombstone := e.put(string(row.Key))[0]
	kafkatest.ForceCompaction(e.t, e.broker, e.topic, 0, row.Offset, row.Offset, e.filler)
	kafkatest.ForceCompaction(e.t, e.broker, e.topic, 0, tombstone.Offset, tombstone.Offset, e.filler)
}

// filler keeps the log growing.
func (e *env) filler() { e.put("filler=" + time.Now().String()) }

func TestDeletedWhileDownAndTombstoneCompactedAway(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		e := compactSoon(t, b)
		dir := t.TempDir()
		e.put(keepRow)
		hot := e.put("dev1=hot")[0]
		e.put("dev2=cold")
		// Without the guard the deleted row stays.
		off := t.TempDir()
		e.ready(Dir(dir)).close()
		e.ready(Dir(off), DeleteRetention(24*time.Hour)).close()
		deletedAndForgotten(e, hot)

		h := &recorder{}
		r := e.ready(Dir(dir), Hooks(h))
		require.Equal(t, Verified, r.Stats().Decision)
		require.Equal(t, TombstonesExpired, r.Stats().Reason)
		e.holds(r)
		require.Equal(t, []string{"TombstonesExpired 1"}, h.verified)
		require.EqualValues(t, 1, r.Stats().Verified)
		require.EqualValues(t, 1, r.Stats().Verifications)
		require.True(t, r.Stats().TombstonesUnprovable)
		r.close()

		wrong := e.ready(Dir(off), DeleteRetention(24*time.Hour))
		require.Equal(t, "hot", wrong.rows()["dev1"], "this is what the verification is for")
	})
}

// A verification leaves alone what was written, changed or deleted while it ran.
func TestVerifyBesideUpdates(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		e := compactSoon(t, b)
		dir := t.TempDir()
		e.put(keepRow)
		hot := e.put("dev1=hot")[0]
		e.put(numbered("row", 0, 2500)...)
		e.ready(Dir(dir)).close()
		deletedAndForgotten(e, hot)

		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for i := range 100 {
				e.put(numbered("row", i, i+3)...)
				e.put(numbered("extra", i, i+1)...)
				select {
				case <-stop:
					return
				default:
				}
			}
		}()
		r := e.ready(Dir(dir))
		close(stop)
		<-done
		r.sees(e.put("last=1"))
		e.holds(r)
		require.Equal(t, TombstonesExpired, r.Stats().Reason)
	})
}

func TestNothingWrittenSinceNeedsNoVerification(t *testing.T) {
	each(t, 2, func(t *testing.T, e *env) {
		dir := t.TempDir()
		e.put("a=1", "b=2")
		e.ready(Dir(dir)).close()
		r := e.ready(Dir(dir), DeleteRetention(time.Nanosecond))
		require.Equal(t, Resumed, r.Stats().Decision)
		e.holds(r)
	})
}

func TestPositionBelowLogStartIsVerified(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		e := newEnvWith(t, b, 1, map[string]string{"cleanup.policy": "compact,delete"})
		dir := t.TempDir()
		e.put("a=1", "b=2")
		e.ready(Dir(dir)).close()
		rs := e.put("c=3", "d=4", "e=5")
		deleteRecords(e, map[string]map[int32]int64{e.topic: {0: rs[1].Offset}})
		delete(e.want, "a")
		delete(e.want, "b")
		delete(e.want, "c")
		r := e.ready(Dir(dir))
		e.holds(r)
		require.Equal(t, BelowLogStart, r.Stats().Reason)
		require.EqualValues(t, 2, r.Stats().Verified)
	})
}

// Rows go with their records, in an old replica as in a fresh one.
func TestRowsBelowTheLogStartAreGone(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		e := newEnvWith(t, b, 1, map[string]string{"cleanup.policy": "compact,delete"})
		rs := e.put("a=1", "b=2", "c=3")
		r := e.ready()
		deleteRecords(e, map[string]map[int32]int64{e.topic: {0: rs[1].Offset}})
		delete(e.want, "a")
		r.until("the row is gone", func() bool { _, ok, err := r.Get("a"); return !ok && err == nil })
		e.holds(r)
		e.holds(e.ready())
	})
}

func TestClockMovedBackIsVerified(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	dir := t.TempDir()
	e.put("a=1")
	e.ready(Dir(dir)).close()
	inStore(t, e.topic, dir, func(s *storeState) { s.At(0).AtEnd = time.Now().Add(time.Hour) })
	r := e.ready(Dir(dir))
	require.Equal(t, Verified, r.Stats().Decision)
	require.Equal(t, ClockMovedBack, r.Stats().Reason)
	e.holds(r)
	r.close()
	r = e.ready(Dir(dir))
	require.Equal(t, Resumed, r.Stats().Decision, "once is enough")
}

// A verification that was cut short is begun again by the next run.
func TestVerificationIsNotForgotten(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	dir := t.TempDir()
	e.put("a=1")
	e.ready(Dir(dir)).close()
	inStore(t, e.topic, dir, func(s *storeState) { s.PendingVerify = string(TombstonesExpired) })
	h := &recorder{}
	r := e.ready(Dir(dir), Hooks(h))
	require.Equal(t, TombstonesExpired, r.Stats().Reason)
	require.Equal(t, []string{"TombstonesExpired 0"}, h.verified)
}

// A tail that falls behind while a verification goes on may miss a tombstone of
// a row that the pass has found: once is not enough then.
func TestVerifyOnceMoreWhereTheTailFellBehind(t *testing.T) {
	const retention = time.Hour
	for _, c := range []struct {
		name        string
		atEnd, pass time.Duration // ago
		again       bool
	}{
		{"the pass is old, and so is the end", 3 * retention, 2 * retention, true},
		{"the end was reached since", retention / 2, 2 * retention, false},
		{"the pass began since", 3 * retention, retention / 2, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEnv(t, kafkatest.Fake(t), 1)
			e.put("a=1")
			h := &recorder{}
			r := e.ready(Hooks(h), DeleteRetention(retention))
			f := r.e.follower.Load()
			// What a verification finds that began a while ago, when the tail
			// reads something after a long silence.
			f.mu.Lock()
			now := time.Now()
			f.next.PendingVerify, f.pass = string(ClockMovedBack), now.Add(-c.pass)
			at := f.next.At(0)
			at.AtEnd = now.Add(-c.atEnd)
			f.noteEnd(&feed.Batch{Partition: 0, From: at.Next, Next: at.Next + 1, End: at.Next + 2}, at)
			f.mu.Unlock()
			require.NoError(t, f.verified(now))
			var want []string
			if c.again {
				want = []string{"TombstonesExpired 0"}
			}
			require.NoError(t, f.verifyIfPending(t.Context()))
			require.Equal(t, want, h.list(func() []string { return h.verified }))
			require.Empty(t, f.gen.State().PendingVerify, "and that is the end of it")
		})
	}
}

// A verification waits for partitions too that were added since the session
// began: a row's later record may stand there unread.
func TestVerificationWaitsForAddedPartitions(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	e.put("a=1")
	r := e.ready()
	f := r.e.follower.Load()
	tail := f.gen.State().Clone()
	tail.At(1).Known = true // as if it had been read
	passed := make(chan error, 1)
	go func() { passed <- f.passEnd(e.ctx(), tail) }()
	r.until("the first partition has passed", func() bool {
		f.endsMu.Lock()
		defer f.endsMu.Unlock()
		return f.checks != nil && !f.checks.open[0]
	})
	require.Empty(t, passed, "the second has not")
	_, err := e.broker.Admin(t).UpdatePartitions(e.ctx(), 2, e.topic)
	require.NoError(t, err)
	require.NoError(t, <-passed)
}
