package globaltable

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/globaltable/enrich/internal/store"
)

// Lag says how far the answers are behind the topic.
type Lag struct {
	// Records is the number of offsets between the positions and the ends of
	// all partitions, as last seen; it counts records that nobody is shown,
	// such as transaction markers. It is -1 while the end of a partition is
	// not known.
	Records int64
	// Age is the time since every partition was last known to be at its end.
	// It grows while brokers are away. It is 0 while the table has no rows to
	// answer with.
	Age time.Duration
	// Partitions are those that were read, by number.
	Partitions []PartitionLag
}

// PartitionLag is the lag of one partition.
type PartitionLag struct {
	Partition int32
	// Position is the next offset to apply.
	Position int64
	// End is the end of what can be read, as last seen; -1 if it is not known.
	End int64
	// AtEnd is when Position was last known to be the end; zero if never.
	AtEnd time.Time
}

// lag is Table.Lag.
func (e *engine) lag() Lag {
	gen := e.served()
	if gen == nil {
		return Lag{Records: -1}
	}
	state := gen.State()
	var l Lag
	f := e.follower.Load()
	if f != nil && f.gen != gen {
		f = nil // it builds another generation
	}
	var oldest time.Time
	for p, at := range state.Partitions {
		if !at.Known {
			continue
		}
		pl := PartitionLag{Partition: int32(p), Position: at.Next, End: -1, AtEnd: at.AtEnd}
		if f != nil {
			f.endsMu.Lock()
			if end, ok := f.ends[int32(p)]; ok {
				pl.End, pl.AtEnd = max(end.offset, at.Next), end.seen
			}
			f.endsMu.Unlock()
		}
		if pl.End < 0 {
			l.Records = -1
		} else if l.Records >= 0 {
			l.Records += pl.End - pl.Position
		}
		if oldest.IsZero() || pl.AtEnd.Before(oldest) {
			oldest = pl.AtEnd
		}
		l.Partitions = append(l.Partitions, pl)
	}
	if !oldest.IsZero() {
		l.Age = max(0, age(oldest))
	}
	return l
}

// Stats are a table's figures.
type Stats struct {
	Topic  string
	Status Status
	// Decision and Reason are what was done with the rows that were found
	// when the table last began to read.
	Decision Decision
	Reason   Reason
	// Generation is the number of the build that answers, 0 if none does;
	// TopicID is the topic it was read from.
	Generation uint64
	TopicID    TopicID

	// These count over the life of the generation, across restarts. Before
	// the table answers they are those of the one being built.
	Records    uint64 // records read, whatever became of them
	Tombstones uint64 // records that delete their key
	NullKeys   uint64 // records dropped because they have no key
	Rejected   uint64 // records that a transform rejected, or [BadRecords] skipped
	Filtered   uint64 // records that a transform filtered out
	Verified   uint64 // rows deleted by verifications

	// These count since the table was opened.
	Rebuilds        uint64 // generations that took the place of another
	RebuildsDropped uint64 // generations that could not be completed
	Verifications   uint64
	BulkLoads       uint64 // times the table was so far behind that it loaded rows in bulk
	// SpreadKeys counts keys, of a sample of some thousand, that were seen with
	// records in more than one partition since the table was opened. Kafka has no order between those: the record that was applied
	// last is the row, and a fresh replica may hold another. Write a key to one
	// partition only.
	SpreadKeys uint64

	// Lag is as [Table.Lag] has it.
	Lag Lag
	// DiskBytes is what the generation takes on disk.
	DiskBytes uint64
	// Merging says that files of the store are being merged, as after a bulk
	// load: lookups of rows that are not kept decoded take longer meanwhile.
	Merging bool
	// Unknown lists what the cluster does not tell, so that what needs it is
	// not checked: "topic id", "cluster id", "leader epochs", and the settings
	// "cleanup.policy" and "delete.retention.ms", for which see [DeleteRetention].
	Unknown []string
	// TombstonesUnprovable says that the topic keeps tombstones for less than
	// 10 s: a deletion that comes and goes in between two fetches is missed.
	TombstonesUnprovable bool
}

// String returns the figures on one line, in an order that stays the same.
func (s Stats) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "topic=%s status=%q decision=%s", s.Topic, s.Status, s.Decision)
	if s.Reason != "" {
		fmt.Fprintf(&b, " reason=%s", s.Reason)
	}
	fmt.Fprintf(&b, " generation=%d records=%d tombstones=%d null-keys=%d rejected=%d filtered=%d verified=%d",
		s.Generation, s.Records, s.Tombstones, s.NullKeys, s.Rejected, s.Filtered, s.Verified)
	fmt.Fprintf(&b, " rebuilds=%d rebuilds-dropped=%d verifications=%d lag=%d age=%s disk=%d positions=[",
		s.Rebuilds, s.RebuildsDropped, s.Verifications, s.Lag.Records, s.Lag.Age.Round(time.Millisecond), s.DiskBytes)
	for i, p := range s.Lag.Partitions {
		if i > 0 {
			b.WriteString(" ")
		}
		fmt.Fprintf(&b, "%d:%d/%d", p.Partition, p.Position, p.End)
	}
	b.WriteString("]")
	if s.SpreadKeys > 0 {
		fmt.Fprintf(&b, " spread-keys=%d", s.SpreadKeys)
	}
	if s.Merging {
		b.WriteString(" merging")
	}
	if len(s.Unknown) > 0 {
		fmt.Fprintf(&b, " unknown=%q", strings.Join(s.Unknown, ", "))
	}
	if s.TombstonesUnprovable {
		b.WriteString(" tombstones-unprovable")
	}
	return b.String()
}

// tally counts what happens to generations.
type tally struct {
	mu                               sync.Mutex
	decision                         Decision
	reason                           Reason
	rebuilds, gaveUp, checked, bulks uint64
	spread                           uint64
}

func (t *tally) decided(pl plan) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.decision, t.reason = pl.decision, pl.reason
}

func (t *tally) bulk() { t.mu.Lock(); t.bulks++; t.mu.Unlock() }
func (t *tally) spreadKey() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.spread++
	return t.spread
}

func (t *tally) swapped()     { t.mu.Lock(); t.rebuilds++; t.mu.Unlock() }
func (t *tally) dropped()     { t.mu.Lock(); t.gaveUp++; t.mu.Unlock() }
func (t *tally) verified(int) { t.mu.Lock(); t.checked++; t.mu.Unlock() }

// stats is Table.Stats.
func (e *engine) stats() Stats {
	s := Stats{Topic: e.topic, Status: e.currentStatus(), Lag: e.lag()}
	t := &e.tally
	t.mu.Lock()
	s.Decision, s.Reason = t.decision, t.reason
	s.Rebuilds, s.RebuildsDropped, s.Verifications = t.rebuilds, t.gaveUp, t.checked
	s.BulkLoads, s.SpreadKeys = t.bulks, t.spread
	t.mu.Unlock()
	f := e.follower.Load()
	gen := e.served()
	if gen != nil {
		s.Generation = gen.Number()
	} else if f != nil {
		gen = f.gen
	}
	if gen != nil {
		s.TopicID = gen.Identity().TopicID
		s.count(gen.State())
		s.DiskBytes, s.Merging = gen.DiskBytes(), gen.Merging()
		s.Unknown = unknownOf(gen)
	}
	if f != nil {
		s.Unknown = append(s.Unknown, f.unknown...)
		s.TombstonesUnprovable = f.retention < minProvable
	}
	return s
}

func (s *Stats) count(state *store.State) {
	c := &state.Counters
	s.Records, s.Tombstones, s.NullKeys = c.Records, c.Tombstones, c.NullKeys
	s.Rejected, s.Filtered, s.Verified = c.Rejected, c.Filtered, c.Verified
}

func unknownOf(gen *store.Generation) []string {
	var all []string
	id := gen.Identity()
	if id.TopicID == (TopicID{}) {
		all = append(all, "topic id")
	}
	if id.ClusterID == "" {
		all = append(all, "cluster id")
	}
	for p := range gen.State().Partitions {
		if at := &gen.State().Partitions[p]; at.Known && at.Next > 0 && at.Epoch < 0 {
			return append(all, "leader epochs")
		}
	}
	return all
}
