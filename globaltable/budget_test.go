package globaltable

import (
	"bytes"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/internal/kafkatest"
	"github.com/globaltable/enrich/internal/store"
)

func TestBudgetsThatAreRefused(t *testing.T) {
	for want, o := range map[string]Opt{
		"a budget has to be at least 16777216 bytes, not 1000":          MemoryBudget(1000),
		"Share needs a budget":                                          Share(nil),
		"needs a ValueSize of type func(string) int, not func(int) int": ValueSize(func(int) int { return 1 }),
		"ValueSize needs a function":                                    ValueSize[string](nil),
	} {
		_, err := Open("devices", codec.String(), codec.String(), Brokers("127.0.0.1:1"), InMemory(), o)
		require.ErrorContains(t, err, want)
	}
}

// Tables with one budget have one block cache, and divide what is for decoded
// rows and for what is in flight. The last one to close frees the cache.
func TestTablesShareABudget(t *testing.T) {
	b := NewBudget(64 << 20)
	require.EqualValues(t, 64<<20, b.Bytes())
	var caches []*pebble.Cache
	tune := func(p *pebble.Options) { caches = append(caches, p.Cache) }
	open := func() *engine {
		tb, err := Open("devices", codec.String(), codec.String(), Brokers("127.0.0.1:1"), InMemory(), Share(b), Pebble(tune))
		require.NoError(t, err)
		return tb.e
	}
	first := open()
	gen, err := first.root.Create(store.Identity{Topic: "devices"})
	require.NoError(t, err)
	first.serve(gen)
	cache := first.view.Load().cache.(*rowCache[string])
	require.EqualValues(t, 8<<20, cache.rows.GetMaximum())
	require.Equal(t, 2<<20, first.share.chunk())
	require.EqualValues(t, 2<<20, first.share.fetch())
	require.Equal(t, 1<<20, first.share.beside().chunk(), "what is loaded beside rows that answer")
	require.EqualValues(t, 2<<20, first.share.beside().answers())
	require.EqualValues(t, (8<<20)/blockShare, first.share.memtable(), "it is taken out of the block cache")

	second := open()
	require.EqualValues(t, 4<<20, cache.rows.GetMaximum(), "it makes room for the second table")
	require.Equal(t, 1<<20, second.share.chunk())
	require.EqualValues(t, 8<<20, second.share.row(), "how large a row may be depends on the whole")
	_, err = second.root.Create(store.Identity{Topic: "devices"})
	require.NoError(t, err)
	// A rebuild's generation too.
	_, err = first.root.Create(store.Identity{Topic: "devices"})
	require.NoError(t, err)
	require.Len(t, caches, 3)
	for _, c := range caches {
		require.Same(t, b.cache, c)
		require.EqualValues(t, (64<<20)/blockShare, c.MaxSize())
	}

	require.NoError(t, second.close())
	require.EqualValues(t, 8<<20, cache.rows.GetMaximum())
	require.NotNil(t, b.cache)
	require.NoError(t, first.close())
	require.Nil(t, b.cache)
	third := open()
	require.NotNil(t, b.cache, "it can be used again")
	require.NoError(t, third.close())
	require.Empty(t, b.members)
}

// A table that joins while another is about to answer makes that one's rows
// smaller too.
func TestBudgetIsSharedWithATableThatIsAboutToAnswer(t *testing.T) {
	b := NewBudget(64 << 20)
	f := alone(t, 1, Share(b))
	var joined *share
	f.e.newCache = func(bytes int64) forgetter {
		cache := stringCache(bytes)
		joined = b.join(func() {})
		return cache
	}
	f.e.serve(f.gen)
	defer joined.leave()
	require.EqualValues(t, 4<<20, f.e.view.Load().cache.(*rowCache[string]).rows.GetMaximum())
}

// A table that cannot be opened takes no part of the budget.
func TestBudgetOfATableThatDoesNotOpen(t *testing.T) {
	b := NewBudget(16 << 20)
	dir := t.TempDir() + "/t"
	tb, err := Open("devices", codec.String(), codec.String(), Brokers("127.0.0.1:1"), Dir(dir), Share(b))
	require.NoError(t, err)
	_, err = Open("devices", codec.String(), codec.String(), Brokers("127.0.0.1:1"), Dir(dir), Share(b))
	require.ErrorIs(t, err, ErrLocked)
	require.Len(t, b.members, 1)
	require.NoError(t, tb.Close())
	require.Nil(t, b.cache)
}

// The weight of a kept row is its key's, its value's and a constant.
func TestValueSizeWeighsKeptRows(t *testing.T) {
	f := alone(t, 1)
	f.e.serve(f.gen)
	value := strings.Repeat("v", 1000)
	f.given(t, batchOf(0, 0, 1, "a="+value))
	weigh := func(size func(string) int) uint64 {
		f.e.serve(f.gen)
		tb := &Table[string, string]{e: f.e, key: stringKey, value: stringKey, plain: true, size: size}
		_, ok, err := tb.Get("a")
		require.NoError(t, err)
		require.True(t, ok)
		return f.e.view.Load().cache.(*rowCache[string]).rows.WeightedSize()
	}
	plain := weigh(nil)
	require.Greater(t, plain, uint64(1000))
	require.EqualValues(t, 4000, weigh(func(v string) int { return 5 * len(v) })-plain)
	require.EqualValues(t, 1000, plain-weigh(func(string) int { return -1 }), "less than nothing counts as nothing")
}

// A record that is too large for the budget ends Run with an error that says what
// to do; nothing behind it is applied, and with a larger budget Run goes on.
func TestRowThatIsTooLarge(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		configs := kafkatest.Compacted()
		configs["max.message.bytes"] = "8388608"
		e := newEnvWith(t, b, 1, configs)
		client := b.Client(t, kgo.ProducerBatchMaxBytes(8<<20))
		dir := t.TempDir() + "/t"
		e.put("a=1")
		r := e.ready(Dir(dir), MemoryBudget(minBudget))
		require.EqualValues(t, minBudget/rowShare, r.e.share.row())
		large := &kgo.Record{Topic: e.topic, Key: []byte("large"), Value: bytes.Repeat([]byte("v"), minBudget/rowShare)}
		require.NoError(t, client.ProduceSync(e.ctx(), large).FirstErr())
		fold(e.want, []*kgo.Record{large})
		var tooLarge *RowTooLargeError
		require.ErrorAs(t, r.runErr(), &tooLarge)
		require.Equal(t, e.topic, tooLarge.Topic)
		require.EqualValues(t, len(large.Key)+len(large.Value), tooLarge.Bytes)
		require.EqualValues(t, minBudget, tooLarge.Budget)
		require.ErrorContains(t, tooLarge, "MemoryBudget(")
		require.NoError(t, r.Close())

		e.put("b=2")
		r = e.ready(Dir(dir), MemoryBudget(tooLarge.Bytes*rowShare))
		require.Equal(t, Resumed, r.Stats().Decision)
		e.holds(r)
		r.close()
	})
}
