package stream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/globaltable/enrich/codec"
)

// picky decodes anything but "bad"; it fails "later" until it is told.
type picky struct {
	codec.Codec[string]
	ready *atomic.Bool
	tried *atomic.Int32
}

func (p picky) Decode(b []byte, m codec.Meta) (string, error) {
	switch {
	case string(b) == "bad":
		return "", errors.New("cannot decode")
	case string(b) == "later" && !p.ready.Load():
		p.tried.Add(1)
		return "", codec.Retryable(errors.New("registry away"))
	}
	return p.Codec.Decode(b, m)
}

func TestBadRecordPolicies(t *testing.T) {
	// Each way in which a record can be bad; "bad" is the value of record 2.
	ways := map[string]func(in, out string) Sink{
		"decode": func(in, out string) Sink {
			return toStrs(From(in, codec.String(), codec.Codec[string](picky{Codec: codec.String()})), out)
		},
		"map": func(in, out string) Sink {
			return toStrs(Map(strs(in), func(r Record[string, string]) (Record[string, string], error) {
				if r.Value == "bad" {
					return r, errors.New("cannot map")
				}
				return r, nil
			}), out)
		},
		"flatmap": func(in, out string) Sink { // it panics
			return toStrs(FlatMap(strs(in), func(r Record[string, string]) ([]Record[string, string], error) {
				if r.Value == "bad" {
					panic("cannot flatmap")
				}
				return []Record[string, string]{r}, nil
			}), out)
		},
		"encode": func(in, out string) Sink {
			return To(strs(in), out, codec.String(), codec.Codec[string](odd{codec.String()}))
		},
	}
	for stage, sink := range ways {
		for _, policy := range []BadRecordPolicy{Fail, Skip, DeadLetter("?")} {
			t.Run(stage+"/"+strings.TrimSuffix(string(policy), " ?"), func(t *testing.T) {
				each(t, func(t *testing.T, e *env) {
					in, out, dead := e.topic("in", 1), e.topic("out", 1), e.topic("dead", 1)
					e.putN(in, 0, 0, 2)
					e.put(in, 0, "key", "bad", Header{Key: "h", Value: []byte("1")})
					e.putN(in, 0, 3, 6)
					p := policy
					if _, ok := p.deadLetterTopic(); ok {
						p = DeadLetter(dead)
					}
					var seen badHook
					stats, err := e.runToEnd(sink(in, out), OnBadRecord(p), Hooks(&seen))
					require.Len(t, seen.errs, 1)
					require.Equal(t, stage, seen.errs[0].Stage)
					require.Equal(t, p, seen.policy)

					if p == Fail {
						re, ok := errors.AsType[*RecordError](err)
						require.True(t, ok, "%v", err)
						require.Equal(t, RecordError{Stage: stage, Topic: in, Offset: 2, Err: re.Err}, *re)
						require.ErrorContains(t, err, "cannot")
						require.Equal(t, []string{"v0", "v1"}, values(e.read(out)), "the records before it are finished")
						require.EqualValues(t, 2, e.committed(e.group(), in, 0), "and committed, but not it")
						require.Equal(t, BadRecords{Failed: 1}, stats.BadRecords)
						return
					}
					require.NoError(t, err)
					require.Equal(t, []string{"v0", "v1", "v3", "v4", "v5"}, values(e.read(out)))
					require.EqualValues(t, 6, e.committed(e.group(), in, 0))
					letters := e.read(dead)
					if p == Skip {
						require.Equal(t, BadRecords{Skipped: 1}, stats.BadRecords)
						require.Empty(t, letters)
						return
					}
					require.Equal(t, BadRecords{DeadLettered: 1}, stats.BadRecords)
					require.EqualValues(t, 1, stats.DeadLetters)
					require.Len(t, letters, 1)
					l, source := letters[0], e.read(in)[2]
					require.Equal(t, "key", string(l.Key))
					require.Equal(t, "bad", string(l.Value))
					require.Equal(t, source.Timestamp, l.Timestamp)
					require.Equal(t, source.Headers[0], l.Headers[0])
					h := make(map[string]string)
					for _, header := range l.Headers {
						h[header.Key] = string(header.Value)
					}
					require.Contains(t, h[HeaderError], "cannot")
					delete(h, HeaderError)
					require.Equal(t, map[string]string{
						"h": "1", HeaderTopic: in, HeaderPartition: "0", HeaderOffset: "2", HeaderStage: stage,
					}, h)
				})
			})
		}
	}
}

type badHook struct {
	errs   []*RecordError
	policy BadRecordPolicy
}

func (h *badHook) OnBadRecord(err *RecordError, policy BadRecordPolicy) {
	h.errs, h.policy = append(h.errs, err), policy
}

func TestOneInputMakesOneDeadLetter(t *testing.T) {
	e := onFake(t)
	in, dead := e.topic("in", 1), e.topic("dead", 1)
	e.put(in, 0, nil, "v")
	three := FlatMap(strs(in), func(r Record[string, string]) ([]Record[string, string], error) {
		return []Record[string, string]{WithValue(r, "bad"), WithValue(r, "good"), WithValue(r, "bad")}, nil
	})
	var good atomic.Int32
	stats, err := e.runToEnd(ForEach(three, func(_ context.Context, r Record[string, string]) error {
		if r.Value == "bad" {
			return errors.New(strings.Repeat("long ", 1000))
		}
		good.Add(1)
		return nil
	}), OnBadRecord(DeadLetter(dead)))
	require.NoError(t, err)
	require.EqualValues(t, 1, good.Load())
	require.EqualValues(t, 1, stats.DeadLetters)
	letters := e.read(dead)
	require.Len(t, letters, 1)
	require.Nil(t, letters[0].Key, "a null key stays null")
	require.Equal(t, "v", string(letters[0].Value), "the letter is the input, not what was made of it")
	for _, h := range letters[0].Headers {
		require.LessOrEqual(t, len(h.Value), maxErrorHeader)
	}
}

func TestOffsetWaitsForTheDeadLetter(t *testing.T) {
	e := onFake(t)
	in, dead := e.topic("in", 1), e.topic("dead", 1)
	hold := e.holdProduce(dead, 0)
	e.putN(in, 0, 0, 4)
	s := Map(strs(in), func(r Record[string, string]) (Record[string, string], error) {
		if r.Value == "v2" {
			return r, errors.New("bad")
		}
		return r, nil
	})
	var c collector
	r := e.start(ForEach(s, c.add), OnBadRecord(DeadLetter(dead)))
	receive(t, hold.holding)
	r.until("all others are done", func(s Stats) bool {
		return len(c.values()) == 3 && len(s.Partitions) == 1 && s.Partitions[0].Committed == 2
	})
	require.EqualValues(t, 1, r.Stats().Partitions[0].InFlight)
	hold.letGo()
	r.until("committed", func(s Stats) bool { return s.Partitions[0].Committed == 4 })
	require.NoError(t, r.stop())
	require.EqualValues(t, 4, e.committed(e.group(), in, 0))
}

func TestRetryableErrorsHoldOnlyTheirPartition(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		in := e.topic("in", 2)
		e.put(in, 0, "k", "first")
		e.put(in, 0, "k", "later")
		e.put(in, 0, "k", "last")
		value := picky{Codec: codec.String(), ready: new(atomic.Bool), tried: new(atomic.Int32)}
		var c collector
		r := e.start(ForEach(From(in, codec.String(), codec.Codec[string](value)), c.add), OnBadRecord(Skip))
		r.until("tried twice", func(Stats) bool { return value.tried.Load() >= 2 })
		require.Equal(t, []string{"first"}, c.values(), "what is before it goes on, what is after it waits")
		e.put(in, 1, "k", "other partition")
		r.until("the other partition goes on", func(Stats) bool { return len(c.values()) == 2 })
		r.until("it is visible", func(s Stats) bool { return s.Retries >= 2 && s.LastError != nil })
		require.ErrorContains(t, r.Stats().LastError, "registry away")
		require.Zero(t, r.Stats().BadRecords, "it is never a bad record")
		value.ready.Store(true)
		r.until("done", func(Stats) bool { return len(c.values()) == 4 })
		require.Equal(t, []string{"first", "other partition", "later", "last"}, c.values())
		require.NoError(t, r.stop())
		require.EqualValues(t, 3, e.committed(e.group(), in, 0))
	})
}

func TestStopDoesNotWaitForRetries(t *testing.T) {
	e := onFake(t)
	in := e.topic("in", 1)
	e.putN(in, 0, 0, 3)
	r := e.start(ForEach(strs(in), func(_ context.Context, r Record[string, string]) error {
		if r.Value == "v1" {
			return codec.Retryable(errors.New("away"))
		}
		return nil
	}))
	r.until("it waits", func(s Stats) bool { return s.Retries > 0 })
	require.NoError(t, r.stop())
	require.EqualValues(t, 1, e.committed(e.group(), in, 0))
}

func TestPanicErrorKeepsTheStack(t *testing.T) {
	err := guard("map", func() error { panic(fmt.Errorf("boom")) })
	pe, ok := errors.AsType[*PanicError](err)
	require.True(t, ok)
	require.Equal(t, "boom", pe.Value)
	require.Contains(t, string(pe.Stack), "TestPanicErrorKeepsTheStack")
	require.EqualError(t, err, "stream: panic in map: boom")
}

// hold keeps the acknowledgements of one partition back.
type hold struct {
	holding chan struct{} // closed when the first is held
	letGo   func()        // let them come
	drop    func()        // close the connections instead, with nothing written
}

// holdProduce moves the partition to a broker of its own
// and holds all produce requests there.
func (e *env) holdProduce(topic string, partition int32) *hold {
	e.t.Helper()
	const node = 1
	for _, name := range e.topics() {
		for _, p := range e.fake.PartitionInfos(name) {
			require.NoError(e.t, e.fake.MoveTopicPartition(name, p.Partition, 0))
		}
	}
	require.NoError(e.t, e.fake.MoveTopicPartition(topic, partition, node))
	h := &hold{holding: make(chan struct{})}
	open := make(chan struct{})
	var held, released, dropped atomic.Bool
	h.letGo = func() {
		if !released.Swap(true) {
			close(open)
		}
	}
	h.drop = func() { dropped.Store(true); h.letGo() }
	e.t.Cleanup(h.letGo)
	e.fake.ControlKey(kmsg.Produce.Int16(), func(kmsg.Request) (kmsg.Response, error, bool) {
		e.fake.KeepControl()
		if e.fake.CurrentNode() != node || released.Load() {
			return nil, nil, false
		}
		if !held.Swap(true) {
			close(h.holding)
		}
		e.fake.SleepControl(func() { <-open })
		if dropped.Load() {
			return nil, errors.New("dropped"), true
		}
		return nil, nil, false
	})
	return h
}

func (e *env) topics() []string {
	details, err := e.adm.ListTopics(e.ctx())
	require.NoError(e.t, err)
	return details.Names()
}

// keysFor returns n keys that go to one partition of two.
func keysFor(partition int32, n int) []string {
	p := kgo.StickyKeyPartitioner(nil).ForTopic("any")
	var keys []string
	for i := 0; len(keys) < n; i++ {
		if k := fmt.Sprint("key", i); p.Partition(&kgo.Record{Key: []byte(k)}, 2) == int(partition) {
			keys = append(keys, k)
		}
	}
	return keys
}
