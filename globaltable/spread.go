package globaltable

import (
	"encoding/binary"
	"math/bits"

	"github.com/twmb/franz-go/pkg/kgo"
)

// spread watches a sample of keys for records in more than one partition: Kafka has
// no order between them, so a fresh replica may hold another row. A key is in the
// sample if the last bits of its hash are zero: as many bits as keep the sample
// small.
type spread struct {
	mask  uint64
	seen  map[string]int32 // the partition of each key of the sample
	found map[string]struct{}
}

// spreadKeys bounds the sample.
const spreadKeys = 4096

func newSpread() *spread {
	return &spread{seen: map[string]int32{}, found: map[string]struct{}{}}
}

// sampled reports whether a key is one of the sample.
func (s *spread) sampled(key []byte) bool { return spreadHash(key)&s.mask == 0 }

// see notes a record, and returns the partition in which its key was before, if that
// is another one and was not noted yet. stored tells where the key's row is from,
// and is asked where the sample does not know.
func (s *spread) see(r *kgo.Record, stored func(key []byte) (int32, bool)) (before int32, moved bool) {
	before, known := s.seen[string(r.Key)]
	if !known {
		if before, known = stored(r.Key); !known {
			before = r.Partition
		}
		s.seen[string(r.Key)] = r.Partition
		s.shrink()
	}
	if before == r.Partition {
		return 0, false
	}
	if _, again := s.found[string(r.Key)]; again {
		return 0, false
	}
	if len(s.found) < spreadKeys {
		s.found[string(r.Key)] = struct{}{}
	}
	return before, true
}

// shrink leaves keys out of the sample once it is full.
func (s *spread) shrink() {
	for len(s.seen) > spreadKeys && s.mask<<1|1 != s.mask {
		s.mask = s.mask<<1 | 1
		for key := range s.seen {
			if !s.sampled([]byte(key)) {
				delete(s.seen, key)
			}
		}
	}
}

// spreadHash is a quick hash of a key's length, first and last bytes: keys that it
// takes for one are in the sample together, or not.
func spreadHash(key []byte) uint64 {
	const odd = 0x9e3779b97f4a7c15
	n := len(key)
	h := uint64(n)
	if n >= 8 {
		h ^= binary.LittleEndian.Uint64(key) * odd
		h = bits.RotateLeft64(h, 29) ^ binary.LittleEndian.Uint64(key[n-8:])
	} else {
		for _, b := range key {
			h = h<<8 ^ h>>56 ^ uint64(b)
		}
	}
	h *= odd
	return h ^ h>>32
}

// watchSpread notes keys that have records in more than one partition. The lock is
// held.
func (f *follower) watchSpread(r *kgo.Record) {
	if max(len(f.topic.Partitions), len(f.next.Partitions)) < 2 || !f.spread.sampled(r.Key) {
		return
	}
	before, moved := f.spread.see(r, func(key []byte) (int32, bool) {
		if f.bulk != nil {
			return 0, false // a bulk load reads nothing
		}
		p, _, ok, err := f.gen.Lookup(key)
		return p, ok && err == nil
	})
	if !moved {
		return
	}
	if f.e.tally.spreadKey() == 1 {
		f.e.log.Warn("a key has records in two partitions: Kafka has no order between them, the one applied last is its row; write a key to one partition only",
			"key", string(r.Key), "partition", before, "and_partition", r.Partition, "offset", r.Offset)
	}
}
