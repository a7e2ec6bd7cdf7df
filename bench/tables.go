package main

import (
	"context"
	"errors"
	"fmt"
)

// The peers.
const (
	peerRaw      = "raw"
	peerEnrich   = "enrich"
	peerGoMap    = "gomap"
	peerPebble   = "pebble"
	peerGoka     = "goka"
	peerKStreams = "kstreams"
)

// A table is a filled table of a peer that is written in Go.
type table interface {
	// get looks a key up, as a user of the peer would.
	get(key string) (found bool, err error)
	// serial returns the serial that the row has.
	serial(key string) (uint64, error)
	// count counts the rows.
	count() (int, error)
	close() error
}

// A batchTable can look up many keys at once. Each goroutine does so by a
// batchLookup of its own.
type batchTable interface {
	table
	batches() batchLookup
}

// A batchLookup looks up many keys, again and again.
type batchLookup interface {
	getMany(keys []string) (found int, err error)
}

// fillers make tables. They return when the table is complete. The one of raw
// returns none.
var fillers = map[string]func(context.Context, job) (table, error){
	peerRaw:    fillRaw,
	peerEnrich: fillEnrich,
	peerGoMap:  fillGoMap,
	peerPebble: fillPebble,
	peerGoka:   fillGoka,
}

func fill(ctx context.Context, j job) (table, error) {
	fn := fillers[j.Peer]
	if fn == nil {
		return nil, fmt.Errorf("there is no peer %q", j.Peer)
	}
	return fn(ctx, j)
}

var errNoSerial = errors.New("the row is not there, or it has no serial")

// checkRows counts the rows, and makes sure that some of them are found and that
// others are not.
func checkRows(t table, j job) error {
	n, err := t.count()
	if err != nil {
		return err
	}
	if n != j.Rows {
		return fmt.Errorf("it has %d rows, where the topic makes %d", n, j.Rows)
	}
	if j.Markers == nil {
		return nil // of other data
	}
	for i := range 1000 {
		for _, k := range []string{key(i * j.Rows / 1000), absentKey(i * j.Rows / 1000)} {
			found, err := t.get(k)
			if err != nil {
				return fmt.Errorf("key %s: %w", k, err)
			}
			if found != (k[len(k)-1] != 'x') {
				return fmt.Errorf("key %s: found is %v", k, found)
			}
		}
	}
	return nil
}
