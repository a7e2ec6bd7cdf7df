package join

import (
	"hash/maphash"
	"math/bits"
)

// memo finds the distinct keys of a batch, so that a key which many records have
// is looked up once. It knows only keys that are strings; others are looked up as
// often as they stand there, which costs time and changes nothing.
type memo struct {
	seed maphash.Seed
	// slots is a table of twice as many places as there are keys, or more. A
	// place holds the upper half of a key's hash and, one up, its number.
	slots []uint64
	at    []int32
}

// distinct moves the distinct keys to the front, in the order in which they come
// first, and returns them, and for each key its place among them. No places say
// that every key is at its own. They are valid until the next call.
func distinct[TK any](m *memo, keys []TK) ([]TK, []int32) {
	texts, ok := any(keys).([]string)
	if !ok {
		return keys, nil
	}
	if m.slots == nil {
		m.seed = maphash.MakeSeed()
	}
	if size := 2 << bits.Len(uint(len(keys))); len(m.slots) < size {
		m.slots = make([]uint64, size)
	} else {
		clear(m.slots)
	}
	m.at = m.at[:0]
	mask := uint64(len(m.slots) - 1)
	n := 0
	for _, key := range texts {
		hash := maphash.String(m.seed, key)
		tag := hash &^ (1<<32 - 1)
		place := hash & mask
		for {
			slot := m.slots[place]
			if slot == 0 {
				texts[n] = key
				m.slots[place] = tag | uint64(n+1)
				m.at = append(m.at, int32(n))
				n++
				break
			}
			if i := int32(slot) - 1; slot&^(1<<32-1) == tag && texts[i] == key {
				m.at = append(m.at, i)
				break
			}
			place = (place + 1) & mask
		}
	}
	return keys[:n], m.at
}
