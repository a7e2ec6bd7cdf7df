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

// Close gives the row's memory back. Row must not be used afterwards. It may be
// called more than once, and on a View without a row. A generation is not closed
// before all its Views are.
func (v *View) Close() {
	if v.closer != nil {
		_ = v.closer.Close()
		v.closer = nil
		v.g.use.leave()
	}
}

// Get looks a key up. ok is false if it has no row. An error wraps ErrCorrupt if
// the row's file is damaged; ErrClosed is returned once the generation is closed.
func (g *Generation) Get(key []byte) (v View, ok bool, err error) {
	if !g.use.enter() {
		return v, false, ErrClosed
	}
	var buf [64]byte
	b, closer, err := g.db.Get(appendRowKey(buf[:0], key))
	if err != nil {
		defer g.use.leave()
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

// readError tells damaged files from a generation that has failed, whose newest
// files may be incomplete.
func (g *Generation) readError(err error) error {
	if f := g.fail.get(); f != nil {
		return f
	}
	switch {
	case errors.Is(err, ErrCorrupt):
		return err
	case pebble.IsCorruptionError(err):
		return corrupt(err)
	}
	return fmt.Errorf("store: cannot read: %w", err)
}

// GetMany looks up keys that are sorted and distinct, and calls fn for each in
// order; ok is false for a key without a row. row's memory is valid during the
// call only. Each row is as new as a Get at the time of the call gives. An error
// of fn ends it and is returned as it is; other errors are those of Get.
func (g *Generation) GetMany(keys [][]byte, fn func(i int, row *Row, ok bool) error) error {
	if !g.use.enter() {
		return ErrClosed
	}
	defer g.use.leave()
	if len(keys) == 0 {
		return nil
	}
	it, err := g.db.NewIter(&pebble.IterOptions{LowerBound: rowsLower, UpperBound: rowsUpper, UseL6Filters: true})
	if err != nil {
		return g.readError(err)
	}
	// It repeats an error that is returned below.
	defer func() { _ = it.Close() }()
	s := g.state.Load()
	var stored []byte
	for i, key := range keys {
		stored = appendRowKey(stored[:0], key)
		row, ok, err := seekRow(it, stored)
		if err != nil {
			return g.readError(err)
		}
		if err := fn(i, &row, ok && !s.Gone(&row)); err != nil {
			return err
		}
	}
	return nil
}

// seekRow reads the row of one stored key.
func seekRow(it *pebble.Iterator, stored []byte) (row Row, ok bool, err error) {
	if !it.SeekPrefixGE(stored) || !bytes.Equal(it.Key(), stored) {
		return row, false, it.Error()
	}
	v, err := it.ValueAndErr()
	if err != nil {
		return row, false, err
	}
	row, err = parseRow(v)
	return row, err == nil, err
}
