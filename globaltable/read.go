package globaltable

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/internal/store"
)

// Get returns the key's value. ok is false if the table has no such row; a table
// that cannot tell returns an error: one that wraps [ErrNotReady], a
// [*RunError], [ErrClosed], a [*KeyError], or a [*DecodeError] for a row that is
// there and cannot be decoded.
func (t *Table[K, V]) Get(key K) (value V, ok bool, err error) {
	entry, ok, err := t.GetEntry(key)
	return entry.Value, ok, err
}

// GetEntry is [Table.Get] with what is known of the row's record.
func (t *Table[K, V]) GetEntry(key K) (entry Entry[K, V], ok bool, err error) {
	entry.Key = key
	var buf [64]byte
	k, err := t.encodeKey(buf[:0], key)
	if err != nil {
		return entry, false, err
	}
	var bad error
	err = t.e.onView(func(gen *store.Generation) error {
		v, found, err := gen.Get(k)
		if !found || err != nil {
			return err
		}
		defer v.Close()
		entry, bad = t.decodeValue(key, &v.Row, gen.Number())
		return nil
	})
	if err == nil {
		err = bad
	}
	return entry, entry.Found, err
}

// GetMany looks several keys up in one pass; result i belongs to keys[i]. A key
// that stands there more than once is looked up once. Each result is as fresh
// as [Table.Get] would be; they need not be of one moment. For that, see
// [Table.Snapshot].
//
// The error is about all keys: one that wraps [ErrNotReady], a [*RunError] or
// [ErrClosed]. What concerns one key is in its result.
func (t *Table[K, V]) GetMany(keys []K) ([]Result[K, V], error) {
	results := make([]Result[K, V], len(keys))
	var arena []byte
	type slot struct {
		key []byte
		i   int
	}
	slots := make([]slot, 0, len(keys))
	for i, key := range keys {
		results[i].Key = key
		from := len(arena)
		b, err := t.encodeKey(arena, key)
		if err != nil {
			results[i].Err = err
			continue
		}
		arena = b
		slots = append(slots, slot{arena[from:len(arena):len(arena)], i})
	}
	slices.SortFunc(slots, func(a, b slot) int { return bytes.Compare(a.key, b.key) })
	distinct := make([][]byte, 0, len(slots))
	first := make([]int, 0, len(slots)) // of each distinct key, in slots
	for i, s := range slots {
		if i == 0 || !bytes.Equal(s.key, slots[i-1].key) {
			distinct = append(distinct, s.key)
			first = append(first, i)
		}
	}
	err := t.e.onView(func(gen *store.Generation) error {
		return gen.GetMany(distinct, func(d int, row *store.Row, ok bool) error {
			end := len(slots)
			if d+1 < len(first) {
				end = first[d+1]
			}
			i := slots[first[d]].i
			r := &results[i]
			r.Entry, r.Err = Entry[K, V]{Key: keys[i]}, nil
			if ok {
				r.Entry, r.Err = t.decodeValue(keys[i], row, gen.Number())
			}
			for _, same := range slots[first[d]+1 : end] {
				results[same.i] = *r
				results[same.i].Key = keys[same.i]
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return results, nil
}

func (t *Table[K, V]) meta(part codec.Part) codec.Meta {
	return codec.Meta{Topic: t.e.topic, Part: part}
}

// encodeKey appends the key's encoding to dst.
func (t *Table[K, V]) encodeKey(dst []byte, key K) (b []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			b, err = dst, &KeyError{Topic: t.e.topic, Err: newPanicError("key codec", v)}
		}
	}()
	b, err = t.key.Encode(dst, key, t.meta(codec.Key))
	if err != nil {
		return dst, &KeyError{Topic: t.e.topic, Err: err}
	}
	if len(b) < len(dst) {
		return dst, &KeyError{Topic: t.e.topic, Err: fmt.Errorf("the codec returned less than it was given; Encode has to append")}
	}
	return b, nil
}

// decodeValue makes an entry of a row, whose memory it does not keep. The error
// is a *DecodeError.
func (t *Table[K, V]) decodeValue(key K, row *store.Row, generation uint64) (entry Entry[K, V], err error) {
	defer func() {
		if v := recover(); v != nil {
			entry, err = Entry[K, V]{Key: key}, t.decodeError(row, newPanicError("value codec", v))
		}
	}()
	v, err := t.value.Decode(row.Value, t.meta(codec.Value))
	if err != nil {
		return Entry[K, V]{Key: key}, t.decodeError(row, err)
	}
	return Entry[K, V]{
		Key: key, Value: v, Found: true,
		Timestamp: time.UnixMilli(row.Timestamp), Partition: row.Partition, Offset: row.Offset,
		Generation: generation,
	}, nil
}

// decodeKey decodes a stored key.
func (t *Table[K, V]) decodeKey(b []byte) (key K, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = newPanicError("key codec", v)
		}
	}()
	return t.key.Decode(b, t.meta(codec.Key))
}

func (t *Table[K, V]) decodeError(row *store.Row, err error) error {
	return &DecodeError{Topic: t.e.topic, Partition: row.Partition, Offset: row.Offset, Err: err}
}
