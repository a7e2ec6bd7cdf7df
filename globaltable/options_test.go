package globaltable

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/internal/kafkatest"
)

func TestDefaults(t *testing.T) {
	c := newConfig(nil)
	require.Equal(t, 10*time.Second, c.flushInterval)
	require.EqualValues(t, bulkFrom, c.bulk.from)
	require.Zero(t, c.lockWait)
	require.Zero(t, c.deleteRetention, "it is asked for")
	require.False(t, c.uncommitted)
	require.False(t, c.acceptUncompacted)
	require.NotNil(t, c.logger)
	require.False(t, c.logger.Enabled(t.Context(), slog.LevelError))
}

// Of two options that set the same thing the later one counts; those that add
// add; nil is no option.
func TestLaterOptionsCount(t *testing.T) {
	c := newConfig([]Opt{
		Brokers("a:1"), Brokers("b:1", "c:1"), nil,
		Kafka(kgo.ClientID("x")), Kafka(kgo.ClientID("y"), kgo.Rack("z")),
		FlushInterval(time.Hour), FlushInterval(time.Minute),
		LockWait(1), LockWait(2), DeleteRetention(3), DeleteRetention(4),
		Dir("one"), Dir("two"),
		Hooks(&recorder{}), Hooks(&recorder{}, &recorder{}),
		Transform("v1", pickyTransform), Transform("v2", pickyTransform),
		Logger(nil),
	})
	require.Equal(t, []string{"b:1", "c:1"}, c.brokers)
	require.Len(t, c.kafka, 3)
	require.Equal(t, time.Minute, c.flushInterval)
	require.EqualValues(t, 2, c.lockWait)
	require.EqualValues(t, 4, c.deleteRetention)
	require.Equal(t, "two", c.dir)
	require.Len(t, c.hooks, 3)
	require.Equal(t, "v2", c.transform.version)
	require.NotNil(t, c.logger, "a nil Logger leaves the one that is there")
	require.NoError(t, c.validate())
}

// All that is wrong is said at once.
func TestAllMistakesAreNamed(t *testing.T) {
	_, err := Open[string, string]("", nil, nil, FlushInterval(-1), LockWait(-1), Transform("", pickyTransform))
	for _, want := range []string{"no brokers", "no place for the rows", "FlushInterval", "LockWait", "needs a version", "needs a topic", "needs a key codec"} {
		require.ErrorContains(t, err, want)
	}
}

// Every connection that the table makes is made with the user's options, and
// brokers that the user names there do not take the place of Brokers.
func TestKafkaOptionsReachEveryClient(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	e.put("a=1")
	var dials atomic.Int64
	var mu sync.Mutex
	ids := map[string]bool{}
	hook := &clientHook{seen: func(id string) { mu.Lock(); ids[id] = true; mu.Unlock() }}
	r := e.ready(Kafka(kgo.SeedBrokers("127.0.0.1:1"), kgo.ClientID("mine"), kgo.WithHooks(hook),
		kgo.Dialer(func(ctx context.Context, network, host string) (net.Conn, error) {
			dials.Add(1)
			return (&net.Dialer{}).DialContext(ctx, network, host)
		}),
		// What would make it a consumer has no effect.
		kgo.ConsumeTopics("other"), kgo.ConsumerGroup("group")))
	e.holds(r)
	require.GreaterOrEqual(t, dials.Load(), int64(2), "to ask, and to fetch")
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, map[string]bool{"mine": true}, ids)
}

// clientHook is told of each client that is made.
type clientHook struct{ seen func(id string) }

func (h *clientHook) OnNewClient(cl *kgo.Client) {
	id, _ := cl.OptValue(kgo.ClientID).(string)
	h.seen(id)
}

func TestBadKafkaOptionsEndRun(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	r := e.open(Kafka(kgo.RequestRetries(-1), kgo.MetadataMinAge(time.Hour), kgo.MetadataMaxAge(time.Minute)))
	err := r.runErr()
	require.ErrorContains(t, err, "Kafka options")
	require.Equal(t, Failed, r.Status().State)
}

// Pebble's options are the user's, but for what the table relies on.
func TestPebbleOptions(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	e.put(numbered("k", 0, 100)...)
	var flushed atomic.Int64
	tuned := 0
	dir := filepath.Join(t.TempDir(), "t")
	r := e.ready(Dir(dir), Pebble(func(o *pebble.Options) {
		tuned++
		o.MemTableSize = 1 << 20
		o.EventListener = &pebble.EventListener{FlushEnd: func(pebble.FlushInfo) { flushed.Add(1) }}
		o.FS, o.ReadOnly, o.DisableWAL = vfs.NewMem(), true, false
	}))
	e.holds(r)
	r.close()
	require.Equal(t, 1, tuned)
	require.Positive(t, flushed.Load(), "the user's listener is called too")
	// It was written where it belongs.
	again := e.ready(Dir(dir))
	require.Equal(t, Resumed, again.Stats().Decision)
	e.holds(again)
}

func TestPebbleOptionsThatDoNotGoTogether(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	r := e.open(Pebble(func(o *pebble.Options) { o.MemTableStopWritesThreshold = 1 }))
	r.until("it says what is wrong", func() bool { return r.Status().Err != nil })
	require.ErrorContains(t, r.Status().Err, "pebble's options do not go together")
}

// LockWait waits for as long as it says. Time is virtual.
func TestLockWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		on := []Opt{Brokers("127.0.0.1:1"), opt(func(c *config) { c.fs, c.dir = fs, "/table" })}
		open := func(more ...Opt) (*Table[string, string], error) {
			return Open("devices", codec.String(), codec.String(), append(on, more...)...)
		}
		first, err := open()
		require.NoError(t, err)
		began := time.Now()
		_, err = open()
		require.ErrorIs(t, err, ErrLocked)
		require.Zero(t, time.Since(began), "by default at once")
		_, err = open(LockWait(time.Minute))
		require.ErrorIs(t, err, ErrLocked)
		require.InDelta(t, time.Minute.Seconds(), time.Since(began).Seconds(), 2*lockPoll.Seconds())

		began = time.Now()
		go func() {
			time.Sleep(10 * time.Second)
			if err := first.Close(); err != nil {
				t.Error(err)
			}
		}()
		second, err := open(LockWait(time.Minute))
		require.NoError(t, err)
		require.InDelta(t, 10, time.Since(began).Seconds(), 2*lockPoll.Seconds())
		require.NoError(t, second.Close())
	})
}

// What is wrong with a directory is no matter of waiting for it.
func TestLockWaitIsForLocksOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		on := opt(func(c *config) { c.fs, c.dir = fs, "/table" })
		tb, err := Open("devices", codec.String(), codec.String(), Brokers("127.0.0.1:1"), on)
		require.NoError(t, err)
		require.NoError(t, tb.Close())
		began := time.Now()
		_, err = Open("other", codec.String(), codec.String(), Brokers("127.0.0.1:1"), on, LockWait(time.Hour))
		wrong := &WrongTableError{}
		require.ErrorAs(t, err, &wrong)
		require.Zero(t, time.Since(began))
	})
}

func TestLoggerIsUsed(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	e.put("a=1")
	var out bytes.Buffer
	r := e.ready(Logger(slog.New(slog.NewTextHandler(&out, nil))))
	r.close()
	for _, want := range []string{"table=" + e.topic, "status=ready", "status=closed", "decision=bootstrapped"} {
		require.Contains(t, out.String(), want)
	}
}
