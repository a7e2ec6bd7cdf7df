package join

import (
	"hash/maphash"
	"math/bits"
)

// memo finds the distinct keys of batches, so that a key which many records have
// is looked up once. It knows only keys that are strings; others are looked up as
// often as they stand there, which costs time and changes nothing.
type memo struct {
	seed maphash.Seed
	// known are the distinct keys since forget.
	known []string
	// slots is a table of twice as many places as there are keys, or more. A
	// place holds the upper half of a key's hash and, one up, its number.
	slots []uint64
	at    []int32
}

// forget makes all keys unknown.
func (m *memo) forget() { m.known, m.slots = m.known[:0], m.slots[:0] }

// distinct returns the keys of a batch that were not known, in the order in which
// they come first, and knows them from then on; and for each key of the batch its
// number among all that are known. No numbers say that every key is to be looked
// up, and that nothing is known of any. They are valid until the next call.
func distinct[TK any](m *memo, keys []TK) (fresh []TK, at []int32) {
	texts, ok := any(keys).([]string)
	if !ok {
		return keys, nil
	}
	return any(m.add(texts)).([]TK), m.at
}

func (m *memo) add(texts []string) (fresh []string) {
	m.makeRoom(len(m.known) + len(texts))
	m.at = m.at[:0]
	before := len(m.known)
	for _, key := range texts {
		m.at = append(m.at, m.number(key))
	}
	return m.known[before:]
}

// number returns a key's number, a new one if it was not known.
func (m *memo) number(key string) int32 {
	hash := maphash.String(m.seed, key)
	tag, mask := hash&^(1<<32-1), uint64(len(m.slots)-1)
	for place := hash & mask; ; place = (place + 1) & mask {
		slot := m.slots[place]
		if slot == 0 {
			m.known = append(m.known, key)
			m.slots[place] = tag | uint64(len(m.known))
			return int32(len(m.known) - 1)
		}
		if i := int32(slot) - 1; slot&^(1<<32-1) == tag && m.known[i] == key {
			return i
		}
	}
}

// makeRoom has places for n keys.
func (m *memo) makeRoom(n int) {
	size := 2 << bits.Len(uint(n))
	if len(m.slots) >= size {
		return
	}
	if cap(m.slots) < size {
		m.seed, m.slots = maphash.MakeSeed(), make([]uint64, size)
	} else {
		m.slots = m.slots[:size]
		clear(m.slots)
	}
	known := m.known
	m.known = known[:0]
	for _, key := range known {
		m.number(key)
	}
}
