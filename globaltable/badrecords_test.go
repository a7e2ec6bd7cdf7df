package globaltable

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/internal/kafkatest"
)

// openInts opens a table whose values are numbers.
func openInts(e *env, value codec.Codec[int], opts ...Opt) (*Table[string, int], chan error) {
	e.t.Helper()
	tb, err := Open(e.topic, codec.String(), value, e.opts(opts...)...)
	require.NoError(e.t, err)
	done := make(chan error, 1)
	go func() { done <- tb.Run(e.t.Context()) }()
	e.t.Cleanup(func() { _ = tb.Close() })
	return tb, done
}

// A bad record under Skip takes its key's row away, in a bootstrap as live, and
// after a restart; without a policy it is its reader's error.
func TestBadRecordsAreSkipped(t *testing.T) {
	each(t, 1, func(t *testing.T, e *env) {
		for _, bulk := range []bool{false, true} {
			dir := t.TempDir()
			e.put("good=1", "over=2", "over=no number")
			e.put("new=no number", "healed=x", "healed=4")
			opts := []Opt{Dir(dir), BadRecords(Skip)}
			if bulk {
				opts = append(opts, bulkOf(2, 1000))
			}
			check := func(tb *Table[string, int], bad ...string) {
				t.Helper()
				for _, k := range bad {
					_, ok, err := tb.Get(k)
					require.NoError(t, err)
					require.False(t, ok, k)
				}
				v, ok, err := tb.Get("healed")
				require.NoError(t, err)
				require.True(t, ok)
				require.Equal(t, 4, v)
			}
			h := &recorder{}
			tb, _ := openInts(e, codec.JSON[int](), append(opts, Hooks(h))...)
			require.NoError(t, tb.WaitReady(e.ctx()))
			check(tb, "over", "new")
			before := tb.Stats().Rejected
			rs := e.put("good=bad now")
			require.NoError(t, tb.WaitFor(e.ctx(), After(rs[0])))
			check(tb, "good", "over", "new")
			require.Equal(t, before+1, tb.Stats().Rejected)
			require.EqualValues(t, before+1, h.dropped()[DropRejected])
			require.NoError(t, tb.Close())

			tb, _ = openInts(e, codec.JSON[int](), opts...)
			require.NoError(t, tb.WaitReady(e.ctx()))
			require.Equal(t, Resumed, tb.Stats().Decision)
			check(tb, "good", "over", "new")
			require.NoError(t, tb.Close())

			// Without a policy the rows are other ones.
			tb, _ = openInts(e, codec.JSON[int](), Dir(dir))
			require.NoError(t, tb.WaitReady(e.ctx()))
			require.Equal(t, TransformChanged, tb.Stats().Reason)
			var bad *DecodeError
			_, _, err := tb.Get("over")
			require.ErrorAs(t, err, &bad)
			require.NoError(t, tb.Close())
		}
	})
}

// Under Fail a bad record ends Run and nothing behind it is applied; its rows stand
// under every policy, so that the next Run goes on from there.
func TestBadRecordFailsRun(t *testing.T) {
	each(t, 1, func(t *testing.T, e *env) {
		dir := t.TempDir()
		e.put("good=1", "bad=2")
		tb, done := openInts(e, codec.JSON[int](), Dir(dir), BadRecords(Fail))
		require.NoError(t, tb.WaitReady(e.ctx()))
		rs := e.put("bad=no number", "later=3")
		var bad *BadRecordError
		require.ErrorAs(t, <-done, &bad)
		require.Equal(t, rs[0].Offset, bad.Offset)
		require.Contains(t, bad.Error(), "offset 2")
		require.Equal(t, Failed, tb.Status().State)
		require.NoError(t, tb.Close())

		// It fails again for as long as nothing is changed.
		tb, done = openInts(e, codec.JSON[int](), Dir(dir), BadRecords(Fail))
		require.ErrorAs(t, <-done, &bad)
		require.NoError(t, tb.Close())

		tb, _ = openInts(e, codec.JSON[int](), Dir(dir), BadRecords(Skip))
		require.NoError(t, tb.WaitReady(e.ctx()))
		require.Equal(t, Resumed, tb.Stats().Decision)
		require.EqualValues(t, 4, tb.Stats().Records)
		_, ok, err := tb.Get("bad")
		require.NoError(t, err)
		require.False(t, ok)
		v, ok, err := tb.Get("later")
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, 3, v)
		require.NoError(t, tb.Close())

		// The other way round the skipped one has to be looked at again.
		tb, done = openInts(e, codec.JSON[int](), Dir(dir), BadRecords(Fail))
		require.ErrorAs(t, <-done, &bad)
		require.Equal(t, TransformChanged, tb.Stats().Reason)
	})
}

// What a transform rejects is a bad record too, and Skip is what it does anyway.
func TestBadRecordsOfATransform(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	dir := t.TempDir()
	e.put("a=1", "b=reject-me")
	with := func(opts ...Opt) []Opt { return append(opts, Dir(dir), Transform("picky", pickyTransform)) }
	r := e.ready(with()...)
	r.close()
	r = e.ready(with(BadRecords(Skip))...)
	require.Equal(t, Resumed, r.Stats().Decision)
	r.close()
	var bad *BadRecordError
	r = e.open(with(BadRecords(Fail))...)
	require.ErrorAs(t, r.runErr(), &bad)
	require.EqualValues(t, 1, bad.Offset)
	require.ErrorContains(t, bad, "no; mend")
}

// flakyCodec cannot decode while something is away.
type flakyCodec struct {
	codec.Codec[int]
	away *atomic.Bool
}

func (c flakyCodec) Decode(b []byte, m codec.Meta) (int, error) {
	if c.away.Load() {
		return 0, errAway
	}
	return c.Codec.Decode(b, m)
}

// A schema registry that is away makes no record bad, under no policy.
func TestBadRecordsWaitForWhatIsAway(t *testing.T) {
	for _, policy := range []BadRecordPolicy{Skip, Fail} {
		e := newEnv(t, kafkatest.Fake(t), 1)
		away := &atomic.Bool{}
		away.Store(true)
		e.put("a=1")
		tb, _ := openInts(e, flakyCodec{codec.JSON[int](), away}, InMemory(), BadRecords(policy))
		require.Eventually(t, func() bool { return tb.Status().Err != nil }, patience, lockPoll)
		require.ErrorContains(t, tb.Status().Err, "registry is away")
		require.Zero(t, tb.Stats().Rejected)
		away.Store(false)
		require.NoError(t, tb.WaitReady(e.ctx()))
		v, ok, err := tb.Get("a")
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, 1, v)
	}
}

// Rows with headers, and of a policy, answer before brokers do as others do.
func TestAllowStaleOfShapedRows(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	opts := []Opt{Dir(t.TempDir()), Headers(), BadRecords(Skip), AllowStale(time.Hour)}
	e.put("a=1")
	e.ready(opts...).close()
	e.broker.Fake().Close()
	r := e.open(opts...)
	r.until("it answers", func() bool { v, ok, err := r.Get("a"); return v == "1" && ok && err == nil })
}

// A rebuild that a bad record has ended goes on under Skip, and its rows are those of
// Skip from then on.
func TestBadRecordInARebuild(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	dir := t.TempDir()
	e.put("old=1")
	tb, done := openInts(e, codec.JSON[int](), Dir(dir), BadRecords(Fail))
	require.NoError(t, tb.WaitReady(e.ctx()))
	e.recreate(1)
	e.put("good=1", "bad=no number", "later=3")
	var bad *BadRecordError
	require.ErrorAs(t, <-done, &bad)
	require.NoError(t, tb.Close())

	tb, _ = openInts(e, codec.JSON[int](), Dir(dir), BadRecords(Skip))
	require.NoError(t, tb.WaitReady(e.ctx()))
	require.Equal(t, TopicRecreated, tb.Stats().Reason)
	_, ok, err := tb.Get("bad")
	require.NoError(t, err)
	require.False(t, ok)
	require.NoError(t, tb.Close())

	tb, done = openInts(e, codec.JSON[int](), Dir(dir), BadRecords(Fail))
	require.ErrorAs(t, <-done, &bad)
	require.Equal(t, TransformChanged, tb.Stats().Reason)
}

// What was collected of a batch with a bad record is not applied by a flush either.
func TestFlushBehindABadRecordOfABulkLoad(t *testing.T) {
	f := alone(t, 1, bulkOf(1, 1<<20), BadRecords(Fail), Transform("picky", pickyTransform))
	f.given(t, batchOf(0, 0, 100_000, "a=1"))
	var bad *BadRecordError
	require.ErrorAs(t, f.deliver(t.Context(), batchOf(0, 1, 100_000, "b=2", "c=reject")), &bad)
	require.ErrorAs(t, f.applySoon(), &bad)
	require.ErrorAs(t, f.applyPending(), &bad)
	require.ErrorAs(t, f.stopWriting(), &bad)
	require.Empty(t, f.rows(t))
	require.Zero(t, f.gen.State().Counters)
}

// panickyCodec panics at what is no number.
type panickyCodec struct{ codec.Codec[int] }

func (c panickyCodec) Decode(b []byte, m codec.Meta) (int, error) {
	v, err := c.Codec.Decode(b, m)
	if err != nil {
		panic(err)
	}
	return v, nil
}

// A codec that panics makes the record bad, and it is said which codec.
func TestBadRecordOfACodecThatPanics(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	e.put("a=1", "b=no number")
	_, done := openInts(e, panickyCodec{codec.JSON[int]()}, InMemory(), BadRecords(Fail))
	err := <-done
	var bad *BadRecordError
	var panicked *PanicError
	require.ErrorAs(t, err, &bad)
	require.ErrorAs(t, err, &panicked)
	require.Equal(t, "value codec", panicked.Where)
}
