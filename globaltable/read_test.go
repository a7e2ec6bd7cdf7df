package globaltable

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/internal/kafkatest"
)

func TestEntrySaysWhereARowComesFrom(t *testing.T) {
	each(t, 4, func(t *testing.T, e *env) {
		at := time.UnixMilli(1_500_000_000_123)
		rec := &kgo.Record{Topic: e.topic, Key: []byte("a"), Value: []byte("1"), Timestamp: at}
		e.broker.Produce(t, rec)
		r := e.ready()
		got, ok, err := r.GetEntry("a")
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, Entry[string, string]{
			Key: "a", Value: "1", Found: true, Timestamp: at,
			Partition: rec.Partition, Offset: rec.Offset, Generation: r.Stats().Generation,
		}, got)
	})
}

func TestAbsentIsNoError(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	r := e.ready()
	v, ok, err := r.Get("nobody")
	require.NoError(t, err)
	require.False(t, ok)
	require.Empty(t, v)
	en, ok, err := r.GetEntry("nobody")
	require.NoError(t, err)
	require.False(t, ok)
	require.Equal(t, Entry[string, string]{Key: "nobody"}, en)
}

// evenKeys is a codec that cannot encode everything.
type evenKeys struct{ codec.Codec[uint32] }

var errOdd = errors.New("odd key")

func (c evenKeys) Encode(dst []byte, v uint32, m codec.Meta) ([]byte, error) {
	if v%2 == 1 {
		return append(dst, 1, 2, 3), errOdd
	}
	return c.Codec.Encode(dst, v, m)
}

func TestOneBadRowOrKeyConcernsNoOther(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	key := func(n byte) string { return string([]byte{0, 0, 0, n}) }
	e.put(key(2)+"=20", key(4)+"=not a number", key(6)+"=60", "bad=1")
	tb, err := Open(e.topic, codec.Codec[uint32](evenKeys{codec.Uint32()}), codec.JSON[int](), e.opts(InMemory())...)
	require.NoError(t, err)
	defer func() { require.NoError(t, tb.Close()) }()
	done := make(chan error, 1)
	go func() { done <- tb.Run(t.Context()) }()
	require.NoError(t, tb.WaitReady(e.ctx()), "a row that does not decode keeps nothing from being ready")

	var decode *DecodeError
	_, ok, err := tb.Get(4)
	require.False(t, ok)
	require.ErrorAs(t, err, &decode)
	require.EqualValues(t, 1, decode.Offset)
	var broken *codec.Error
	require.ErrorAs(t, err, &broken)
	var bad *KeyError
	_, _, err = tb.Get(5)
	require.ErrorAs(t, err, &bad)
	require.ErrorIs(t, err, errOdd)

	keys := []uint32{6, 5, 4, 2, 6, 8, 2}
	many, err := tb.GetMany(keys)
	require.NoError(t, err)
	require.Len(t, many, len(keys))
	for i, r := range many {
		require.Equal(t, keys[i], r.Key)
	}
	require.Equal(t, 60, many[0].Value)
	require.ErrorIs(t, many[1].Err, errOdd)
	require.ErrorAs(t, many[2].Err, &decode)
	require.Equal(t, 20, many[3].Value)
	require.Equal(t, many[0], many[4], "a key that stands there twice")
	require.False(t, many[5].Found)
	require.NoError(t, many[5].Err)
	require.Equal(t, many[3], many[6])

	none, err := tb.GetMany(nil)
	require.NoError(t, err)
	require.Empty(t, none)

	// In a snapshot the others follow. The key "bad" has no four bytes.
	snap, err := tb.Snapshot()
	require.NoError(t, err)
	defer snap.Close()
	var values []int
	var errs int
	for en, err := range snap.All() {
		if err != nil {
			require.ErrorAs(t, err, &decode)
			errs++
			continue
		}
		values = append(values, en.Value)
	}
	require.Equal(t, []int{20, 60}, values)
	require.Equal(t, 2, errs)
	_, _, err = snap.Get(5)
	require.ErrorAs(t, err, &bad)
	for _, err := range snap.Range(2, 5) {
		if err != nil && !errors.As(err, &decode) {
			require.ErrorAs(t, err, &bad)
		}
	}
}

func TestSnapshotIsFrozenAndOrdered(t *testing.T) {
	each(t, 3, func(t *testing.T, e *env) {
		e.put("b=2", "a=1", "c=3", "ab=12")
		r := e.ready()
		snap, err := r.Snapshot()
		require.NoError(t, err)
		defer snap.Close()
		before := snap.Positions()
		r.sees(e.put("a=changed", "b", "d=4"))
		require.Equal(t, before, snap.Positions())
		require.NotEqual(t, before, r.Positions())

		keys := func(seq func(func(Entry[string, string], error) bool)) (ks []string) {
			for en, err := range seq {
				require.NoError(t, err)
				ks = append(ks, en.Key+"="+en.Value)
			}
			return ks
		}
		require.Equal(t, []string{"a=1", "ab=12", "b=2", "c=3"}, keys(snap.All()))
		require.Equal(t, []string{"ab=12", "b=2"}, keys(snap.Range("ab", "c")))
		require.Equal(t, []string{"a=1", "ab=12"}, keys(snap.Prefix([]byte("a"))))
		require.Empty(t, keys(snap.Range("c", "a")))
		for _, err := range snap.All() {
			require.NoError(t, err)
			break
		}
		v, ok, err := snap.Get("b")
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, "2", v)
		en, ok, err := snap.GetEntry("d")
		require.NoError(t, err)
		require.False(t, ok)
		require.Equal(t, "d", en.Key)
		snap.Close()
		_, _, err = snap.Get("b")
		require.ErrorIs(t, err, ErrClosed)
		e.holds(r)
	})
}
