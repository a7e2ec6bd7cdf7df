package store

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// fatalLogger stands for a user's logger that ends the process, as Pebble's own
// does.
type fatalLogger struct {
	pebble.LoggerAndTracer
	t *testing.T
}

func (l fatalLogger) Infof(string, ...any)  {}
func (l fatalLogger) Errorf(string, ...any) {}
func (l fatalLogger) Fatalf(format string, args ...any) {
	l.t.Errorf("the process would have ended: "+format, args...)
}
func (l fatalLogger) Eventf(context.Context, string, ...any) {}
func (l fatalLogger) IsTracingEnabled(context.Context) bool  { return false }

// TestTuneCannotTakeAwayWhatTheStoreReliesOn sets everything that would break it.
func TestTuneCannotTakeAwayWhatTheStoreReliesOn(t *testing.T) {
	fs := vfs.NewCrashableMem()
	elsewhere := vfs.NewMem()
	reverse := *pebble.DefaultComparer
	reverse.Name = "reverse"
	reverse.Compare = func(a, b []byte) int { return bytes.Compare(b, a) }
	var calls atomic.Int32
	o := testOptions(fs)
	o.Tune = func(p *pebble.Options) {
		calls.Add(1)
		p.FS = elsewhere
		p.WALDir = "/elsewhere"
		p.WALFailover = &pebble.WALFailoverOptions{}
		p.DisableWAL = false
		p.ReadOnly = true
		p.Comparer = &reverse
		p.Merger = &pebble.Merger{Name: "other"}
		p.KeySchema = "other"
		p.FormatMajorVersion = pebble.FormatMinSupported
		p.ErrorIfExists = true
		p.ErrorIfNotExists = true
		p.ErrorIfNotPristine = true
		p.Logger = fatalLogger{t: t}
		p.LoggerAndTracer = fatalLogger{t: t}
		p.EventListener = &pebble.EventListener{}
	}
	r := openWith(t, o)
	g := create(t, r)
	put(t, g, 0, "b", "2")
	put(t, g, 1, "a", "1")
	require.NoError(t, g.Flush())
	require.Equal(t, pebbleFormat, g.db.FormatMajorVersion())
	require.NoError(t, r.Close())
	require.Equal(t, int32(1), calls.Load())
	require.Empty(t, list(t, elsewhere, "/"))
	require.Equal(t, []string{"t"}, list(t, fs, "/"))
	r = openWith(t, o)
	g = current(t, r)
	require.Equal(t, int32(2), calls.Load(), "once for each generation")
	var keys []string
	require.NoError(t, snapshot(t, g).Scan(nil, nil, func(k []byte, _ *Row) bool { keys = append(keys, string(k)); return true }))
	require.Equal(t, []string{"a", "b"}, keys)

	p, err := o.pebbleOptions(newFailure(), newBacklog(), newScheduler(), func() {})
	require.NoError(t, err)
	require.Nil(t, p.LoggerAndTracer, "it would take the place of the logger")
	require.IsType(t, &pebbleLogger{}, p.Logger)

	// A damaged file is an error with all these options too.
	require.NoError(t, r.Close())
	for _, name := range list(t, fs, "/t/gen-000001") {
		if filepath.Ext(name) == ".sst" {
			b := readFile(t, fs, "/t/gen-000001/"+name)
			for i := range 20 {
				b[i] ^= 0xff
			}
			require.NoError(t, writeFile(fs, "/t/gen-000001/"+name, b))
		}
	}
	r = openWith(t, o)
	g, err = r.Current()
	if err == nil {
		_, err = scanAll(g)
	}
	require.ErrorIs(t, err, ErrCorrupt)
}

// TestUserListenerHearsEverything sets a few of its functions only.
func TestUserListenerHearsEverything(t *testing.T) {
	var flushes, created atomic.Int32
	o := testOptions(vfs.NewMem())
	o.Tune = func(p *pebble.Options) {
		p.EventListener = &pebble.EventListener{
			FlushEnd:     func(pebble.FlushInfo) { flushes.Add(1) },
			TableCreated: func(pebble.TableCreateInfo) { created.Add(1) },
		}
	}
	g := create(t, openWith(t, o))
	put(t, g, 0, "a", "1")
	require.NoError(t, g.Flush())
	require.Equal(t, int32(2), flushes.Load(), "the one of Create, and ours")
	require.GreaterOrEqual(t, created.Load(), int32(2))
	require.True(t, g.backlog.stale.Load(), "the store's own hears them too")
}

// TestSharedCache gives two generations one cache, and expects them to give it
// back.
func TestSharedCache(t *testing.T) {
	cache := pebble.NewCache(64 << 20)
	o := testOptions(vfs.NewMem())
	o.Tune = func(p *pebble.Options) { p.Cache = cache }
	r := openWith(t, o)
	for range 2 {
		g := create(t, r)
		for i := range 50 {
			put(t, g, int64(i), fmt.Sprint("k", i), strings.Repeat("1", 1000))
		}
		require.NoError(t, g.Flush())
		require.Len(t, rows(t, g), 50)
	}
	m := cache.Metrics()
	require.Positive(t, m.Hits+m.Misses, "both read through it")
	require.NoError(t, r.Close())
	require.Zero(t, cache.Size(), "closed generations keep nothing in it")
	cache.Unref()
}

// Whoever sets the size of a cache gets one of that size, in place of a shared one;
// Pebble alone would not look at the size.
func TestCacheSizeGoesBeforeASharedCache(t *testing.T) {
	shared, own := pebble.NewCache(1<<20), pebble.NewCache(2<<20)
	defer shared.Unref()
	defer own.Unref()
	for name, c := range map[string]struct {
		tune func(*pebble.Options)
		want *pebble.Cache
	}{
		"nothing": {func(*pebble.Options) {}, shared},
		"a size":  {func(p *pebble.Options) { p.CacheSize = 3 << 20 }, nil},
		"a cache": {func(p *pebble.Options) { p.Cache = own }, own},
		"both":    {func(p *pebble.Options) { p.Cache, p.CacheSize = own, 3<<20 }, own},
	} {
		o := testOptions(vfs.NewMem())
		o.Cache, o.Tune = shared, c.tune
		p, err := o.pebbleOptions(newFailure(), newBacklog(), newScheduler(), func() {})
		require.NoError(t, err, name)
		require.True(t, c.want == p.Cache, name)
		if c.want == nil {
			require.EqualValues(t, 3<<20, p.CacheSize, name)
		}
	}
}

// TestOptionsThatDoNotGoTogether are a mistake of the caller's and no damage.
func TestOptionsThatDoNotGoTogether(t *testing.T) {
	fs := vfs.NewMem()
	r := open(t, fs)
	put(t, create(t, r), 0, "a", "1")
	require.NoError(t, r.Close())
	o := testOptions(fs)
	o.Tune = func(p *pebble.Options) { p.MemTableStopWritesThreshold = 1 }
	r = openWith(t, o)
	_, err := r.Current()
	require.ErrorContains(t, err, "MemTableStopWritesThreshold (1) must be >= 2")
	require.NotErrorIs(t, err, ErrCorrupt)
	_, err = r.Create(Identity{Topic: "devices"})
	require.ErrorContains(t, err, "MemTableStopWritesThreshold")
	require.NoError(t, r.Close())
	require.Equal(t, map[string]string{"a": "1"}, rows(t, current(t, open(t, fs))))
}

func TestDefaults(t *testing.T) {
	var o Options
	o.setDefaults()
	require.Equal(t, vfs.Default, o.FS)
	require.Equal(t, int64(64<<20), o.CacheBytes)
	require.Equal(t, int64(16<<20), o.MemTableBytes)
	require.NotNil(t, o.Logger)
	bl := newBacklog()
	p, err := o.pebbleOptions(newFailure(), bl, newScheduler(), func() {})
	require.NoError(t, err)
	require.Equal(t, int64(64<<20), p.CacheSize)
	require.Equal(t, uint64(16<<20), p.MemTableSize)
	require.Equal(t, 40, bl.limit)
	require.True(t, p.DisableWAL)
	for _, l := range p.Levels {
		require.NotNil(t, l.FilterPolicy)
		require.Equal(t, sstable.FastestCompression, l.Compression())
	}
}

func TestPebblesMessages(t *testing.T) {
	var out strings.Builder
	fail := newFailure()
	l := &pebbleLogger{log: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})), fail: fail}
	l.Infof("info %d\n", 1)
	l.Errorf("error %d", 2)
	require.NoError(t, fail.get())
	l.Fatalf("fatal %d", 3)
	require.Contains(t, out.String(), `level=DEBUG msg="pebble: info 1"`)
	require.Contains(t, out.String(), `level=ERROR msg="pebble: error 2"`)
	require.Contains(t, out.String(), `level=ERROR msg="pebble: fatal 3"`)
	var w *WriteError
	require.ErrorAs(t, fail.get(), &w)
	require.ErrorContains(t, w, "fatal 3")
}
