package globaltable

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/globaltable/enrich/internal/kafkatest"
	"github.com/globaltable/enrich/internal/store"
)

// history is all that was produced to a topic, so that the rows of any position
// can be told.
type history struct {
	e   *env
	rng *rand.Rand
	cl  *kgo.Client
	// keyed is set for a topic that takes no records without a key.
	keyed bool

	mu      sync.Mutex
	records []*kgo.Record
}

// newHistory produces in batches of some dozen records.
func newHistory(e *env, rng *rand.Rand) *history {
	return &history{e: e, rng: rng, cl: e.broker.Client(e.t, kgo.ProducerBatchMaxBytes(2048))}
}

// put produces n records of random keys: rows, deletions, some without a key, and
// some that a pickyTransform does not keep.
func (h *history) put(n int) {
	h.e.t.Helper()
	var rs []*kgo.Record
	for range n {
		r := &kgo.Record{Topic: h.e.topic, Key: fmt.Appendf(nil, "k%d", h.rng.IntN(400))}
		switch d := h.rng.IntN(100); {
		case d < 20: // a deletion
		case d < 25:
			r.Value = fmt.Appendf(nil, "filter-%d", h.rng.Uint32())
		case d < 30:
			r.Value = fmt.Appendf(nil, "reject-%d", h.rng.Uint32())
		default:
			r.Value = fmt.Appendf(nil, "v%d-%s", h.rng.Uint32(), strings.Repeat("x", h.rng.IntN(40)))
		}
		if h.rng.IntN(50) == 0 && !h.keyed {
			r.Key = nil
		}
		rs = append(rs, r)
	}
	require.NoError(h.e.t, h.cl.ProduceSync(context.Background(), rs...).FirstErr())
	h.mu.Lock()
	defer h.mu.Unlock()
	h.records = append(h.records, rs...)
}

// pickyTransform does not keep some of what put produces.
func pickyTransform(e Entry[string, string]) (string, bool, error) { return marking("+")(e) }

// marking returns a transform that puts a mark before values, and does not keep
// some of what put produces.
func marking(mark string) func(Entry[string, string]) (string, bool, error) {
	return func(e Entry[string, string]) (string, bool, error) {
		switch {
		case strings.HasPrefix(e.Value, "filter"):
			return "", false, nil
		case strings.HasPrefix(e.Value, "reject"):
			return "", false, errors.New("no")
		}
		return mark + e.Value, true, nil
	}
}

// upTo returns the rows and counters of the records below each partition's
// position.
func (h *history) upTo(next map[int32]int64, picky bool) (rows map[string]string, c store.Counters) {
	if picky {
		return h.fold(next, nil, "+")
	}
	return h.fold(next, nil, "")
}

// fold is upTo without the rows whose record lies below where the log starts. A
// mark is that of the transform, empty without one.
func (h *history) fold(next, starts map[int32]int64, mark string) (rows map[string]string, c store.Counters) {
	h.mu.Lock()
	defer h.mu.Unlock()
	rows = map[string]string{}
	picky, gone := mark != "", map[string]bool{}
	slices.SortStableFunc(h.records, func(a, b *kgo.Record) int { return int(a.Offset - b.Offset) })
	for _, r := range h.records {
		if r.Offset >= next[r.Partition] {
			continue
		}
		c.Records++
		key, value := string(r.Key), string(r.Value)
		gone[key] = r.Offset < starts[r.Partition]
		switch {
		case r.Key == nil:
			c.NullKeys++
		case r.Value == nil:
			c.Tombstones++
			delete(rows, key)
		case picky && strings.HasPrefix(value, "filter"):
			c.Filtered++
			delete(rows, key)
		case picky && strings.HasPrefix(value, "reject"):
			c.Rejected++
			delete(rows, key)
		default:
			rows[key] = mark + value
		}
	}
	maps.DeleteFunc(rows, func(key, _ string) bool { return gone[key] })
	return rows, c
}

// bytesBetween returns the size of the records from one position to another.
func (h *history) bytesBetween(from, to map[int32]int64) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.records {
		if r.Offset >= from[r.Partition] && r.Offset < to[r.Partition] {
			n += len(r.Key) + len(r.Value)
		}
	}
	return n
}

// ends returns the position behind the last record of each partition.
func (h *history) ends() map[int32]int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := map[int32]int64{}
	for _, r := range h.records {
		m[r.Partition] = max(m[r.Partition], r.Offset+1)
	}
	return m
}

func nextOf(s *store.State) map[int32]int64 {
	m := map[int32]int64{}
	for p, at := range s.Partitions {
		if at.Known {
			m[int32(p)] = at.Next
		}
	}
	return m
}

// caughtUp waits until the table has all records, and checks rows, positions and
// counters.
func (h *history) caughtUp(r *replica, picky bool) {
	h.e.t.Helper()
	ends := h.ends()
	for p, end := range ends {
		require.NoError(h.e.t, r.WaitFor(h.e.ctx(), Position{Partition: p, Offset: end}))
	}
	rows, want := h.upTo(ends, picky)
	require.Equal(h.e.t, rows, r.rows())
	state := r.e.served().State()
	maps.DeleteFunc(ends, func(_ int32, end int64) bool { return end == 0 })
	got := nextOf(state)
	maps.DeleteFunc(got, func(_ int32, next int64) bool { return next == 0 })
	require.Equal(h.e.t, ends, got)
	require.Equal(h.e.t, want, state.Counters)
}

// smallFetches makes a fake answer fetches with few records.
func smallFetches(b *kafkatest.Broker, bytes int32) {
	b.Fake().ControlKey(kmsg.Fetch.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		b.Fake().KeepControl()
		for _, t := range req.(*kmsg.FetchRequest).Topics {
			for i := range t.Partitions {
				t.Partitions[i].PartitionMaxBytes = bytes
			}
		}
		return nil, nil, false
	})
}

// bulkOf makes a table load in bulk what is so many records behind, in chunks of
// a size.
func bulkOf(from int64, chunkBytes int) Opt {
	return opt(func(c *config) { c.bulk = bulkConfig{from: from, chunkBytes: chunkBytes} })
}

// nullKeyed is a topic that takes records without a key.
func nullKeyed(t *testing.T, b *kafkatest.Broker, partitions int32) *env {
	t.Helper()
	return newEnvWith(t, b, partitions, map[string]string{"cleanup.policy": "delete"})
}

// Random histories, read by a table that turns from batches to bulk loads and
// back, is closed and opened again: the rows are the fold of what was produced,
// the positions are its ends, and each record was counted once.
func TestRandomHistories(t *testing.T) {
	bulks := uint64(0)
	for range 8 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 0))
			b := kafkatest.Fake(t)
			smallFetches(b, int32(2000+rng.IntN(40_000)))
			e := nullKeyed(t, b, int32(1+rng.IntN(4)))
			h := newHistory(e, rng)
			picky := rng.IntN(2) == 0
			hook := &recorder{}
			opts := []Opt{
				Dir(t.TempDir()), AcceptUncompacted(), Hooks(hook),
				bulkOf(int64(20+rng.IntN(500)), 1000+rng.IntN(50_000)), FlushInterval(time.Duration(1+rng.IntN(50)) * time.Millisecond),
			}
			if picky {
				opts = append(opts, Transform("picky", pickyTransform))
			}
			h.put(2000 + rng.IntN(6000))
			r := e.open(opts...)
			for range 4 + rng.IntN(8) {
				switch rng.IntN(6) {
				case 0:
					h.put(1 + rng.IntN(4000))
				case 1, 2:
					for range 1 + rng.IntN(20) {
						h.put(1 + rng.IntN(10))
					}
				case 3:
					h.caughtUp(r, picky)
				case 4:
					// Also in the middle of whatever it does.
					bulks += r.Stats().BulkLoads
					r.close()
					h.put(rng.IntN(3000))
					r = e.open(opts...)
				case 5:
					r.waitReady()
					h.put(1)
				}
			}
			h.caughtUp(r, picky)
			bulks += r.Stats().BulkLoads
			r.close()
			_, want := h.upTo(h.ends(), picky)
			drops := map[DropReason]int{}
			for reason, n := range map[DropReason]uint64{DropNullKey: want.NullKeys, DropFiltered: want.Filtered, DropRejected: want.Rejected} {
				if n > 0 {
					drops[reason] = int(n)
				}
			}
			require.Equal(t, drops, hook.dropped(), "a record is dropped once")
			r = e.ready(opts...)
			h.caughtUp(r, picky)
		})
	}
	require.GreaterOrEqual(t, bulks, uint64(8), "they were loaded in bulk")
}
