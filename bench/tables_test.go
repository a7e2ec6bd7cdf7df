package main

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"
)

// mapOf is a table of some rows, with serial 7.
func mapOf(rows int) goMap {
	m := goMap{}
	for n := range rows {
		m[key(n)] = appendRow(nil, n, 7, 0)
	}
	return m
}

// A table that lost a row, kept one that was deleted, or has another in its place
// fails the measurement.
func TestCheckRows(t *testing.T) {
	const rows = 2000
	j := job{Rows: rows, Markers: []string{key(0)}}
	require.NoError(t, checkRows(mapOf(rows), j))
	lost := mapOf(rows)
	delete(lost, key(rows/2))
	require.ErrorContains(t, checkRows(lost, j), "1999 rows, where the topic makes 2000")
	require.ErrorContains(t, checkRows(mapOf(rows+1), j), "2001 rows")
	other := mapOf(rows)
	delete(other, key(0))
	other[absentKey(1)] = nil
	require.ErrorContains(t, checkRows(other, j), "found is false")
	other = mapOf(rows)
	delete(other, key(1))
	other[absentKey(0)] = nil
	require.ErrorContains(t, checkRows(other, j), "found is true")
}

func TestLookups(t *testing.T) {
	const rows = 5000
	m := mapOf(rows)
	for _, kind := range []string{"hot", "zipf", "uniform", "absent"} {
		l := lookupsOf(kind, rows, 10_000)
		for _, k := range l.keys {
			_, ok := m[k]
			require.Equal(t, l.present, ok, kind)
		}
		ns, err := lookUp(m, l, 3, 0.002)
		require.NoError(t, err)
		require.Positive(t, ns)
	}
	require.Len(t, lookupsOf("hot", rows, 10_000).keys, 1)

	// A wrong answer is an error, whichever way it is wrong.
	_, err := lookUp(goMap{}, lookupsOf("uniform", rows, 10), 1, 0.001)
	require.ErrorIs(t, err, errWrongAnswer)
	m[absentKey(0)] = nil
	_, err = lookUp(m, lookups{kind: "absent", keys: []string{absentKey(0)}}, 1, 0.001)
	require.ErrorIs(t, err, errWrongAnswer)
	_, err = lookUp(m, lookupsOf("batch", rows, 10), 1, 0.001)
	require.ErrorContains(t, err, "no batches")
}

// Each batch is of different keys.
func TestBatchesAreDistinct(t *testing.T) {
	keys := lookupsOf("batch", 5000, 9500).keys
	require.Zero(t, len(keys)%batchKeys)
	for at := 0; at < len(keys); at += batchKeys {
		seen := map[string]bool{}
		for _, k := range keys[at : at+batchKeys] {
			seen[k] = true
		}
		require.Len(t, seen, batchKeys)
	}
}

// changing is a table whose rows get other serials after a while.
type changing struct {
	goMap
	serials func(key string, call int64) uint64
	calls   atomic.Int64
}

func (c *changing) serial(key string) (uint64, error) {
	return c.serials(key, c.calls.Add(1)), nil
}

func TestAwaitBurst(t *testing.T) {
	const burst = 1000
	began := time.Now()
	c := &changing{serials: func(_ string, call int64) uint64 {
		switch {
		case call < 10:
			return burst - 1 // of an earlier burst
		case call < 20:
			return beginSerial(burst)
		}
		return endSerial(burst)
	}}
	took, err := awaitBurst(t.Context(), c, job{Burst: burst, Markers: []string{"a", "b"}})
	require.NoError(t, err)
	require.GreaterOrEqual(t, c.calls.Load(), int64(21))
	require.Positive(t, took)
	require.Less(t, took, time.Since(began))
}

// A cut network drops its connections and takes no new ones, until it is back.
func TestGate(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	g := &gate{conns: map[net.Conn]bool{}}
	c, err := g.dial(t.Context(), "tcp", l.Addr().String())
	require.NoError(t, err)
	g.set(true)
	_, err = c.Write([]byte("x"))
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = g.dial(t.Context(), "tcp", l.Addr().String())
	require.ErrorIs(t, err, errGateShut)
	g.set(false)
	c, err = g.dial(t.Context(), "tcp", l.Addr().String())
	require.NoError(t, err)
	require.NoError(t, c.Close())
}

// What is read in one phase does not count for another, and a reader that finds
// too little says so.
func TestMeter(t *testing.T) {
	m := startMeter(mapOf(100), job{Rows: 100, Dir: t.TempDir()})
	counted := func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.now.n > 0
	}
	until := func() (bool, error) { return counted(), nil }
	require.NoError(t, every(t.Context(), time.Millisecond, until))
	m.phase("before")
	require.NoError(t, every(t.Context(), time.Millisecond, until))
	require.NoError(t, m.stop())
	m.phase("after")
	require.Positive(t, m.latencies["before"].n)
	require.Positive(t, m.latencies["after"].n)

	m = startMeter(goMap{}, job{Rows: 100, Dir: t.TempDir()})
	require.ErrorIs(t, m.await(t.Context(), nil), errWrongAnswer)
	require.ErrorIs(t, m.stop(), errWrongAnswer)
}

// It waits as long as files are being rearranged, and a while longer.
func TestSettling(t *testing.T) {
	s := new(settling)
	events := s.listener()
	events.CompactionBegin(pebble.CompactionInfo{})
	ctx, cancel := context.WithTimeout(t.Context(), 2*quietFor)
	defer cancel()
	require.ErrorIs(t, s.wait(ctx), context.DeadlineExceeded)
	events.CompactionEnd(pebble.CompactionInfo{})
	began := time.Now()
	require.NoError(t, s.wait(t.Context()))
	require.GreaterOrEqual(t, time.Since(began), quietFor)
	took, err := settle(t.Context(), goMap{}, false)
	require.NoError(t, err)
	require.Less(t, took, 1.0)
}

// Every reading has to come to its end.
func TestSpan(t *testing.T) {
	s := newSpan(13)
	for i := range 13 {
		require.Error(t, s.complete())
		s.begin()
		s.end(int32(i % readingPartitions))
	}
	require.NoError(t, s.complete())
	require.GreaterOrEqual(t, s.last.Load(), s.first.Load())
}

func TestErrorsOfOthers(t *testing.T) {
	_, err := mapOf(1).serial(key(5))
	require.ErrorIs(t, err, errNoSerial)
	n, err := mapOf(1).serial(key(0))
	require.NoError(t, err)
	require.Equal(t, uint64(7), n)
	require.NotErrorIs(t, errors.Join(errNoSerial), errWrongAnswer)
}
