package globaltable

import (
	"fmt"
	"math"
	"sync"
	"time"
	"unsafe"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/internal/store"
)

// Get returns the key's value. ok is false if the table has no such row; a table
// that cannot tell returns an error: one that wraps [ErrNotReady], a
// [*RunError], [ErrClosed], a [*KeyError], or a [*DecodeError] for a row that is
// there and cannot be decoded.
//
// The value may be shared with other readers: do not change what it refers to.
// A lookup of a row that is kept decoded takes no lock, and makes no garbage if K
// is a string.
func (t *Table[K, V]) Get(key K) (value V, ok bool, err error) {
	row, _, err := t.row(key)
	if err != nil {
		return value, false, err
	}
	return row.value, row.found, nil
}

// GetEntry is [Table.Get] with what is known of the row's record.
func (t *Table[K, V]) GetEntry(key K) (entry Entry[K, V], ok bool, err error) {
	row, v, err := t.row(key)
	if err != nil {
		return Entry[K, V]{Key: key}, false, err
	}
	fill(&entry, key, row, v)
	return entry, row.found, nil
}

// fill sets an empty entry to a row of the view.
func fill[K, V any](entry *Entry[K, V], key K, r *cachedRow[V], v *view) {
	entry.Key = key
	if r.found {
		entry.Value, entry.Found = r.value, true
		entry.Timestamp, entry.Partition, entry.Offset = time.UnixMilli(r.timestamp), r.partition, r.offset
		entry.Generation = v.gen.Number()
		if r.headers != nil {
			entry.Headers = *r.headers
		}
	}
}

// row looks a key up, and tells which view answered.
func (t *Table[K, V]) row(key K) (*cachedRow[V], *view, error) {
	if t.plain {
		return t.rowOf(sameString(key))
	}
	buf := keyBuffers.Get().(*[]byte)
	defer keyBuffers.Put(buf)
	b, err := t.encodeKey((*buf)[:0], key)
	if err != nil {
		return nil, nil, err
	}
	*buf = b[:0]
	return t.rowOf(asString(b))
}

// keyBuffers hold encoded keys while they are looked up.
var keyBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 64); return &b }}

// rowOf is row for an encoded key, which it does not keep.
func (t *Table[K, V]) rowOf(key string) (*cachedRow[V], *view, error) {
	v := t.e.view.Load()
	if row, ok := t.cached(v, key); ok {
		return row, v, nil
	}
	return t.readRow(key)
}

// cached returns what the view keeps of a key.
func (t *Table[K, V]) cached(v *view, key string) (*cachedRow[V], bool) {
	if v.gen == nil {
		return nil, false
	}
	row, ok := v.cache.(*rowCache[V]).get(key)
	if !ok || row.found && v.gen.State().Gone(row.partition, row.offset) {
		return nil, false
	}
	return row, true
}

// readRow is rowOf for a key that is not kept.
func (t *Table[K, V]) readRow(key string) (row *cachedRow[V], from *view, err error) {
	var bad error
	err = t.e.onView(func(v *view) error {
		cache := v.cache.(*rowCache[V])
		ticket := cache.before(key)
		found, ok, err := v.gen.Get(asBytes(key))
		if err != nil {
			return err
		}
		defer found.Close()
		from = v
		row, bad = t.keep(cache, key, &found.Row, ok, ticket)
		return nil
	})
	if err == nil {
		err = bad
	}
	return row, from, err
}

// keep decodes a row that was read and keeps it. The error is a *DecodeError.
func (t *Table[K, V]) keep(cache *rowCache[V], key string, stored *store.Row, found bool, read ticket) (*cachedRow[V], error) {
	if !found && !read.wanted {
		return cache.none, nil
	}
	row := &cachedRow[V]{found: found}
	weight := cachedRowBytes + len(key) + int(unsafe.Sizeof(*row))
	if found {
		v, headers, err := t.decode(stored)
		if err != nil {
			return nil, err
		}
		row.headers = headers
		row.value, row.partition, row.offset, row.timestamp = v, stored.Partition, stored.Offset, stored.Timestamp
		size := len(stored.Value)
		if t.size != nil {
			size = max(0, t.size(v))
		}
		weight += size + headersWeight(headers)
	}
	row.weight = uint32(min(weight, math.MaxUint32))
	cache.add(key, row, read)
	return row, nil
}

func (t *Table[K, V]) meta(part codec.Part, headers *[]codec.Header) codec.Meta {
	return codec.Meta{Topic: t.e.topic, Part: part, Headers: headers}
}

// encodeKey appends the key's encoding to dst.
func (t *Table[K, V]) encodeKey(dst []byte, key K) (b []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			b, err = dst, &KeyError{Topic: t.e.topic, Err: newPanicError("key codec", v)}
		}
	}()
	b, err = t.key.Encode(dst, key, t.meta(codec.Key, nil))
	if err != nil {
		return dst, &KeyError{Topic: t.e.topic, Err: err}
	}
	if len(b) < len(dst) {
		return dst, &KeyError{Topic: t.e.topic, Err: fmt.Errorf("the codec returned less than it was given; Encode has to append")}
	}
	return b, nil
}

// decode decodes a row, whose memory it does not keep, and its headers, nil if they
// were not kept. The error is a *DecodeError.
func (t *Table[K, V]) decode(row *store.Row) (value V, headers *[]codec.Header, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = t.decodeError(row, newPanicError("value codec", v))
		}
	}()
	if headers, err = headersOf(row); err != nil {
		return value, nil, t.decodeError(row, err)
	}
	value, err = t.value.Decode(row.Value, t.meta(codec.Value, headers))
	if err != nil {
		var none V
		return none, nil, t.decodeError(row, err)
	}
	return value, headers, nil
}

// decodeValue makes an entry of a row, whose memory it does not keep. The error
// is a *DecodeError.
func (t *Table[K, V]) decodeValue(key K, row *store.Row, generation uint64) (Entry[K, V], error) {
	v, headers, err := t.decode(row)
	if err != nil {
		return Entry[K, V]{Key: key}, err
	}
	entry := Entry[K, V]{
		Key: key, Value: v, Found: true,
		Timestamp: time.UnixMilli(row.Timestamp), Partition: row.Partition, Offset: row.Offset,
		Generation: generation,
	}
	if headers != nil {
		entry.Headers = *headers
	}
	return entry, nil
}

// decodeKey decodes a stored row's key.
func (t *Table[K, V]) decodeKey(b []byte, row *store.Row) (key K, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = newPanicError("key codec", v)
		}
	}()
	headers, err := headersOf(row)
	if err != nil {
		return key, err
	}
	return t.key.Decode(b, t.meta(codec.Key, headers))
}

func (t *Table[K, V]) decodeError(row *store.Row, err error) error {
	return &DecodeError{Topic: t.e.topic, Partition: row.Partition, Offset: row.Offset, Err: err}
}
