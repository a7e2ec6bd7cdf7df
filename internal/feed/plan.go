package feed

import (
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// LogStart as a start's offset means the beginning of the partition's log.
const LogStart int64 = -1

// A Start is where to begin with a partition.
type Start struct {
	Partition int32
	// Offset is the next offset to read, or LogStart.
	Offset int64
	// Epoch is the leader epoch of the record before it, -1 if unknown. With
	// it, a broker tells when the log was truncated below Offset.
	Epoch int32
}

// A Plan says what a session reads.
type Plan struct {
	// Topic is the topic as it was described; its id is the one read.
	Topic *Topic
	// Starts are where to begin. Partitions of the topic that are not named,
	// and those found later, are read from their log's start.
	Starts []Start
	// Until, if not nil, ends the session: each partition in it is read to
	// that offset or to the end of what can be read, if that is lower; others
	// are not read. The last batch may go beyond. Where the log start passes
	// the position meanwhile, the partition goes on from there.
	Until map[int32]int64
	// MaxBytes, if not 0, bounds the answers further than Config's does: for
	// what is read beside something else.
	MaxBytes int32
}

// A Batch is what one fetch brought of one partition, maybe no record at all.
type Batch struct {
	Partition int32
	// Records are the visible ones, in order. They are used again once they
	// were delivered, and their bytes are shared with the whole answer: copy
	// what is to be kept.
	Records []*kgo.Record
	// From and Next are the positions before and after the batch. Everything
	// visible in between is in Records.
	From, Next int64
	// Epoch is the leader epoch of the last record batch read, -1 if unknown.
	Epoch int32
	// End is the end of what can be read: the last stable offset, or the
	// high watermark when reading uncommitted records.
	End int64
	// LogStart is the lowest offset that the partition has.
	LogStart int64
	// Asked is when the fetch was sent: End was the end then or later.
	Asked time.Time
}

// partition is a partition's place in a session. The worker that took it owns
// it until it gives it back, except for what is said to be the watcher's. Who
// does not own it reads it under the session's mutex, under which all is
// written.
type partition struct {
	number int32
	next   int64 // LogStart until the log start was asked for
	epoch  int32 // of the last batch read, -1 if unknown
	// open tells that the position is the log start and nothing was delivered:
	// should it be gone by the time it is read, a later one is as good.
	open bool
	// asked tells that a first answer came.
	asked bool
	done  bool
	// served counts the session's progress when the partition last made some.
	served uint64
	// askedAs is the leader's epoch when the partition was taken.
	askedAs int32

	failures int
	refusals int
	retryAt  time.Time

	// The watcher's.
	leader      int32 // -1 if none is known
	leaderEpoch int32
	outdated    int // answers in a row that were older than what is known
	taken       bool
}

func newPartition(st Start) *partition {
	return &partition{number: st.Partition, next: st.Offset, epoch: st.Epoch, open: st.Offset == LogStart, leader: -1, leaderEpoch: -1}
}

// partitions returns those that the plan names.
func (p *Plan) partitions() (map[int32]*partition, error) {
	if p.Topic == nil {
		return nil, errors.New("a plan needs the topic as it was described")
	}
	parts := map[int32]*partition{}
	for number := range p.Until {
		parts[number] = newPartition(Start{Partition: number, Offset: LogStart, Epoch: -1})
	}
	for _, st := range p.Starts {
		if until, ok := p.Until[st.Partition]; ok || p.Until == nil {
			part := newPartition(st)
			part.done = ok && st.Offset >= until && st.Offset != LogStart
			parts[st.Partition] = part
		}
	}
	return parts, nil
}

// maxBytes returns the bound of a session's answers, where most is the client's.
func (p *Plan) maxBytes(most int32) int32 {
	if p.MaxBytes > 0 {
		return min(p.MaxBytes, most)
	}
	return most
}
