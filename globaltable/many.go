package globaltable

import (
	"cmp"
	"slices"
	"strings"
	"sync"

	"github.com/globaltable/enrich/internal/store"
)

// GetMany looks several keys up in one pass; result i belongs to keys[i]. A key
// that stands there more than once is looked up once. Each result is as fresh
// as [Table.Get] would be; they need not be of one moment. For that, see
// [Table.Snapshot].
//
// The rows that are not kept decoded are read by as many goroutines as there are
// cores, which also call the codec.
//
// The error is about all keys: one that wraps [ErrNotReady], a [*RunError] or
// [ErrClosed]. What concerns one key is in its result.
func (t *Table[K, V]) GetMany(keys []K) ([]Result[K, V], error) {
	results, err := t.AppendMany(make([]Result[K, V], 0, len(keys)), keys)
	if err != nil {
		return nil, err
	}
	return results, nil
}

// AppendMany is [Table.GetMany] that appends the results to dst, whose memory can
// so be used again. After an error it returns dst as it was.
func (t *Table[K, V]) AppendMany(dst []Result[K, V], keys []K) ([]Result[K, V], error) {
	from := len(dst)
	dst = slices.Grow(dst, len(keys))[:from+len(keys)]
	results := dst[from:]
	clear(results)
	m := manyPool.Get().(*many)
	defer manyPool.Put(m)
	m.reset()
	v := t.e.view.Load()
	for i, key := range keys {
		results[i].Key = key
		encoded, err := t.encoded(m, key)
		if err != nil {
			results[i].Err = err
			continue
		}
		if row, ok := t.cached(v, encoded); ok {
			fill(&results[i].Entry, key, row, v)
			continue
		}
		m.misses = append(m.misses, miss{encoded, i})
	}
	if len(m.misses) == 0 && v.gen != nil {
		return dst, nil
	}
	m.sort()
	err := t.e.onView(func(v *view) error { return t.readMany(v, m, keys, results) })
	if err != nil {
		return dst[:from], err
	}
	return dst, nil
}

// encoded returns the encoded key. It is valid until m is reset.
func (t *Table[K, V]) encoded(m *many, key K) (string, error) {
	if t.plain {
		return sameString(key), nil
	}
	from := len(m.arena)
	b, err := t.encodeKey(m.arena, key)
	if err != nil {
		return "", err
	}
	m.arena = b
	return asString(b[from:]), nil
}

// readMany reads the misses from the view's generation.
func (t *Table[K, V]) readMany(v *view, m *many, keys []K, results []Result[K, V]) error {
	cache := v.cache.(*rowCache[V])
	for i := range m.distinct {
		m.tickets[i] = cache.before(m.misses[m.first[i]].key)
	}
	return v.gen.GetMany(m.distinct, func(d int, stored *store.Row, ok bool) error {
		same := m.misses[m.first[d]:m.first[d+1]]
		row, err := t.keep(cache, same[0].key, stored, ok, m.tickets[d])
		for _, s := range same {
			r := &results[s.at]
			r.Entry, r.Err = Entry[K, V]{Key: keys[s.at]}, err
			if err == nil {
				fill(&r.Entry, keys[s.at], row, v)
			}
		}
		return nil
	})
}

// many is the memory of one GetMany.
type many struct {
	arena    []byte // encoded keys
	misses   []miss // keys to be read, with repetitions
	distinct [][]byte
	first    []int // of each distinct key in misses, and their number
	tickets  []ticket
}

// miss is a key to be read, and the place of its result.
type miss struct {
	key string
	at  int
}

var manyPool = sync.Pool{New: func() any { return &many{} }}

// manyKept bounds the encoded keys for which memory is kept.
const manyKept = 1 << 20

func (m *many) reset() {
	if cap(m.arena) > manyKept || cap(m.misses) > manyKept/64 {
		*m = many{}
	}
	clear(m.misses) // those of the last time hold on to keys
	m.arena, m.misses = m.arena[:0], m.misses[:0]
}

// sort orders the misses by key and finds the distinct ones.
func (m *many) sort() {
	slices.SortFunc(m.misses, func(a, b miss) int { return cmp.Or(strings.Compare(a.key, b.key), cmp.Compare(a.at, b.at)) })
	m.distinct, m.first = m.distinct[:0], m.first[:0]
	for i, s := range m.misses {
		if i == 0 || s.key != m.misses[i-1].key {
			m.distinct = append(m.distinct, asBytes(s.key))
			m.first = append(m.first, i)
		}
	}
	m.first = append(m.first, len(m.misses))
	m.tickets = slices.Grow(m.tickets[:0], len(m.distinct))[:len(m.distinct)]
}
