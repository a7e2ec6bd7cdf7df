package globaltable

import (
	"bytes"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A key that has records in two partitions is reported, once, whether they come in
// bulk, live, or after a restart; the one that is applied last is the row.
func TestKeyInTwoPartitionsIsReported(t *testing.T) {
	each(t, 3, func(t *testing.T, e *env) {
		dir := t.TempDir()
		var log bytes.Buffer
		to := func(p int32, pairs ...string) []*kgo.Record {
			rs := records(e.topic, pairs...)
			e.broker.ProduceTo(t, p, rs...)
			return rs
		}
		to(0, append(numbered("k", 0, 200), "moved=0", "later=0", "restarted=0")...)
		to(1, append(numbered("m", 0, 200), "moved=1")...)
		to(2, "moved") // a deletion is a record too
		r := e.ready(Dir(dir), bulkOf(50, 1000), Logger(slog.New(slog.NewTextHandler(&log, nil))))
		require.EqualValues(t, 1, r.Stats().SpreadKeys)
		require.Contains(t, r.Stats().String(), " spread-keys=1")
		r.sees(to(1, "later=1", "moved=2"))
		require.EqualValues(t, 2, r.Stats().SpreadKeys)
		v, ok, err := r.Get("later")
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, "1", v)
		r.sees(to(0, "later=2", "k1=1", "k2"))
		require.EqualValues(t, 2, r.Stats().SpreadKeys, "once for each key, and others have one partition")
		r.close()
		require.Contains(t, log.String(), "a key has records in two partitions")

		// The rows know where they are from.
		r = e.ready(Dir(dir))
		require.Zero(t, r.Stats().SpreadKeys)
		r.sees(to(2, "restarted=1"))
		require.EqualValues(t, 1, r.Stats().SpreadKeys)
	})
}

// The sample stays small, and is a sample of all keys.
func TestSpreadSample(t *testing.T) {
	for _, format := range []string{"device-%d", "%09d", "%d-of-one-and-the-same-house", "customer-%05d-profile1", "k%d"} {
		s := newSpread(TopicID{})
		none := func([]byte) (int32, bool) { return 0, false }
		found := 0
		const keys = 200_000
		for p := range int32(2) {
			for i := range keys {
				key := fmt.Appendf(nil, format, i)
				if _, moved := s.see(&kgo.Record{Key: key, Partition: p}, none); moved {
					found++
				}
			}
		}
		require.LessOrEqual(t, len(s.seen), spreadKeys, format)
		require.Greater(t, found, spreadKeys/10, format)
		// Each is counted once.
		for i := range keys {
			_, moved := s.see(&kgo.Record{Key: fmt.Appendf(nil, format, i), Partition: 0}, none)
			require.False(t, moved)
		}
		require.Less(t, found, 3*spreadKeys, format)
	}
}
