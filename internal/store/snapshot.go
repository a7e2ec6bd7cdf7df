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
	use    gate // every read is inside
	closed atomic.Bool
}

// NewSnapshot freezes the rows and positions of the last Apply.
func (g *Generation) NewSnapshot() (*Snapshot, error) {
	if !g.use.enter() {
		return nil, ErrClosed
	}
	defer g.use.leave()
	s := &Snapshot{g: g, snap: g.db.NewSnapshot()}
	s.use.idle = s.end
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
	if !s.g.use.enter() {
		return false
	}
	if !s.use.enter() {
		s.g.use.leave()
		return false
	}
	return true
}

func (s *Snapshot) leave() {
	s.use.leave()
	s.g.use.leave()
}

// State returns the positions that the rows stand for. It must not be changed.
func (s *Snapshot) State() *State { return s.state }

// Get looks a key up; see Generation.Get. The View may outlive the snapshot.
func (s *Snapshot) Get(key []byte) (v View, ok bool, err error) {
	if !s.enter() {
		return v, false, ErrClosed
	}
	defer s.leave()
	var buf [64]byte
	b, closer, err := s.snap.Get(appendRowKey(buf[:0], key))
	if errors.Is(err, pebble.ErrNotFound) {
		return v, false, nil
	}
	if err != nil {
		return v, false, s.g.readError(err)
	}
	row, err := parseRow(b)
	if err != nil || s.state.Gone(row.Partition, row.Offset) {
		_ = closer.Close()
		return v, false, err
	}
	// This one is left by the View, when it is closed.
	s.g.use.again()
	return View{Row: row, closer: closer, g: s.g}, true, nil
}

// Scan calls fn for the rows with from <= key < to in key order, until fn
// returns false; nil bounds are open. key and row are valid during the call.
// Errors are those of Get.
func (s *Snapshot) Scan(from, to []byte, fn func(key []byte, row *Row) bool) error {
	return s.scan(from, to, func(key []byte, row *Row) bool {
		return s.state.Gone(row.Partition, row.Offset) || fn(key, row)
	})
}

// scan is Scan with the rows that are gone.
func (s *Snapshot) scan(from, to []byte, fn func(key []byte, row *Row) bool) error {
	if !s.enter() {
		return ErrClosed
	}
	defer s.leave()
	opts := &pebble.IterOptions{LowerBound: rowsLower, UpperBound: rowsUpper}
	if from != nil {
		opts.LowerBound = appendRowKey(nil, from)
	}
	if to != nil {
		opts.UpperBound = appendRowKey(nil, to)
	}
	if bytes.Compare(opts.LowerBound, opts.UpperBound) >= 0 {
		return nil
	}
	it, err := s.snap.NewIter(opts)
	if err != nil {
		return s.g.readError(err)
	}
	// It repeats an error that is returned below.
	defer func() { _ = it.Close() }()
	for valid := it.First(); valid; valid = it.Next() {
		// The bounds let no internal key through.
		key, _ := userKey(it.Key())
		v, err := it.ValueAndErr()
		if err != nil {
			return s.g.readError(err)
		}
		row, err := parseRow(v)
		if err != nil {
			return err
		}
		if !fn(key, &row) {
			return nil
		}
	}
	if err := it.Error(); err != nil {
		return s.g.readError(err)
	}
	return nil
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

// Close ends the snapshot; reads of it that begin later return ErrClosed. It
// may be called at any time and more than once.
func (s *Snapshot) Close() {
	if !s.g.use.enter() {
		return // closing the generation ends it
	}
	defer s.g.use.leave()
	s.shut()
}

func (s *Snapshot) shut() {
	if !s.closed.Swap(true) {
		s.use.shut()
	}
}

// end is called when the last read has left a closed snapshot.
func (s *Snapshot) end() {
	s.g.snapMu.Lock()
	delete(s.g.snaps, s)
	s.g.snapMu.Unlock()
	_ = s.snap.Close()
}
