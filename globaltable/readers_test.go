package globaltable

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/internal/kafkatest"
)

// rounds is a topic of one partition in which each record batch writes the same
// number to all keys: batch n, from 1 on, begins at offset (n-1)*len(keys).
type rounds struct {
	t    *testing.T
	e    *env
	keys []string
	cl   *kgo.Client
	id   atomic.Pointer[TopicID]
	n    atomic.Int64 // batches that are in the topic
	over atomic.Bool  // the table was closed
	seen [6]atomic.Int64
}

func newRounds(t *testing.T) *rounds {
	e := newEnv(t, kafkatest.Fake(t), 1)
	r := &rounds{t: t, e: e}
	for i := range 8 {
		r.keys = append(r.keys, fmt.Sprint("k", i))
	}
	r.begin()
	return r
}

// begin notes which topic is there now.
func (r *rounds) begin() {
	id := TopicID(r.e.broker.Fake().TopicInfo(r.e.topic).TopicID)
	r.n.Store(0)
	r.id.Store(&id)
	r.cl = r.e.broker.Client(r.t, kgo.ManualFlushing(), kgo.MetadataMinAge(10*time.Millisecond))
}

// write writes the next batch.
func (r *rounds) write() {
	n := r.n.Load() + 1
	var failed error
	for _, k := range r.keys {
		rec := &kgo.Record{Topic: r.e.topic, Key: []byte(k), Value: strconv.AppendInt(nil, n, 10)}
		r.cl.Produce(r.e.ctx(), rec, func(_ *kgo.Record, err error) { failed = errors.Join(failed, err) })
	}
	require.NoError(r.t, r.cl.Flush(r.e.ctx()))
	require.NoError(r.t, failed)
	r.n.Store(n)
}

func (r *rounds) size() int64 { return int64(len(r.keys)) }

// one is what a read has to have for each key: no less than the position that
// was read before, unless the topic is another one since.
type one struct {
	key, value string
	ok         bool
	entry      *Entry[string, string]
}

// reader reads in one way until the table is closed.
func (r *rounds) reader(tb *replica, way int, read func() ([]one, error)) {
	for ; ; runtime.Gosched() { // the writer gets its turn
		over := r.over.Load()
		before := tb.Positions()
		all, err := read()
		after := tb.Positions()
		switch {
		case errors.Is(err, ErrClosed):
			return
		case err != nil:
			r.t.Errorf("way %d: %v", way, err)
			return
		case over:
			r.t.Errorf("way %d: an answer from a closed table", way)
			return
		}
		if len(before) == 0 || len(after) == 0 || before[0].TopicID != after[0].TopicID {
			continue
		}
		for _, o := range all {
			n, _ := strconv.ParseInt(o.value, 10, 64)
			if floor := before[0].Offset / r.size(); n < floor || o.ok != (n > 0) {
				r.t.Errorf("way %d: %s=%d (%v) after position %d", way, o.key, n, o.ok, before[0].Offset)
				return
			}
			if id := *r.id.Load(); id == after[0].TopicID && n > r.n.Load()+1 && id == *r.id.Load() {
				r.t.Errorf("way %d: %s=%d, which was not written to this topic", way, o.key, n)
				return
			}
			if o.entry != nil && o.ok && o.entry.Offset/r.size() != n-1 {
				r.t.Errorf("way %d: %s=%d of offset %d", way, o.key, n, o.entry.Offset)
				return
			}
		}
		r.seen[way].Add(1)
	}
}

// readers start a reader for each way of reading.
func (r *rounds) readers(wg *sync.WaitGroup, tb *replica) {
	wg.Go(func() {
		i := 0
		r.reader(tb, 0, func() ([]one, error) {
			i++
			k := r.keys[i%len(r.keys)]
			v, ok, err := tb.Get(k)
			return []one{{k, v, ok, nil}}, err
		})
	})
	wg.Go(func() {
		i := 0
		r.reader(tb, 1, func() ([]one, error) {
			i++
			k := r.keys[i%len(r.keys)]
			e, ok, err := tb.GetEntry(k)
			return []one{{k, e.Value, ok, &e}}, err
		})
	})
	wg.Go(func() {
		r.reader(tb, 2, func() (all []one, err error) {
			many, err := tb.GetMany(append(r.keys, r.keys[0]))
			for i := range many {
				err = errors.Join(err, many[i].Err)
				all = append(all, one{many[i].Key, many[i].Value, many[i].Found, &many[i].Entry})
			}
			return all, err
		})
	})
	for way, scan := range map[int]bool{3: false, 4: true} {
		wg.Go(func() { r.reader(tb, way, func() ([]one, error) { return r.frozen(tb, scan) }) })
	}
}

// frozen reads a snapshot: all rows are of the position that it has.
func (r *rounds) frozen(tb *replica, scan bool) (all []one, err error) {
	s, err := tb.Snapshot()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if scan {
		for e, err := range s.All() {
			if err != nil {
				return nil, r.ended(err)
			}
			all = append(all, one{e.Key, e.Value, true, &e})
		}
	} else {
		for _, k := range r.keys {
			e, ok, err := s.GetEntry(k)
			if err != nil {
				return nil, r.ended(err)
			}
			all = append(all, one{k, e.Value, ok, &e})
		}
	}
	at := int64(0)
	for _, p := range s.Positions() {
		at = p.Offset
	}
	for _, o := range all {
		if n, _ := strconv.ParseInt(o.value, 10, 64); n != at/r.size() || at%r.size() != 0 {
			return nil, fmt.Errorf("torn: %s=%s in a snapshot of position %d", o.key, o.value, at)
		}
	}
	if at > 0 && len(all) != len(r.keys) {
		return nil, fmt.Errorf("torn: %d rows in a snapshot of position %d", len(all), at)
	}
	return all, nil
}

// ended makes no error of a snapshot whose rows a rebuild has replaced.
func (r *rounds) ended(err error) error {
	if errors.Is(err, ErrClosed) && !r.over.Load() {
		return nil
	}
	return err
}

// waiter waits for batches that are to come, and reads at once.
func (r *rounds) waiter(ctx context.Context, tb *replica, ahead int64) {
	for ; ; runtime.Gosched() {
		id := *r.id.Load()
		n := r.n.Load() + ahead
		if id != *r.id.Load() {
			continue // the number is of another topic
		}
		err := tb.WaitFor(ctx, Position{TopicID: id, Offset: n * r.size()})
		if _, other := errors.AsType[*PositionError](err); other {
			continue // of a topic that is gone, or not seen yet
		}
		if err != nil {
			if ctx.Err() == nil && !r.over.Load() && !errors.Is(err, ErrClosed) && !errors.Is(err, ErrNotReady) {
				r.t.Errorf("wait: %v", err)
			}
			return
		}
		v, _, err := tb.Get(r.keys[n%r.size()])
		if errors.Is(err, ErrClosed) {
			return
		}
		at := tb.Positions()
		if len(at) == 0 || at[0].TopicID != id {
			if id == *r.id.Load() {
				r.t.Errorf("after waiting for batch %d of topic %s the rows are of %v", n, id, at)
				return
			}
			continue
		}
		if got, _ := strconv.ParseInt(v, 10, 64); err != nil || got < n {
			r.t.Errorf("after waiting for batch %d: %d %v", n, got, err)
			return
		}
		r.seen[5].Add(1)
	}
}

// Readers of every kind on many goroutines, while batches are applied one by one
// or loaded in bulk, made durable all the time, the rows are built anew for a topic
// that was created again, and the table is closed at last: no answer is older than
// the position that was read before it, or than what was waited for; no snapshot
// has a part of a batch; and what a closed table says is ErrClosed. With -race.
func TestReadersBesideEverything(t *testing.T) {
	for name, from := range map[string]int64{"batches": 1 << 40, "bulk": 1} {
		t.Run(name, func(t *testing.T) {
			r := newRounds(t)
			r.write()
			tb := r.e.ready(FlushInterval(time.Millisecond), bulkOf(from, 2000))
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			var wg sync.WaitGroup
			r.readers(&wg, tb)
			for ahead := range int64(3) {
				wg.Go(func() { r.waiter(ctx, tb, ahead) })
			}
			for round := range 3 {
				if round == 1 {
					r.e.recreate(1)
					r.begin()
				}
				for range 30 {
					r.write()
				}
				require.NoError(t, tb.WaitFor(r.e.ctx(), Position{Offset: r.n.Load() * r.size()}))
				tb.until("the rows are those of the topic", func() bool { return tb.Stats().TopicID == *r.id.Load() })
			}
			require.EqualValues(t, 1, tb.Stats().Rebuilds)
			if from == 1 {
				require.Positive(t, tb.Stats().BulkLoads)
			}
			tb.until("every way was seen", func() bool {
				for i := range r.seen {
					if r.seen[i].Load() < 10 {
						return t.Failed()
					}
				}
				return true
			})
			require.NoError(t, tb.Close()) // while everybody reads
			r.over.Store(true)
			cancel()
			wg.Wait()
			_, _, err := tb.Get("k0")
			require.ErrorIs(t, err, ErrClosed)
		})
	}
}

// slowCodec waits in the decoding of a value, once.
type slowCodec struct {
	codec.Codec[string]
	value   string
	waits   atomic.Bool
	reached chan struct{}
	release chan struct{}
}

func newSlowCodec(value string) *slowCodec {
	c := &slowCodec{Codec: codec.String(), value: value, reached: make(chan struct{}), release: make(chan struct{})}
	c.waits.Store(true)
	return c
}

func (c *slowCodec) Decode(b []byte, m codec.Meta) (string, error) {
	v := string(b)
	if v == c.value && c.waits.CompareAndSwap(true, false) {
		close(c.reached)
		<-c.release
	}
	return v, nil
}

// A row that is being loaded while its key changes is not kept: the load ends after
// the change was applied and its position published, and nobody sees the old row
// from then on.
func TestLoadAgainstInvalidate(t *testing.T) {
	type ways map[string]func(tb *Table[string, string]) (string, bool, error)
	load := ways{
		"get": func(tb *Table[string, string]) (string, bool, error) { return tb.Get("a") },
		"entry": func(tb *Table[string, string]) (string, bool, error) {
			e, ok, err := tb.GetEntry("a")
			return e.Value, ok, err
		},
		"many": func(tb *Table[string, string]) (string, bool, error) {
			many, err := tb.GetMany([]string{"b", "a"})
			if err != nil {
				return "", false, err
			}
			return many[1].Value, many[1].Found, many[1].Err
		},
	}
	for name, read := range load {
		for _, bulk := range []bool{false, true} {
			for _, change := range []string{"a=2", "a"} {
				t.Run(fmt.Sprint(name, " bulk=", bulk, " ", change), func(t *testing.T) {
					from := int64(1 << 40)
					if bulk {
						from = 1
					}
					f := alone(t, 1, bulkOf(from, 1<<20))
					f.e.serve(f.gen)
					slow := newSlowCodec("1")
					tb := &Table[string, string]{e: f.e, key: stringKey, value: slow, plain: true}
					f.given(t, batchOf(0, 0, 2, "a=1", "b=0"))
					require.NoError(t, f.applyPending())
					done := make(chan struct{})
					go func() {
						defer close(done)
						if v, ok, err := read(tb); err != nil || !ok || v != "1" {
							t.Errorf("it was read before the change: %q %v %v", v, ok, err)
						}
					}()
					<-slow.reached
					f.given(t, batchOf(0, 2, 3, change))
					require.NoError(t, f.applyPending())
					require.EqualValues(t, 3, f.gen.State().Get(0).Next)
					after := func() {
						t.Helper()
						for again, read := range load {
							v, ok, err := read(tb)
							require.NoError(t, err)
							require.Equal(t, change == "a=2", ok, again)
							require.Equal(t, ok, v == "2", again)
						}
					}
					after() // while the load goes on
					close(slow.release)
					<-done
					after() // when it has ended, and might have kept what it had
				})
			}
		}
	}
}

// A close waits for reads that have begun, which give the right answer.
func TestCloseWaitsForReads(t *testing.T) {
	f := alone(t, 1)
	f.e.serve(f.gen)
	slow := newSlowCodec("1")
	tb := &Table[string, string]{e: f.e, key: stringKey, value: slow, plain: true}
	f.given(t, batchOf(0, 0, 1, "a=1"))
	read := make(chan struct{})
	go func() {
		defer close(read)
		if v, ok, err := tb.Get("a"); err != nil || !ok || v != "1" {
			t.Errorf("%q %v %v", v, ok, err)
		}
	}()
	<-slow.reached
	closed := make(chan error, 1)
	go func() { closed <- tb.Close() }()
	require.Eventually(t, func() bool { _, _, err := tb.Get("b"); return errors.Is(err, ErrClosed) }, patience, time.Millisecond)
	select {
	case err := <-closed:
		t.Fatalf("closed while a row is read: %v", err)
	case <-time.After(300 * time.Millisecond): // a close that does not wait takes some
	}
	close(slow.release)
	<-read
	require.NoError(t, <-closed)
	_, _, err := tb.Get("a")
	require.ErrorIs(t, err, ErrClosed)
}
