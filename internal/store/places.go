package store

import (
	"errors"

	"github.com/cockroachdb/pebble/v2"
)

// Lookup returns a row's place only: where its record stood in the topic. Unlike
// Get it also finds a row below its partition's log start.
func (g *Generation) Lookup(key []byte) (partition int32, offset int64, ok bool, err error) {
	if !g.use.enter() {
		return 0, 0, false, ErrClosed
	}
	defer g.use.leave()
	var buf [64]byte
	b, closer, err := g.db.Get(appendRowKey(buf[:0], key))
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, 0, false, nil
	}
	if err != nil {
		return 0, 0, false, g.readError(err)
	}
	defer func() { _ = closer.Close() }()
	row, err := parseRow(b)
	if err != nil {
		return 0, 0, false, err
	}
	return row.Partition, row.Offset, true, nil
}

// ScanPlaces calls fn with every row's key and place in key order, until fn
// returns false. Unlike Scan it visits the rows below their partition's log
// start too. key is valid during the call.
func (s *Snapshot) ScanPlaces(fn func(key []byte, partition int32, offset int64) bool) error {
	return s.scan(nil, nil, func(key []byte, row *Row) bool {
		return fn(key, row.Partition, row.Offset)
	})
}
