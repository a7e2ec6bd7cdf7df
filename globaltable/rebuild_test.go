package globaltable

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/globaltable/enrich/internal/kafkatest"
)

// Rows of a topic that was deleted and created again never mix with the new
// one's, however its length compares.
func TestTopicRecreatedWhileDown(t *testing.T) {
	for name, n := range map[string]int{"shorter": 1, "equal": 4, "longer": 9} {
		t.Run(name, func(t *testing.T) {
			each(t, 1, func(t *testing.T, e *env) {
				dir := t.TempDir()
				e.put("old1=1", "old2=2", "old3=3", "old4=4")
				e.ready(Dir(dir)).close()
				e.recreate(1)
				e.put(numbered("new", 0, n)...)
				h := &recorder{}
				r := e.ready(Dir(dir), Hooks(h))
				e.holds(r)
				st := r.Stats()
				require.Equal(t, Rebuilt, st.Decision)
				require.Equal(t, TopicRecreated, st.Reason)
				require.EqualValues(t, 1, st.Rebuilds)
				require.Equal(t, []string{"begun TopicRecreated", "swapped TopicRecreated"}, h.rebuilds)
				r.close()
				gens, err := filepath.Glob(filepath.Join(dir, "gen-*"))
				require.NoError(t, err)
				require.Len(t, gens, 1, "the old generation is gone")

				r = e.ready(Dir(dir))
				require.Equal(t, Resumed, r.Stats().Decision)
				e.holds(r)
			})
		})
	}
}

func TestTopicRecreatedWhileRunning(t *testing.T) {
	each(t, 2, func(t *testing.T, e *env) {
		e.put("old1=1", "old2=2")
		h := &recorder{}
		r := e.ready(Hooks(h))
		before := r.Stats()
		e.deleteTopic()
		r.until("it is seen that the topic is gone", func() bool {
			return r.Status().State == Stale && errors.Is(r.Status().Err, ErrTopicAbsent)
		})
		require.Equal(t, map[string]string{"old1": "1", "old2": "2"}, r.rows(), "it goes on answering")
		e.createAgain(3)
		e.put("new=1")
		r.until("the new topic's rows are there", func() bool { _, ok, err := r.Get("new"); return ok && err == nil })
		e.holds(r)
		r.until("it follows", func() bool { return r.Status().State == Ready })
		after := r.Stats()
		require.NotEqual(t, before.TopicID, after.TopicID)
		require.Greater(t, after.Generation, before.Generation)
		require.Equal(t, TopicRecreated, after.Reason)
		require.Equal(t, []string{"bootstrapped"}, h.list(func() []string { return h.readies }), "ready is told once")
		r.sees(e.put("later=1"))
		e.holds(r)
	})
}

func TestOptionsThatShapeRowsRebuild(t *testing.T) {
	each(t, 1, func(t *testing.T, e *env) {
		dir := t.TempDir()
		e.put("a=1")
		e.txn(false, "a=aborted")
		e.ready(Dir(dir)).close()

		r := e.ready(Dir(dir), ReadUncommitted())
		require.Equal(t, IsolationChanged, r.Stats().Reason)
		require.Equal(t, map[string]string{"a": "aborted"}, r.rows())
		r.close()

		r = e.ready(Dir(dir))
		require.Equal(t, IsolationChanged, r.Stats().Reason)
		e.holds(r)
		r.close()

		upper := func(en Entry[string, string]) (string, bool, error) {
			return strings.ToUpper(en.Value) + "!", true, nil
		}
		r = e.ready(Dir(dir), Transform("loud", upper))
		require.Equal(t, TransformChanged, r.Stats().Reason)
		require.Equal(t, map[string]string{"a": "1!"}, r.rows())
		r.close()

		r = e.ready(Dir(dir), Transform("loud", upper))
		require.Equal(t, Resumed, r.Stats().Decision)
	})
}

func TestDamagedStoreIsRebuilt(t *testing.T) {
	for _, damage := range []string{"CURRENT gone", "manifest cut", "sst cut"} {
		t.Run(damage, func(t *testing.T) {
			e := newEnv(t, kafkatest.Fake(t), 1)
			dir := t.TempDir()
			e.put(numbered("k", 0, 100)...)
			e.ready(Dir(dir)).close()
			glob := func(pattern string) string {
				m, err := filepath.Glob(filepath.Join(dir, "gen-*", pattern))
				require.NoError(t, err)
				require.NotEmpty(t, m, pattern)
				return m[0]
			}
			switch damage {
			case "CURRENT gone":
				m, err := filepath.Glob(filepath.Join(dir, "gen-*", "marker.*"))
				require.NoError(t, err)
				for _, f := range m {
					require.NoError(t, os.Remove(f))
				}
			case "manifest cut":
				require.NoError(t, os.Truncate(glob("MANIFEST-*"), 10))
			case "sst cut":
				require.NoError(t, os.Truncate(glob("*.sst"), 100))
			}
			r := e.ready(Dir(dir))
			e.holds(r)
			require.Equal(t, Rebuilt, r.Stats().Decision)
			require.Equal(t, StoreDamaged, r.Stats().Reason)
		})
	}
}

// An interrupted rebuild goes on where it was.
func TestRebuildIsResumed(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 2)
	dir := t.TempDir()
	e.put("old=1")
	e.ready(Dir(dir)).close()
	e.recreate(2)
	e.put(numbered("k", 0, 1000)...)

	h := &recorder{}
	opts := func(fn func(Entry[string, string]) (string, bool, error)) []Opt {
		return []Opt{Dir(dir), Hooks(h), Transform("v1", fn)}
	}
	r := e.open(opts(func(en Entry[string, string]) (string, bool, error) {
		if en.Partition == 1 {
			return "", false, errAway
		}
		return en.Value, true, nil
	})...)
	r.until("half of it is there", func() bool {
		f := r.e.follower.Load()
		return f != nil && f.gen.State().Get(0).Next > 0
	})
	require.Equal(t, Rebuilding, r.Status().State)
	gen := r.e.follower.Load().gen.Number()
	r.close()
	r = e.ready(opts(func(en Entry[string, string]) (string, bool, error) { return en.Value, true, nil })...)
	e.holds(r)
	require.Equal(t, gen, r.Stats().Generation)
	require.EqualValues(t, 1000, r.Stats().Records)
}

func TestTruncatedLogIsRebuilt(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	dir := t.TempDir()
	e.put("a=1", "b=2", "c=3")
	e.ready(Dir(dir)).close()
	// The log that the table read was longer than the one that is there: what
	// a leader that was behind leaves of it.
	inStore(t, e.topic, dir, func(s *storeState) { s.At(0).Next = 100 })
	r := e.ready(Dir(dir))
	e.holds(r)
	require.Equal(t, LogTruncated, r.Stats().Reason)
}

// A log that was cut off and has grown again is as long as before: only its
// leader epochs tell.
func TestDivergedEpochIsRebuilt(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	dir := t.TempDir()
	e.put("a=1", "b=2", "c=3")
	e.ready(Dir(dir)).close()
	e.broker.Fake().ControlKey(kmsg.OffsetForLeaderEpoch.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		return epochEnds(req.(*kmsg.OffsetForLeaderEpochRequest), 2), nil, true
	})
	r := e.ready(Dir(dir))
	e.holds(r)
	require.Equal(t, LogTruncated, r.Stats().Reason)
}

// A damaged file that is met while running is healed in the same way.
func TestDamageFoundWhileRunningIsRebuilt(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	dir := t.TempDir()
	e.put(numbered("k", 0, 1000)...)
	e.ready(Dir(dir)).close()
	h := &recorder{}
	r := e.ready(Dir(dir), Hooks(h))
	require.Equal(t, Resumed, r.Stats().Decision)
	files, err := filepath.Glob(filepath.Join(dir, "gen-*", "*.sst"))
	require.NoError(t, err)
	for _, f := range files {
		info, err := os.Stat(f)
		require.NoError(t, err)
		overwrite(t, f, info.Size()/4, info.Size()/4)
	}
	r.until("the damage is found and healed", func() bool {
		for i := range 1000 {
			v, ok, err := r.Get(fmt.Sprint("k", i))
			require.False(t, err == nil && (!ok || v != fmt.Sprint("k-value-", i)), "a wrong answer: %q %v", v, ok)
		}
		return r.Stats().Rebuilds == 1
	})
	require.Equal(t, StoreDamaged, r.Stats().Reason)
	e.holds(r)
}

func overwrite(t *testing.T, name string, at, n int64) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = f.WriteAt(bytes.Repeat([]byte{0xa5}, int(n)), at)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}
