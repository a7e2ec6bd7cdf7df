package globaltable

import (
	"errors"
	"fmt"
	"iter"

	"github.com/globaltable/enrich/internal/store"
)

// A Snapshot is all rows of a table at one position. It does not change while
// the table does. Close it: it keeps the store from freeing space.
//
// It ends when the table is closed, or when a rebuild puts other rows in the
// place of its own: reads return [ErrClosed] then. It may be used by several
// goroutines, but not while it is being closed.
type Snapshot[K, V any] struct {
	t    *Table[K, V]
	s    *store.Snapshot
	id   TopicID
	from uint64 // generation
}

// Snapshot freezes the rows and their positions. The errors are those of
// [Table.Get].
func (t *Table[K, V]) Snapshot() (*Snapshot[K, V], error) {
	snap := &Snapshot[K, V]{t: t}
	err := t.e.onView(func(v *view) (err error) {
		snap.s, err = v.gen.NewSnapshot()
		snap.id, snap.from = v.gen.Identity().TopicID, v.gen.Number()
		return err
	})
	if err != nil {
		return nil, err
	}
	return snap, nil
}

// Positions returns the positions that the rows stand for, one for each
// partition that was read.
func (s *Snapshot[K, V]) Positions() []Position {
	return positionsOf(s.t.e.topic, s.id, s.s.State())
}

// Get returns the key's value, as [Table.Get] does.
func (s *Snapshot[K, V]) Get(key K) (value V, ok bool, err error) {
	entry, ok, err := s.GetEntry(key)
	return entry.Value, ok, err
}

// GetEntry is [Snapshot.Get] with what is known of the row's record.
func (s *Snapshot[K, V]) GetEntry(key K) (entry Entry[K, V], ok bool, err error) {
	entry.Key = key
	k, err := s.t.encodeKey(nil, key)
	if err != nil {
		return entry, false, err
	}
	v, ok, err := s.s.Get(k)
	if err != nil || !ok {
		return entry, false, s.wrap(err)
	}
	defer v.Close()
	entry, err = s.t.decodeValue(key, &v.Row, s.from)
	return entry, entry.Found, err
}

// All returns every row in the order of the encoded keys. A row that cannot be
// decoded comes with a [*DecodeError], and the next ones follow; any other error
// is the last thing that comes.
func (s *Snapshot[K, V]) All() iter.Seq2[Entry[K, V], error] {
	return s.scan(func(fn func([]byte, *store.Row) bool) error { return s.s.Scan(nil, nil, fn) })
}

// Range returns the rows whose encoded key is at or after that of from and
// before that of to, as [Snapshot.All] does.
func (s *Snapshot[K, V]) Range(from, to K) iter.Seq2[Entry[K, V], error] {
	return s.scan(func(fn func([]byte, *store.Row) bool) error {
		lo, err := s.t.encodeKey([]byte{}, from)
		if err != nil {
			return err
		}
		hi, err := s.t.encodeKey([]byte{}, to)
		if err != nil {
			return err
		}
		return s.s.Scan(lo, hi, fn)
	})
}

// Prefix returns the rows whose encoded key begins with the bytes of prefix, as
// [Snapshot.All] does.
func (s *Snapshot[K, V]) Prefix(prefix []byte) iter.Seq2[Entry[K, V], error] {
	return s.scan(func(fn func([]byte, *store.Row) bool) error { return s.s.ScanPrefix(prefix, fn) })
}

func (s *Snapshot[K, V]) scan(rows func(func([]byte, *store.Row) bool) error) iter.Seq2[Entry[K, V], error] {
	return func(yield func(Entry[K, V], error) bool) {
		stopped := false
		err := rows(func(k []byte, row *store.Row) bool {
			key, err := s.t.decodeKey(k, row)
			var entry Entry[K, V]
			if err != nil {
				err = s.t.decodeError(row, err)
			} else {
				entry, err = s.t.decodeValue(key, row, s.from)
			}
			stopped = !yield(entry, err)
			return !stopped
		})
		if err != nil && !stopped {
			yield(Entry[K, V]{}, s.wrap(err))
		}
	}
}

// wrap says whose error it is.
func (s *Snapshot[K, V]) wrap(err error) error {
	if _, own := errors.AsType[*KeyError](err); err == nil || own {
		return err
	}
	if errors.Is(err, store.ErrClosed) {
		return ErrClosed
	}
	return fmt.Errorf("globaltable: snapshot of table %s: %w", s.t.e.topic, err)
}

// Close ends the snapshot. It may be called more than once.
func (s *Snapshot[K, V]) Close() { s.s.Close() }
