package join

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/globaltable"
	"github.com/globaltable/enrich/stream"
)

// choosy is a codec of text that refuses some of it, for a while or for good,
// and counts what it is asked.
type choosy struct {
	mu      sync.Mutex
	refuse  map[string]error
	encoded map[string]int
	decoded map[string]int
}

func newChoosy() *choosy {
	return &choosy{refuse: map[string]error{}, encoded: map[string]int{}, decoded: map[string]int{}}
}

func (c *choosy) set(text string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refuse[text] = err
}

func (c *choosy) Encode(dst []byte, v string, _ codec.Meta) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.encoded[v]++
	if err := c.refuse[v]; err != nil {
		return dst, err
	}
	return append(dst, v...), nil
}

func (c *choosy) Decode(b []byte, _ codec.Meta) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.decoded[string(b)]++
	return string(b), c.refuse[string(b)]
}

var errBad = errors.New("bad")

// badCase is a record "bad" in the middle of three, and what makes it bad.
type badCase struct {
	key   func(record) (string, bool)
	join  func(record, entry) (string, error)
	value codec.Codec[string]
	row   codec.Codec[string] // of the table's keys
	is    func(t *testing.T, err error)
}

func badCases() map[string]badCase {
	isBad := func(t *testing.T, err error) { require.ErrorIs(t, err, errBad) }
	isPanic := func(t *testing.T, err error) {
		p := &stream.PanicError{}
		require.ErrorAs(t, err, &p)
		require.Equal(t, "join", p.Stage)
		require.Equal(t, "oops", p.Value)
		require.True(t, bytes.Contains(p.Stack, []byte("errors_test.go")), "the stack shows who panicked")
	}
	refusing := func(text string) codec.Codec[string] {
		c := newChoosy()
		c.set(text, errBad)
		return c
	}
	return map[string]badCase{
		"join error": {join: func(r record, row entry) (string, error) {
			if r.Value == "bad" {
				return "never written", errBad
			}
			return show(r, row)
		}, is: isBad},
		"join panic": {join: func(r record, row entry) (string, error) {
			if r.Value == "bad" {
				panic("oops")
			}
			return show(r, row)
		}, is: isPanic},
		"key panic": {key: func(r record) (string, bool) {
			if r.Value == "bad" {
				panic("oops")
			}
			return byValue(r)
		}, is: isPanic},
		"row that cannot be decoded": {value: refusing("2"), is: func(t *testing.T, err error) {
			isBad(t, err)
			d := &globaltable.DecodeError{}
			require.ErrorAs(t, err, &d)
			require.EqualValues(t, 1, d.Partition)
			require.EqualValues(t, 0, d.Offset)
		}},
		"key that cannot be encoded": {row: refusing("bad"), is: func(t *testing.T, err error) {
			isBad(t, err)
			k := &globaltable.KeyError{}
			require.ErrorAs(t, err, &k)
		}},
	}
}

func (tc badCase) build(e *env, kind string) *texts {
	if tc.key == nil {
		tc.key = byValue
	}
	if tc.join == nil {
		tc.join = show
	}
	if tc.value == nil {
		tc.value = codec.String()
	}
	if tc.row == nil {
		tc.row = codec.String()
	}
	return kinds[kind](e.source(), runTable(e, tc.row, tc.value), tc.key, tc.join)
}

func (e *env) badInput() {
	e.row(0, "a", "1")
	e.row(1, "bad", "2")
	e.row(0, "c", "3")
	e.puts("a", "bad", "c")
}

func TestErrorsOfOneRecordFollowThePolicy(t *testing.T) {
	for name, tc := range badCases() {
		for kind := range kinds {
			t.Run(name+"/"+kind+"/skip", func(t *testing.T) {
				each(t, func(t *testing.T, e *env) {
					e.badInput()
					stats := e.mustRun(tc.build(e, kind), stream.OnBadRecord(stream.Skip))
					require.Equal(t, []string{"a+1", "c+3"}, e.values(), "the others go on")
					require.Equal(t, stream.BadRecords{Skipped: 1}, stats.BadRecords)
					require.Empty(t, stats.Dropped, "an error is no miss")
					require.EqualValues(t, 3, e.committed())
				})
			})
			t.Run(name+"/"+kind+"/fail", func(t *testing.T) {
				e := onFake(t)
				e.badInput()
				_, err := e.runToEnd(tc.build(e, kind))
				bad := &stream.RecordError{}
				require.ErrorAs(t, err, &bad)
				require.Equal(t, "join", bad.Stage)
				require.Equal(t, e.in, bad.Topic)
				require.EqualValues(t, 1, bad.Offset)
				tc.is(t, err)
				require.Equal(t, []string{"a+1"}, e.values())
				require.EqualValues(t, 1, e.committed(), "nothing is committed past it")
			})
		}
	}
}

func TestBadRecordBecomesADeadLetter(t *testing.T) {
	e := onFake(t)
	e.badInput()
	dead := e.broker.CreateTopic(t, "dead", 1, 1, nil)
	stats := e.mustRun(badCases()["row that cannot be decoded"].build(e, "left"), stream.OnBadRecord(stream.DeadLetter(dead)))
	require.EqualValues(t, 1, stats.DeadLetters)
	require.Equal(t, []string{"a+1", "c+3"}, e.values())
	e.out = dead
	letter := e.read()[0]
	require.Equal(t, "bad", string(letter.Value), "as it was read")
	require.Contains(t, letter.Headers, kgo.RecordHeader{Key: stream.HeaderStage, Value: []byte("join")})
}

// A codec that cannot answer now makes the partition wait at that record.
func TestRetryableCodecErrorsWait(t *testing.T) {
	for name, codecs := range map[string]func(*choosy) (key, value codec.Codec[string], text string){
		"of a row": func(c *choosy) (codec.Codec[string], codec.Codec[string], string) { return codec.String(), c, "2" },
		"of a key": func(c *choosy) (codec.Codec[string], codec.Codec[string], string) { return c, codec.String(), "bad" },
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, e *env) {
				c := newChoosy()
				key, value, text := codecs(c)
				c.set(text, codec.Retryable(errors.New("the registry is away")))
				e.badInput()
				r := e.start(Left(e.source(), runTable(e, key, value), byValue, show), stream.OnBadRecord(stream.Skip))
				r.outputs(1)
				r.until("it waits", func(s stream.Stats) bool { return s.Retries >= 2 })
				require.EqualValues(t, 1, r.Stats().Outputs, "what comes after it waits too")
				require.ErrorContains(t, r.Stats().LastError, "the registry is away")

				c.set(text, nil)
				r.outputs(3)
				require.NoError(t, r.stop())
				require.Equal(t, []string{"a+1", "bad+2", "c+3"}, e.values())
				require.Zero(t, r.Stats().BadRecords)
				require.Empty(t, r.Stats().Dropped)
			})
		})
	}
}

// The join function may ask to be called again as well, for that record and no
// other; the key function is not called again then.
func TestRetryableJoinErrorsWait(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		e.badInput()
		var mu sync.Mutex
		calls, keys := map[string]int{}, map[string]int{}
		s := Inner(e.source(), e.table(),
			func(r record) (string, bool) {
				mu.Lock()
				defer mu.Unlock()
				keys[r.Value]++
				return byValue(r)
			},
			func(r record, row entry) (string, error) {
				mu.Lock()
				defer mu.Unlock()
				calls[r.Value]++
				if r.Value == "bad" && calls["bad"] < 3 {
					return "", codec.Retryable(fmt.Errorf("not yet"))
				}
				return show(r, row)
			})
		stats := e.mustRun(s, stream.OnBadRecord(stream.Skip))
		require.Equal(t, []string{"a+1", "bad+2", "c+3"}, e.values(), "nothing twice, nothing lost, in order")
		require.EqualValues(t, 2, stats.Retries)
		require.Zero(t, stats.BadRecords)
		require.Equal(t, map[string]int{"a": 1, "bad": 3, "c": 1}, calls)
		require.Equal(t, map[string]int{"a": 1, "bad": 1, "c": 1}, keys, "once for each record")
	})
}

// panicking is a codec of text that panics for one of them.
type panicking struct{ codec.Codec[string] }

func (p panicking) Decode(b []byte, m codec.Meta) (string, error) {
	if string(b) == "2" {
		panic("oops")
	}
	return p.Codec.Decode(b, m)
}

func TestCodecThatPanicsConcernsOneRecord(t *testing.T) {
	e := onFake(t)
	e.badInput()
	s := Left(e.source(), runTable(e, codec.String(), codec.Codec[string](panicking{codec.String()})), byValue, show)
	stats := e.mustRun(s, stream.OnBadRecord(stream.Skip))
	require.Equal(t, []string{"a+1", "c+3"}, e.values(), "the others go on")
	require.Equal(t, stream.BadRecords{Skipped: 1}, stats.BadRecords)
}
