package store

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"
	"slices"
)

// A chunk is rows in the order in which they came, all in one piece of memory.
type chunk struct {
	arena  []byte // stored keys and rows, one behind the other
	refs   []ref
	common int // bytes that all stored keys begin with
	state  *State
	seq    uint64 // its place among the chunks
}

// ref is one put or deletion of a chunk.
type ref struct {
	prefix uint64 // the eight bytes of the stored key behind what is common to all
	at     uint32 // where the stored key begins in the arena
	key    uint32 // its length
	row    uint32 // the length of the row behind it, or deleted
}

const deleted = math.MaxUint32

// refBytes is what a ref takes in memory.
const refBytes = 24

// maxChunk keeps offsets into the arena within 32 bits.
const maxChunk = 1 << 30

func (c *chunk) reset() {
	c.arena, c.refs, c.common, c.state = c.arena[:0], c.refs[:0], 0, nil
}

// bytes is what the chunk's content takes.
func (c *chunk) bytes() int { return len(c.arena) + refBytes*len(c.refs) }

func (c *chunk) put(key []byte, r *Row) {
	at := len(c.arena)
	c.arena = appendRowKey(c.arena, key)
	from := len(c.arena)
	c.arena = appendRow(c.arena, r)
	c.add(at, from, uint32(len(c.arena)-from))
}

func (c *chunk) delete(key []byte) {
	at := len(c.arena)
	c.arena = appendRowKey(c.arena, key)
	c.add(at, len(c.arena), deleted)
}

func (c *chunk) add(at, end int, row uint32) {
	key := c.arena[at:end]
	if len(c.refs) == 0 {
		c.common = len(key)
	} else if first := c.key(&c.refs[0]); c.common > len(key) || !bytes.Equal(first[:c.common], key[:c.common]) {
		n := 0
		for n < c.common && n < len(key) && first[n] == key[n] {
			n++
		}
		c.common = n
	}
	c.refs = append(c.refs, ref{at: uint32(at), key: uint32(end - at), row: row})
}

func (c *chunk) key(r *ref) []byte { return c.arena[r.at : r.at+r.key] }

// row returns the row's stored form; ok is false for a deletion.
func (c *chunk) row(r *ref) (row []byte, ok bool) {
	if r.row == deleted {
		return nil, false
	}
	from := r.at + r.key
	return c.arena[from : from+r.row], true
}

// sort puts the refs in the order of their keys and keeps the newest of each.
func (c *chunk) sort() {
	for i := range c.refs {
		r := &c.refs[i]
		r.prefix = prefixOf(c.key(r)[c.common:])
	}
	slices.SortFunc(c.refs, func(a, b ref) int {
		if a.prefix != b.prefix {
			return cmp.Compare(a.prefix, b.prefix)
		}
		if d := bytes.Compare(c.key(&a)[c.common:], c.key(&b)[c.common:]); d != 0 {
			return d
		}
		return cmp.Compare(b.at, a.at) // the newest first
	})
	kept := c.refs[:0]
	for i := range c.refs {
		r := c.refs[i]
		if len(kept) > 0 {
			last := &kept[len(kept)-1]
			if last.prefix == r.prefix && bytes.Equal(c.key(last), c.key(&r)) {
				continue
			}
		}
		kept = append(kept, r)
	}
	c.refs = kept
}

// prefixOf returns up to eight bytes as a number that sorts like them, but for
// the end: a shorter key equals one that goes on with zeros.
func prefixOf(b []byte) uint64 {
	if len(b) >= 8 {
		return binary.BigEndian.Uint64(b)
	}
	var full [8]byte
	copy(full[:], b)
	return binary.BigEndian.Uint64(full[:])
}
