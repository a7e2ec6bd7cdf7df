package globaltable

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/internal/kafkatest"
)

// tightFS has as many bytes free as it says.
type tightFS struct {
	vfs.FS
	free atomic.Uint64
}

func (f *tightFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: f.free.Load()}, nil
}

func TestShrinkGuardKeepsTheOldRows(t *testing.T) {
	each(t, 1, func(t *testing.T, e *env) {
		e.put(numbered("dev", 0, 30)...)
		r := e.ready(ShrinkGuard(20, 0.5))
		require.Error(t, r.AcceptShrink(), "nothing to accept")
		old := e.want
		e.want = map[string]string{}
		e.recreate(1)
		e.put(numbered("new", 0, 14)...)
		r.until("the rebuild waits", func() bool {
			_, ok := errors.AsType[*ShrinkError](r.Status().Err)
			return ok
		})
		require.Equal(t, old, r.rows())
		require.Equal(t, Rebuilding, r.Status().State)
		require.Equal(t, TopicRecreated, r.Status().Reason)
		err, _ := errors.AsType[*ShrinkError](r.Status().Err)
		require.Equal(t, ShrinkError{Topic: e.topic, Reason: TopicRecreated, Old: 29, New: 14}, *err)

		// It grows until it is large enough.
		e.put(numbered("new", 14, 15)...)
		r.until("the swap", func() bool { return r.Stats().Rebuilds == 1 })
		e.holds(r)
	})
}

func TestAcceptShrink(t *testing.T) {
	each(t, 1, func(t *testing.T, e *env) {
		dir := t.TempDir()
		e.put(numbered("dev", 0, 30)...)
		e.ready(Dir(dir)).close()
		e.recreate(1)
		// At its start too.
		r := e.open(Dir(dir), ShrinkGuard(20, 0.5))
		r.until("it is accepted", func() bool { return r.AcceptShrink() == nil })
		r.waitReady()
		require.Empty(t, r.rows())
		require.Equal(t, Rebuilt, r.Stats().Decision)
	})
}

func TestShrinkGuardIsForManyRows(t *testing.T) {
	each(t, 1, func(t *testing.T, e *env) {
		for _, o := range [][]Opt{{ShrinkGuard(31, 0.5)}, {ShrinkGuard(1, 1)}} {
			e.put(numbered("dev", 0, 30)...)
			r := e.ready(o...)
			e.recreate(1)
			r.until("the swap", func() bool { return r.Stats().Rebuilds == 1 })
			require.Empty(t, r.rows())
			r.close()
		}
	})
}

// Rows below the log start are none that a rebuild could lose.
func TestShrinkGuardCountsWhatReadersSee(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		e := newEnvWith(t, b, 1, map[string]string{"cleanup.policy": "compact,delete"})
		dir := t.TempDir()
		rs := e.put(numbered("dev", 0, 30)...)
		r := e.ready(Dir(dir))
		deleteRecords(e, map[string]map[int32]int64{e.topic: {0: rs[25].Offset}})
		for _, rec := range rs[:25] {
			delete(e.want, string(rec.Key))
		}
		r.until("they are gone", func() bool { _, ok, err := r.Get("dev24"); return !ok && err == nil })
		r.close()
		r = e.ready(Dir(dir), ShrinkGuard(20, 0.5), Transform("v2", func(en Entry[string, string]) (string, bool, error) { return en.Value, true, nil }))
		require.Equal(t, TransformChanged, r.Stats().Reason)
		e.holds(r)
	})
}

// What was built for a topic that is gone again does not take the space of what is
// built for the next.
func TestUselessRebuildIsDiscardedFirst(t *testing.T) {
	each(t, 1, func(t *testing.T, e *env) {
		dir := t.TempDir()
		e.put(numbered("dev", 0, 30)...)
		asked := make(chan int, 100)
		r := e.ready(Dir(dir), ShrinkGuard(20, 0.5), AdmitRebuild(func(context.Context, Reason) error {
			gens, err := filepath.Glob(filepath.Join(dir, "gen-*"))
			asked <- len(gens)
			return err
		}))
		waits := func() bool {
			_, ok := errors.AsType[*ShrinkError](r.Status().Err)
			return ok
		}
		e.recreate(1)
		r.until("the rebuild waits", waits)
		require.Equal(t, 1, <-asked)
		e.recreate(1)
		require.Equal(t, 1, <-asked, "only the one that answers is there")
		r.until("the next rebuild waits", waits)
	})
}

func TestWhileRebuildingRefuse(t *testing.T) {
	each(t, 1, func(t *testing.T, e *env) {
		e.put(numbered("dev", 0, 30)...)
		admit := make(chan struct{})
		r := e.ready(WhileRebuilding(Refuse), ShrinkGuard(20, 0.5), AdmitRebuild(func(ctx context.Context, reason Reason) error {
			select {
			case <-admit:
			case <-ctx.Done():
			}
			return ctx.Err()
		}))
		e.recreate(1)
		_, ok, err := r.Get("dev1")
		require.NoError(t, err)
		require.True(t, ok, "nothing is rebuilt yet")
		close(admit)
		r.until("reads are refused", func() bool { _, _, err := r.Get("dev1"); return errors.Is(err, ErrNotReady) })
		r.until("it is accepted", func() bool { return r.AcceptShrink() == nil })
		r.until("the swap", func() bool { return r.Stats().Rebuilds == 1 })
		_, ok, err = r.Get("dev1")
		require.NoError(t, err)
		require.False(t, ok)
	})
}

func TestAdmitRebuild(t *testing.T) {
	each(t, 1, func(t *testing.T, e *env) {
		dir := t.TempDir()
		e.put("a=1")
		asked := make(chan Reason, 100)
		answers := make(chan error, 3)
		answers <- errors.New("not now")
		r := e.ready(Dir(dir), AdmitRebuild(func(_ context.Context, reason Reason) error {
			asked <- reason
			select {
			case err := <-answers:
				if err != nil {
					return err
				}
				panic("confused")
			default:
				return nil
			}
		}))
		answers <- nil
		e.recreate(1)
		e.put("b=2")
		r.until("the swap", func() bool { return r.Stats().Rebuilds == 1 })
		e.holds(r)
		require.Equal(t, TopicRecreated, <-asked)
		require.GreaterOrEqual(t, len(asked), 2, "an error and a panic put it off")
		r.close()
	})
}

func TestFetchRate(t *testing.T) {
	each(t, 1, func(t *testing.T, e *env) {
		var pairs []string
		for i := range 300 { // 300 kB that do not compress
			b := make([]byte, 1000)
			_, _ = rand.Read(b)
			pairs = append(pairs, fmt.Sprintf("dev%d=%x", i, b[:500]))
		}
		for part := range slices.Chunk(pairs, 20) {
			e.put(part...)
		}
		began := time.Now()
		r := e.ready(FetchRate(300_000))
		require.Greater(t, time.Since(began), 300*time.Millisecond)
		e.holds(r)
	})
}

func TestRebuildNeedsSpace(t *testing.T) {
	each(t, 1, func(t *testing.T, e *env) {
		fs := &tightFS{FS: vfs.NewMem()}
		e.put(numbered("dev", 0, 30)...)
		fs.free.Store(1 << 40)
		r := e.ready(onDisk(fs))
		fs.free.Store(1)
		e.recreate(1)
		e.put("new=1")
		r.until("it lacks space", func() bool {
			err, ok := errors.AsType[*DiskError](r.Status().Err)
			return ok && err.Has == 1 && err.Needs > 1
		})
		require.Equal(t, "dev-value-3", r.rows()["dev3"])
		fs.free.Store(1 << 40)
		r.until("the swap", func() bool { return r.Stats().Rebuilds == 1 })
		e.holds(r)
	})
}

func TestMaxStaleness(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	e.put("a=1")
	r := e.ready(MaxStaleness(300 * time.Millisecond))
	e.broker.Fake().Close()
	r.until("reads are refused", func() bool {
		_, _, err := r.Get("a")
		stale, ok := errors.AsType[*StaleError](err)
		return ok && stale.Age > stale.Max && errors.Is(err, ErrNotReady)
	})
	_, err := r.Snapshot()
	require.ErrorIs(t, err, ErrNotReady)
	_, err = r.GetMany([]string{"a"})
	require.ErrorIs(t, err, ErrNotReady)
}

// A table whose run has ended answers no longer than it may either.
func TestMaxStalenessAfterTheRun(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	e.put("a=1")
	r := e.ready(MaxStaleness(300 * time.Millisecond))
	r.cancel()
	require.NoError(t, r.runErr())
	r.until("reads are refused", func() bool {
		_, _, err := r.Get("a")
		_, ok := errors.AsType[*StaleError](err)
		return ok
	})
	require.NoError(t, r.Close())
	_, _, err := r.Get("a")
	require.ErrorIs(t, err, ErrClosed)
}

func TestAllowStaleAnswersWithoutBrokers(t *testing.T) {
	b := kafkatest.Fake(t)
	e := newEnv(t, b, 1)
	dir := t.TempDir()
	e.put("a=1")
	e.ready(Dir(dir)).close()
	b.Fake().Close()
	r := e.open(Dir(dir), AllowStale(time.Hour))
	r.until("it answers", func() bool { v, ok, err := r.Get("a"); return ok && err == nil && v == "1" })
	require.Equal(t, Stale, r.Status().State)
	require.Positive(t, r.Lag().Age)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, r.WaitReady(ctx), context.Canceled, "it is not ready")
	r.close()

	for _, o := range [][]Opt{{}, {AllowStale(time.Nanosecond)}, {AllowStale(time.Hour), ReadUncommitted()}} {
		r = e.open(append(o, Dir(dir))...)
		r.until("it waits for brokers", func() bool { return r.Status().Err != nil })
		_, _, err := r.Get("a")
		require.ErrorIs(t, err, ErrNotReady)
		r.close()
	}
}

// Rows of a bootstrap that was not finished are not old, but wrong.
func TestAllowStaleNeedsCompleteRows(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	dir := t.TempDir()
	e.put(numbered("dev", 0, 30)...)
	e.put("wait=1")
	opts := []Opt{Dir(dir), AllowStale(time.Hour), Transform("v1", func(en Entry[string, string]) (string, bool, error) {
		if en.Key == "wait" {
			return "", false, codec.Retryable(errors.New("the registry is away"))
		}
		return en.Value, true, nil
	})}
	for range 2 {
		r := e.open(opts...)
		r.until("it has most rows", func() bool { return r.Stats().Records >= 30 })
		_, _, err := r.Get("dev1")
		require.ErrorIs(t, err, ErrNotReady)
		r.close()
	}
}

// A quiet topic makes no rows old.
func TestAllowStaleOfAQuietTopic(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	dir := t.TempDir()
	e.put("a=1")
	r := e.ready(Dir(dir))
	written := r.Lag().Partitions[0].AtEnd
	r.until("some time at the end", func() bool { return r.Lag().Partitions[0].AtEnd.Sub(written) > 600*time.Millisecond })
	r.close()
	e.broker.Fake().Close()
	r = e.open(Dir(dir), AllowStale(time.Hour))
	r.until("it answers", func() bool { _, ok, err := r.Get("a"); return ok && err == nil })
	require.Greater(t, r.Lag().Partitions[0].AtEnd.Sub(written), 500*time.Millisecond, "the last time at the end was kept")
}

// A position that names no topic id is met by no rows of which it is not known
// whether they are of the topic that is there.
func TestAllowStaleMeetsNoPositionsBeforeTheTopicIsSeen(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	dir := t.TempDir()
	rec := e.put("a=1")[0]
	e.ready(Dir(dir)).close()
	e.broker.Fake().Close()
	r := e.open(Dir(dir), AllowStale(time.Hour))
	r.until("it answers", func() bool { _, ok, err := r.Get("a"); return ok && err == nil })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, r.WaitFor(ctx, After(rec)), context.DeadlineExceeded)
}

func TestRefusalEndsWithTheRun(t *testing.T) {
	each(t, 1, func(t *testing.T, e *env) {
		e.put(numbered("dev", 0, 30)...)
		r := e.ready(WhileRebuilding(Refuse), ShrinkGuard(20, 0.5))
		e.recreate(1)
		r.until("reads are refused", func() bool { _, _, err := r.Get("dev1"); return errors.Is(err, ErrNotReady) })
		r.cancel()
		require.NoError(t, r.runErr())
		_, ok, err := r.Get("dev1")
		require.NoError(t, err)
		require.True(t, ok, "a table that was stopped answers what it had")
	})
}

// What the user's function returns never ends Run.
func TestAdmitRebuildEndsNothing(t *testing.T) {
	require.NoError(t, fatalError(&rebuildError{&notAdmittedError{kerr.TopicAuthorizationFailed}}))
}

func TestAllowStaleUntilReady(t *testing.T) {
	each(t, 1, func(t *testing.T, e *env) {
		dir := t.TempDir()
		e.put(numbered("dev", 0, 30)...)
		e.ready(Dir(dir)).close()
		old := e.want
		e.want = map[string]string{}
		e.recreate(1)
		e.put("new=1")
		r := e.open(Dir(dir), AllowStale(time.Hour), ShrinkGuard(20, 0.5))
		r.until("the rebuild waits", func() bool {
			_, ok := errors.AsType[*ShrinkError](r.Status().Err)
			return ok
		})
		require.Equal(t, old, r.rows(), "the old rows answer")
		require.NoError(t, r.AcceptShrink())
		r.waitReady()
		e.holds(r)
	})
}
