package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2"
)

// A View is one key's row while it may be looked at. Close it.
type View struct {
	Row
	closer io.Closer
	g      *Generation
}

// Close gives the row's memory back. Row must not be used afterwards.
func (v *View) Close() {
	_ = v.closer.Close()
	v.g.leave()
}

// Get looks a key up. ok is false if it has no row.
func (g *Generation) Get(key []byte) (v View, ok bool, err error) {
	if !g.enter() {
		return v, false, ErrClosed
	}
	var buf [64]byte
	b, closer, err := g.db.Get(appendRowKey(buf[:0], key))
	if err != nil {
		defer g.leave()
		if errors.Is(err, pebble.ErrNotFound) {
			return v, false, nil
		}
		return v, false, g.readError(err)
	}
	v.closer, v.g = closer, g
	if v.Row, err = parseRow(b); err != nil {
		v.Close()
		return View{}, false, err
	}
	// The log start is taken after the row was read: a row that it lets
	// through was there when the read began.
	if g.state.Load().Gone(&v.Row) {
		v.Close()
		return View{}, false, nil
	}
	return v, true, nil
}

// readError tells damaged files from a store that has failed writing, whose
// newest files may be incomplete.
func (g *Generation) readError(err error) error {
	if f := g.fail.get(); f != nil {
		return f
	}
	if pebble.IsCorruptionError(err) {
		return corrupt(err)
	}
	return fmt.Errorf("store: cannot read: %w", err)
}

// GetMany looks up keys that are sorted and distinct, and calls fn for each in
// order; ok is false for a key without a row. row's memory is valid during the
// call only. Each row is as new as a Get at the time of the call gives.
func (g *Generation) GetMany(keys [][]byte, fn func(i int, row *Row, ok bool) error) error {
	if !g.enter() {
		return ErrClosed
	}
	defer g.leave()
	if len(keys) == 0 {
		return nil
	}
	it, err := g.db.NewIter(&pebble.IterOptions{LowerBound: rowsLower, UpperBound: rowsUpper, UseL6Filters: true})
	if err != nil {
		return g.readError(err)
	}
	err = getMany(it, g.state.Load(), keys, fn)
	if cerr := it.Close(); cerr != nil {
		err = errors.Join(err, g.readError(cerr))
	}
	return err
}

func getMany(it *pebble.Iterator, s *State, keys [][]byte, fn func(i int, row *Row, ok bool) error) error {
	var stored []byte
	for i, key := range keys {
		stored = appendRowKey(stored[:0], key)
		var row Row
		ok := it.SeekPrefixGE(stored) && bytes.Equal(it.Key(), stored)
		if ok {
			v, err := it.ValueAndErr()
			if err != nil {
				return err
			}
			if row, err = parseRow(v); err != nil {
				return err
			}
			ok = !s.Gone(&row)
		} else if err := it.Error(); err != nil {
			return err
		}
		if err := fn(i, &row, ok); err != nil {
			return err
		}
	}
	return nil
}
