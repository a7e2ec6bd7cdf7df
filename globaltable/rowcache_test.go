package globaltable

import (
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/globaltable/enrich/codec"
)

func TestRowCacheRefusesWhatWasReadBeforeAChange(t *testing.T) {
	c := newRowCache[string](1 << 20)
	row := &cachedRow[string]{value: "old", found: true, weight: 100}
	read := c.before("a")
	c.forget([]byte("a"))
	c.add("a", row, read)
	_, ok := c.get("a")
	require.False(t, ok, "it may be older than the change")

	c.add("a", row, c.before("a"))
	kept, ok := c.get("a")
	require.True(t, ok)
	require.Same(t, row, kept)
	c.forget([]byte("a"))
	_, ok = c.get("a")
	require.False(t, ok)
}

// The moment between the check and the insertion is no gap: forget waits for it.
func TestRowCacheLoadsBesideChanges(t *testing.T) {
	c := newRowCache[string](1 << 20)
	var version atomic.Int64 // of the row, as a store has it
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for !stop.Load() {
				read := c.before("a")
				c.add("a", &cachedRow[string]{offset: version.Load(), found: true, weight: 100}, read)
			}
		})
	}
	for range 20_000 {
		now := version.Add(1)
		c.forget([]byte("a"))
		if row, ok := c.get("a"); ok && row.offset < now {
			t.Errorf("row %d is kept after change %d", row.offset, now)
		}
	}
	stop.Store(true)
	wg.Wait()
}

func TestRowCacheIsBounded(t *testing.T) {
	const limit = 100 << 10
	c := newRowCache[string](limit)
	add := func(i int) {
		key := fmt.Sprint("key", i)
		c.add(key, &cachedRow[string]{found: true, weight: 1 << 10}, c.before(key))
	}
	for i := range 10_000 {
		add(i)
	}
	require.LessOrEqual(t, c.rows.WeightedSize(), uint64(limit))
	require.Greater(t, c.rows.WeightedSize(), uint64(limit/2))
	require.True(t, c.full.Load())

	// What is read once is not kept any more; what is read twice is.
	require.False(t, c.before("once").wanted)
	require.True(t, c.before("once").wanted)

	c.resize(limit / 4)
	c.rows.CleanUp()
	require.LessOrEqual(t, c.rows.WeightedSize(), uint64(limit/4))
}

// Readers of one key beside its updates: after the position says so, nobody sees
// an older row, whether it is kept decoded or not; and where only Get is used, a
// reader never goes back. With -race.
func TestKeptRowsBesideUpdates(t *testing.T) {
	f := alone(t, 1)
	f.e.serve(f.gen)
	tb := &Table[string, string]{e: f.e, key: stringKey, value: stringKey, plain: true}
	f.given(t, batchOf(0, 0, 1, "a=0"))
	var stop atomic.Bool
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for !stop.Load() {
				at := f.gen.State().Get(0).Next - 1
				var v string
				var err error
				if i%2 == 0 {
					v, _, err = tb.Get("a")
				} else {
					var many []Result[string, string]
					if many, err = tb.GetMany([]string{"a", "b"}); err == nil {
						v = many[0].Value
					}
				}
				if n, _ := strconv.ParseInt(v, 10, 64); err != nil || n < at {
					t.Errorf("%v: a=%s after position %d", err, v, at)
				}
			}
		})
	}
	for i := int64(1); i < 3000; i++ {
		f.given(t, batchOf(0, i, i+1, fmt.Sprint("a=", i)))
	}
	stop.Store(true)
	wg.Wait()
	v, ok, err := tb.Get("a")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "2999", v)
}

func TestHotLookupMakesNoGarbage(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector drops what sync.Pool keeps, at random")
	}
	f := alone(t, 1)
	f.e.serve(f.gen)
	f.given(t, batchOf(0, 0, 2, `dev-1={"Room":"201"}`, "7=7"))
	type device struct{ Room string }
	devices := &Table[string, device]{e: f.e, key: codec.String(), value: codec.JSON[device](), plain: true}
	devices.e.newCache = func(bytes int64) forgetter { return newRowCache[device](bytes) }
	f.e.serve(f.gen)
	check := func(name string, get func() (bool, error)) {
		t.Helper()
		for range 2 {
			ok, err := get()
			require.NoError(t, err, name)
			require.Equal(t, name != "absent", ok, name)
		}
		require.Zero(t, testing.AllocsPerRun(1000, func() { _, _ = get() }), name)
	}
	check("get", func() (bool, error) { _, ok, err := devices.Get("dev-1"); return ok, err })
	check("entry", func() (bool, error) { _, ok, err := devices.GetEntry("dev-1"); return ok, err })
	check("absent", func() (bool, error) { _, ok, err := devices.Get("none"); return ok, err })
	var results []Result[string, device]
	keys := []string{"dev-1", "dev-1", "none"}
	check("many", func() (bool, error) {
		var err error
		results, err = devices.AppendMany(results[:0], keys)
		return results[0].Found && results[1].Found && !results[2].Found, err
	})
	encoding := &Table[string, device]{e: f.e, key: codec.String(), value: codec.JSON[device]()}
	check("key that has to be encoded", func() (bool, error) { _, ok, err := encoding.Get("dev-1"); return ok, err })
}

// Rows below a partition's log start are gone, kept or not.
func TestKeptRowsBelowTheLogStartAreGone(t *testing.T) {
	f := alone(t, 1)
	f.e.serve(f.gen)
	tb := &Table[string, string]{e: f.e, key: stringKey, value: stringKey, plain: true}
	f.given(t, batchOf(0, 0, 2, "a=1", "b=2"))
	for _, k := range []string{"a", "b"} {
		_, ok, err := tb.Get(k)
		require.NoError(t, err)
		require.True(t, ok)
	}
	b := batchOf(0, 2, 2)
	b.LogStart = 1
	f.given(t, b)
	require.NoError(t, f.applyPending())
	many, err := tb.GetMany([]string{"a", "b"})
	require.NoError(t, err)
	require.False(t, many[0].Found)
	require.True(t, many[1].Found)
	_, ok, err := tb.Get("a")
	require.NoError(t, err)
	require.False(t, ok)
}
