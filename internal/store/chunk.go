package store

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
)

// A chunk is rows in the order in which they came, all in one piece of memory.
type chunk struct {
	arena  []byte // stored keys and rows, one behind the other
	refs   []ref
	common int    // bytes that all stored keys begin with
	err    error  // a row that cannot be stored
	state  *State // what the rows lead to
	seq    uint64 // its place among the chunks
}

// ref is one put or deletion of a chunk.
type ref struct {
	prefix uint64 // the eight bytes of the stored key behind what is common to all
	at     uint64 // where the stored key begins in the arena
	key    uint32 // its length
	row    uint32 // the length of the row behind it, or deleted
}

const deleted = math.MaxUint32

// refBytes is what a ref takes in memory.
const refBytes = 24

// maxRecord is how long a key, or a row without its header, may be. It is more
// than a Kafka record can hold.
const maxRecord = math.MaxInt32

var errTooLong = errors.New("store: key or row is longer than 2 GiB")

// reset empties the chunk for its next use. Memory beyond keep bytes is given
// back: one large row must not be paid for until the end.
func (c *chunk) reset(keep int) {
	if cap(c.arena)+refBytes*cap(c.refs) > keep {
		c.arena, c.refs = nil, nil
	}
	c.arena, c.refs, c.common, c.err, c.state = c.arena[:0], c.refs[:0], 0, nil, nil
}

// bytes is what the chunk's content takes.
func (c *chunk) bytes() int { return len(c.arena) + refBytes*len(c.refs) }

func (c *chunk) put(key []byte, r *Row) {
	if c.tooLong(len(key), len(r.Headers)+len(r.Value)) {
		return
	}
	at := len(c.arena)
	c.arena = appendRowKey(c.arena, key)
	from := len(c.arena)
	c.arena = appendRow(c.arena, r)
	c.add(at, from, uint32(len(c.arena)-from))
}

func (c *chunk) delete(key []byte) {
	if c.tooLong(len(key), 0) {
		return
	}
	at := len(c.arena)
	c.arena = appendRowKey(c.arena, key)
	c.add(at, len(c.arena), deleted)
}

// tooLong reports whether lengths do not fit into a ref; the chunk is of no use
// then.
func (c *chunk) tooLong(key, row int) bool {
	if key <= maxRecord && row <= maxRecord {
		return false
	}
	c.err = fmt.Errorf("%w: %d and %d bytes", errTooLong, key, row)
	return true
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
	c.refs = append(c.refs, ref{at: uint64(at), key: uint32(end - at), row: row})
}

func (c *chunk) key(r *ref) []byte { return c.arena[r.at:][:r.key] }

// row returns the row's stored form; ok is false for a deletion.
func (c *chunk) row(r *ref) (row []byte, ok bool) {
	if r.row == deleted {
		return nil, false
	}
	return c.arena[r.at+uint64(r.key):][:r.row], true
}

// sort puts the refs in the order of their keys and keeps the newest of each. It
// returns scratch memory for the next call.
func (c *chunk) sort(scratch []ref) []ref {
	for i := range c.refs {
		r := &c.refs[i]
		r.prefix = prefixOf(c.key(r)[c.common:])
	}
	if len(c.refs) < radixFrom {
		slices.SortFunc(c.refs, c.compare)
	} else {
		c.refs, scratch = radixSort(c.refs, scratch)
	}
	kept := c.refs[:0]
	for rest := c.refs; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].prefix == rest[0].prefix {
			n++
		}
		kept = c.keepNewest(kept, rest[:n])
		rest = rest[n:]
	}
	c.refs = kept
	return scratch
}

// keepNewest appends the newest ref of each key of a run to kept, in the order
// of the keys. The run's refs have one prefix; kept may share its memory.
func (c *chunk) keepNewest(kept, run []ref) []ref {
	if len(run) > 1 {
		slices.SortFunc(run, c.compare)
	}
	for i, r := range run {
		if i == 0 || !bytes.Equal(c.key(&kept[len(kept)-1]), c.key(&r)) {
			kept = append(kept, r)
		}
	}
	return kept
}

// compare orders by key, and one key's refs with the newest first.
func (c *chunk) compare(a, b ref) int {
	if a.prefix != b.prefix {
		return cmp.Compare(a.prefix, b.prefix)
	}
	if d := c.compareTails(&a, &b); d != 0 {
		return d
	}
	return cmp.Compare(b.at, a.at)
}

// compareTails orders the keys of two refs with one prefix. Where both lie within
// it they differ at most in their length: one of them ends where the other goes
// on with zeros.
func (c *chunk) compareTails(a, b *ref) int {
	if within := uint32(c.common + prefixBytes); a.key <= within && b.key <= within {
		return cmp.Compare(a.key, b.key)
	}
	return bytes.Compare(c.key(a)[c.common:], c.key(b)[c.common:])
}

const prefixBytes = 8

// prefixOf returns up to eight bytes as a number that sorts like them, but for
// the end: a shorter key equals one that goes on with zeros.
func prefixOf(b []byte) uint64 {
	if len(b) >= prefixBytes {
		return binary.BigEndian.Uint64(b)
	}
	var full [prefixBytes]byte
	copy(full[:], b)
	return binary.BigEndian.Uint64(full[:])
}

// radixFrom is how many refs there must be for counting to be worth it.
const radixFrom = 512

// radixSort orders refs by their prefix, byte by byte from the last; refs with
// one prefix stay in their order. It returns the sorted refs and the memory that
// is free, which are the two arguments' in one way or the other.
func radixSort(refs, scratch []ref) (sorted, free []ref) {
	scratch = slices.Grow(scratch[:0], len(refs))[:len(refs)]
	var counts [prefixBytes][256]uint32
	for i := range refs {
		for p, d := 0, refs[i].prefix; p < prefixBytes; p, d = p+1, d>>8 {
			counts[p][byte(d)]++
		}
	}
	for p := range counts {
		count, shift := &counts[p], 8*p
		if int(count[byte(refs[0].prefix>>shift)]) == len(refs) {
			continue // all have the same byte here
		}
		var sum uint32
		for i, n := range count {
			count[i] = sum
			sum += n
		}
		for i := range refs {
			d := byte(refs[i].prefix >> shift)
			scratch[count[d]] = refs[i]
			count[d]++
		}
		refs, scratch = scratch, refs
	}
	return refs, scratch
}
