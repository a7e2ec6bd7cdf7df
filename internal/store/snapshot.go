package store

import (
	"bytes"
	"errors"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// A Snapshot is a generation's rows and positions at one moment. Close it.
//
// One that is never closed does not keep its generation open: closing the
// generation ends it.
type Snapshot struct {
	g      *Generation
	snap   *pebble.Snapshot
	state  *State
	closed atomic.Bool
}

// NewSnapshot freezes the rows and positions of the last Apply.
func (g *Generation) NewSnapshot() (*Snapshot, error) {
	if !g.enter() {
		return nil, ErrClosed
	}
	defer g.leave()
	s := &Snapshot{g: g, snap: g.db.NewSnapshot()}
	// The positions come from the snapshot too, so they are those of its
	// rows even while Apply runs.
	b, closer, err := s.snap.Get(stateKey)
	if err == nil {
		s.state, err = parseState(b)
		_ = closer.Close()
	}
	if err != nil {
		_ = s.snap.Close()
		return nil, g.readError(err)
	}
	g.snapMu.Lock()
	defer g.snapMu.Unlock()
	g.snaps[s] = struct{}{}
	return s, nil
}

// enter begins a read of the snapshot.
func (s *Snapshot) enter() bool {
	if !s.g.enter() {
		return false
	}
	if s.closed.Load() {
		s.g.leave()
		return false
	}
	return true
}

// State returns the positions that the rows stand for.
func (s *Snapshot) State() *State { return s.state }

// Get looks a key up; see Generation.Get.
func (s *Snapshot) Get(key []byte) (v View, ok bool, err error) {
	if !s.enter() {
		return v, false, ErrClosed
	}
	b, closer, err := s.snap.Get(appendRowKey(nil, key))
	if err != nil {
		defer s.g.leave()
		if errors.Is(err, pebble.ErrNotFound) {
			return v, false, nil
		}
		return v, false, s.g.readError(err)
	}
	v.closer, v.g = closer, s.g
	v.Row, err = parseRow(b)
	if err != nil || s.state.Gone(&v.Row) {
		v.Close()
		return View{}, false, err
	}
	return v, true, nil
}

// Scan calls fn for the rows with from <= key < to in key order, until fn
// returns false; nil bounds are open. key and row are valid during the call.
func (s *Snapshot) Scan(from, to []byte, fn func(key []byte, row *Row) bool) error {
	if !s.enter() {
		return ErrClosed
	}
	defer s.g.leave()
	opts := &pebble.IterOptions{LowerBound: rowsLower, UpperBound: rowsUpper}
	if from != nil {
		opts.LowerBound = appendRowKey(nil, from)
	}
	if to != nil {
		opts.UpperBound = appendRowKey(nil, to)
	}
	it, err := s.snap.NewIter(opts)
	if err != nil {
		return s.g.readError(err)
	}
	for valid := it.First(); valid; valid = it.Next() {
		key, ok := userKey(it.Key())
		if !ok {
			continue
		}
		v, err := it.ValueAndErr()
		if err == nil {
			var row Row
			if row, err = parseRow(v); err == nil && !s.state.Gone(&row) && !fn(key, &row) {
				break
			}
		}
		if err != nil {
			return errors.Join(s.g.readError(err), it.Close())
		}
	}
	if err := it.Error(); err != nil {
		return errors.Join(s.g.readError(err), it.Close())
	}
	return it.Close()
}

// ScanPrefix is Scan for the keys that start with prefix.
func (s *Snapshot) ScanPrefix(prefix []byte, fn func(key []byte, row *Row) bool) error {
	if len(prefix) == 0 {
		return s.Scan(nil, nil, fn)
	}
	end := prefixEnd(appendRowKey(nil, prefix))
	if bytes.Equal(end, rowsUpper) {
		return s.Scan(prefix, nil, fn)
	}
	return s.Scan(prefix, end[1:], fn)
}

// Close ends the snapshot; reads of it return ErrClosed afterwards. It may be
// called more than once, but not while a read of the snapshot is under way.
func (s *Snapshot) Close() {
	if !s.closed.Swap(true) {
		s.g.snapMu.Lock()
		defer s.g.snapMu.Unlock()
		delete(s.g.snaps, s)
		_ = s.snap.Close()
	}
}
