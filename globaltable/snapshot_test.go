package globaltable

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/internal/kafkatest"
)

// GetMany is Get for each key, whatever keys there are and however often.
func TestGetManyIsGet(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	e := newEnv(t, kafkatest.Fake(t), 3)
	e.put(numbered("k", 0, 300)...)
	e.put("=empty", "\xff=ff", "\xff\xff=ffff", "a\x00=zero", "a=a", "aa=aa")
	for i := range 50 {
		e.put(fmt.Sprint("k", i*3))
	}
	r := e.ready()
	pool := append(slices.Collect(maps.Keys(e.want)), "absent", "k", "k1000", "a\x00\x00", "\x00")
	for i := range 50 {
		pool = append(pool, fmt.Sprint("k", i*3)) // deleted
	}
	for range 100 {
		keys := make([]string, rng.IntN(60))
		for i := range keys {
			keys[i] = pool[rng.IntN(len(pool))]
		}
		asked := slices.Clone(keys)
		many, err := r.GetMany(keys)
		require.NoError(t, err)
		require.Equal(t, asked, keys, "the keys are not moved")
		require.Len(t, many, len(keys))
		snap, err := r.Snapshot()
		require.NoError(t, err)
		for i, key := range keys {
			entry, ok, err := r.GetEntry(key)
			require.NoError(t, err)
			require.NoError(t, many[i].Err)
			require.Equal(t, entry, many[i].Entry)
			require.Equal(t, ok, many[i].Found)
			want, has := e.want[key]
			require.Equal(t, has, ok)
			require.Equal(t, want, entry.Value)
			frozen, ok, err := snap.GetEntry(key)
			require.NoError(t, err)
			require.Equal(t, has, ok)
			require.Equal(t, entry, frozen)
		}
		snap.Close()
	}
}

// Range and Prefix return what sorting and comparing the keys gives, for any
// bounds.
func TestRangeAndPrefixOfAnyBounds(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 2)
	keys := []string{"", "\x00", "\x00\x00", "\x01", "a", "a\x00", "a\xff", "a\xff\xff", "aa", "ab", "b", "\xfe", "\xff", "\xff\x00", "\xff\xff", "\xff\xff\xff"}
	for _, k := range keys {
		e.put(k + "=" + k)
	}
	r := e.ready()
	snap, err := r.Snapshot()
	require.NoError(t, err)
	defer snap.Close()
	slices.Sort(keys)
	got := func(seq func(func(Entry[string, string], error) bool)) []string {
		found := []string{}
		for en, err := range seq {
			require.NoError(t, err)
			require.True(t, en.Found)
			require.Equal(t, en.Key, en.Value)
			found = append(found, en.Key)
		}
		return found
	}
	where := func(ok func(string) bool) []string {
		found := []string{}
		for _, k := range keys {
			if ok(k) {
				found = append(found, k)
			}
		}
		return found
	}
	require.Equal(t, keys, got(snap.All()))
	bounds := append(slices.Clone(keys), "a\x01", "aaa", "c", "\xff\xfe", "\xff\xff\xff\xff")
	for _, from := range bounds {
		for _, to := range bounds {
			require.Equal(t, where(func(k string) bool { return k >= from && k < to }), got(snap.Range(from, to)), "%q to %q", from, to)
		}
		require.Equal(t, where(func(k string) bool { return strings.HasPrefix(k, from) }), got(snap.Prefix([]byte(from))), "%q", from)
	}
	require.Equal(t, keys, got(snap.Prefix(nil)), "nothing begins with less")
}

// An iteration may be ended by its user at each row, and begun again.
func TestIterationsThatAreBroken(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	e.put(numbered("k", 0, 10)...)
	r := e.ready()
	snap, err := r.Snapshot()
	require.NoError(t, err)
	all := snap.All()
	for stop := range 12 {
		n := 0
		for _, err := range all {
			require.NoError(t, err)
			if n++; n > stop {
				break
			}
		}
		require.Equal(t, min(stop+1, 10), n)
	}
	// Two at once, and reads in between.
	for a, err := range all {
		require.NoError(t, err)
		for b, err := range snap.Range(a.Key, a.Key+"\x00") {
			require.NoError(t, err)
			require.Equal(t, a, b)
		}
		_, ok, err := snap.Get(a.Key)
		require.NoError(t, err)
		require.True(t, ok)
	}
	// Closed in the middle of an iteration by its own user.
	n := 0
	for _, err := range all {
		if err != nil {
			require.ErrorIs(t, err, ErrClosed)
			break
		}
		n++
		snap.Close()
	}
	require.Positive(t, n)
	for _, err := range all {
		require.ErrorIs(t, err, ErrClosed, "and nothing else")
	}
	snap.Close()
}

// A snapshot of rows that were rebuilt says so: it neither hangs, nor mixes, nor
// tells an old row as a new one.
func TestSnapshotAcrossARebuild(t *testing.T) {
	each(t, 1, func(t *testing.T, e *env) {
		e.put("a=old", "b=old")
		r := e.ready()
		snap, err := r.Snapshot()
		require.NoError(t, err)
		before := snap.Positions()
		e.recreate(1)
		e.put("a=new", "c=new")
		r.until("the new rows answer", func() bool { v, _, err := r.Get("a"); return err == nil && v == "new" })
		r.until("the old ones are gone", func() bool { _, _, err := snap.Get("a"); return err != nil })
		_, _, err = snap.GetEntry("a")
		require.ErrorIs(t, err, ErrClosed)
		for _, seq := range []func(func(Entry[string, string], error) bool){snap.All(), snap.Range("a", "z"), snap.Prefix([]byte("a"))} {
			n := 0
			for _, err := range seq {
				require.ErrorIs(t, err, ErrClosed)
				n++
			}
			require.Equal(t, 1, n)
		}
		require.Equal(t, before, snap.Positions(), "what it stood for is known still")
		snap.Close()
		snap.Close()

		next, err := r.Snapshot()
		require.NoError(t, err)
		defer next.Close()
		require.NotEqual(t, before[0].TopicID, next.Positions()[0].TopicID)
		en, ok, err := next.GetEntry("a")
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, "new", en.Value)
		require.EqualValues(t, 2, en.Generation)
	})
}

// Snapshots that nobody closed keep no table open, and are closed with it; those
// that are read at that moment end in order.
func TestSnapshotsLeftOpenAtClose(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 2)
	e.put(numbered("k", 0, 500)...)
	r := e.ready()
	var wg sync.WaitGroup
	begun := make(chan struct{}, 4)
	var snaps []*Snapshot[string, string]
	for i := range 50 {
		snap, err := r.Snapshot()
		require.NoError(t, err)
		snaps = append(snaps, snap)
		r.sees(e.put(fmt.Sprint("k", i, "=changed")))
	}
	for _, snap := range snaps[:4] {
		wg.Go(func() {
			begun <- struct{}{}
			for {
				n := 0
				for _, err := range snap.All() {
					if errors.Is(err, ErrClosed) {
						return
					}
					if err != nil {
						t.Errorf("iteration: %v", err)
						return
					}
					n++
				}
				if n != 500 {
					t.Errorf("%d rows", n)
				}
			}
		})
	}
	for range 4 {
		<-begun
	}
	require.NoError(t, r.Close())
	wg.Wait()
	for _, snap := range snaps {
		_, _, err := snap.Get("k1")
		require.ErrorIs(t, err, ErrClosed)
		snap.Close()
	}
}

// panicky is a codec that panics on some values, in both directions.
type panicky struct{ codec.Codec[string] }

func (c panicky) Encode(dst []byte, v string, m codec.Meta) ([]byte, error) {
	switch v {
	case "panic":
		panic("cannot encode")
	case "shrink":
		return nil, nil
	}
	return c.Codec.Encode(dst, v, m)
}

func (c panicky) Decode(b []byte, m codec.Meta) (string, error) {
	if string(b) == "boom" {
		panic("cannot decode")
	}
	return c.Codec.Decode(b, m)
}

// A codec that panics is one that returns an error: of its row or key, in each
// way of reading.
func TestCodecsThatPanic(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	e.put("a=1", "b=boom", "boom=2", "c=3")
	p := panicky{codec.String()}
	tb, err := Open(e.topic, codec.Codec[string](p), codec.Codec[string](p), e.opts(InMemory())...)
	require.NoError(t, err)
	r := e.run(tb)
	r.waitReady()

	panicked := &PanicError{}
	decode, bad := &DecodeError{}, &KeyError{}
	_, ok, err := r.Get("b")
	require.False(t, ok)
	require.ErrorAs(t, err, &decode)
	require.ErrorAs(t, err, &panicked)
	require.Equal(t, "value codec", panicked.Where)
	require.Equal(t, "cannot decode", panicked.Value)
	require.Contains(t, string(panicked.Stack), "snapshot_test.go")
	require.NotContains(t, err.Error(), "snapshot_test.go")
	_, _, err = r.Get("panic")
	require.ErrorAs(t, err, &bad)
	require.ErrorAs(t, err, &panicked)
	require.Equal(t, "key codec", panicked.Where)

	many, err := r.GetMany([]string{"a", "panic", "b", "c", "shrink", "a"})
	require.NoError(t, err)
	require.Equal(t, "1", many[0].Value)
	require.ErrorAs(t, many[1].Err, &bad)
	require.ErrorAs(t, many[2].Err, &decode)
	require.Equal(t, "3", many[3].Value)
	require.ErrorContains(t, many[4].Err, "Encode has to append")
	require.Equal(t, many[0], many[5])

	snap, err := r.Snapshot()
	require.NoError(t, err)
	defer snap.Close()
	var values []string
	for en, err := range snap.All() {
		if err != nil {
			require.ErrorAs(t, err, &decode)
			values = append(values, fmt.Sprint("error at ", decode.Offset))
			continue
		}
		values = append(values, en.Value)
	}
	require.Equal(t, []string{"1", "error at 1", "error at 2", "3"}, values)
	for _, bounds := range [][2]string{{"panic", "z"}, {"a", "panic"}} {
		n := 0
		for _, err := range snap.Range(bounds[0], bounds[1]) {
			require.ErrorAs(t, err, &bad)
			n++
		}
		require.Equal(t, 1, n)
	}
	_, _, err = snap.Get("panic")
	require.ErrorAs(t, err, &bad)
}
