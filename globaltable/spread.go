package globaltable

import (
	"hash/maphash"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/internal/feed"
)

// spread watches a sample of keys for records in more than one partition: Kafka has
// no order between them, so a fresh replica may hold another row. A key is in the
// sample if the last bits of its hash are zero: as many bits as keep the sample
// small. It is of one topic, and used by one session at a time.
type spread struct {
	topic feed.TopicID
	seed  maphash.Seed
	mask  uint64
	seen  map[uint64]lastSeen // by hash
}

// lastSeen is where a key's last record was.
type lastSeen struct {
	partition int32
	moved     bool // the key is counted
}

// spreadKeys bounds the sample.
const spreadKeys = 4096

func newSpread(topic feed.TopicID) *spread {
	return &spread{topic: topic, seed: maphash.MakeSeed(), seen: map[uint64]lastSeen{}}
}

// see notes a record of the sample, and returns the partition in which its key was
// before, if that is another one and the key was not counted yet. stored tells where
// the key's row is from, and is asked where the sample does not know.
func (s *spread) see(r *kgo.Record, stored func(key []byte) (int32, bool)) (before int32, moved bool) {
	hash := maphash.Bytes(s.seed, r.Key)
	if hash&s.mask != 0 {
		return 0, false
	}
	last, known := s.seen[hash]
	if !known {
		last.partition, known = stored(r.Key)
	}
	moved = known && last.partition != r.Partition && !last.moved
	s.seen[hash] = lastSeen{r.Partition, last.moved || moved}
	s.shrink()
	return last.partition, moved
}

// shrink leaves keys out of the sample once it is full.
func (s *spread) shrink() {
	for len(s.seen) > spreadKeys {
		s.mask = s.mask<<1 | 1
		for hash := range s.seen {
			if hash&s.mask != 0 {
				delete(s.seen, hash)
			}
		}
	}
}

// watchSpread notes keys that have records in more than one partition. The lock is
// held.
func (f *follower) watchSpread(r *kgo.Record) {
	if max(len(f.topic.Partitions), len(f.next.Partitions)) < 2 {
		return
	}
	before, moved := f.spread.see(r, func(key []byte) (int32, bool) {
		if f.bulk != nil {
			return 0, false // a bulk load reads nothing
		}
		p, offset, ok, err := f.gen.Lookup(key)
		return p, ok && err == nil && !f.next.Gone(p, offset)
	})
	if moved && f.e.tally.spreadKey() == 1 {
		f.e.log.Warn("a key has records in two partitions: Kafka has no order between them, the one applied last is its row; write a key to one partition only",
			"partition", before, "and_partition", r.Partition, "offset", r.Offset)
	}
}

// spreadOf returns the sample of a topic: sessions go on with that of the last one.
func (e *engine) spreadOf(topic feed.TopicID) *spread {
	if e.spread == nil || e.spread.topic != topic {
		e.spread = newSpread(topic)
	}
	return e.spread
}
