package stream

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// State says what a worker is doing.
type State int

const (
	// StateNew is a worker that does not run yet.
	StateNew State = iota
	// StateWaitingForDependencies waits until every [Dependency] is ready.
	StateWaitingForDependencies
	// StateWaitingForTopics waits until the brokers answer and every topic
	// exists. Stats.LastError says what is missing.
	StateWaitingForTopics
	// StateRunning consumes. If brokers are away it tries again for ever;
	// Stats.LastError says so.
	StateRunning
	// StateStopping finishes what has begun.
	StateStopping
	// StateStopped is a worker whose Run has returned.
	StateStopped
)

var stateNames = [...]string{"new", "waiting-for-dependencies", "waiting-for-topics", "running", "stopping", "stopped"}

// String returns the state's name, in lower case with dashes.
func (s State) String() string {
	if s < 0 || int(s) >= len(stateNames) {
		return fmt.Sprintf("state-%d", int(s))
	}
	return stateNames[s]
}

// Stats are a worker's counters, since it was made.
type Stats struct {
	State State

	// Records counts records given to the first operator. Records read again
	// after a rebalance count again.
	Records int64
	// Outputs counts records written by [To] and acknowledged.
	Outputs int64
	// Dropped counts records that operators dropped, by reason.
	Dropped map[string]int64
	// BadRecords counts inputs given to the error policy.
	BadRecords BadRecords
	// DeadLetters counts dead letters that were acknowledged.
	DeadLetters int64
	// Retries counts waits for errors marked retryable.
	Retries int64
	// Commits counts commits that the group accepted.
	Commits int64

	// Partitions are those assigned at the moment, or when Run ended, by
	// topic and partition.
	Partitions []PartitionStats

	// LastError is the last error that did not end the run, such as a broker
	// that could not be reached, and LastErrorAt when it was. It is not
	// cleared when things are well again.
	LastError   error
	LastErrorAt time.Time
}

// BadRecords counts inputs by what the error policy did with them.
type BadRecords struct{ Failed, Skipped, DeadLettered int64 }

// PartitionStats are the figures of one assigned partition.
type PartitionStats struct {
	Topic     string
	Partition int32
	// Committed is the offset last committed or found committed, -1 if there
	// is none.
	Committed int64
	// Position is the offset after the last record begun, -1 if there is
	// none.
	Position int64
	// Queued counts records fetched and not begun.
	Queued int
	// InFlight counts records begun and not done: on their way through the
	// operators, or with outputs not yet acknowledged.
	InFlight int
	// Paused says that fetching waits because the queue is full.
	Paused bool
}

// String returns all figures on one line, in an order that stays the same.
func (s Stats) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "state=%s records=%d outputs=%d dropped=%d", s.State, s.Records, s.Outputs, sum(s.Dropped))
	if len(s.Dropped) > 0 {
		b.WriteString("{")
		for i, reason := range slices.Sorted(maps.Keys(s.Dropped)) {
			if i > 0 {
				b.WriteString(" ")
			}
			fmt.Fprintf(&b, "%s=%d", reason, s.Dropped[reason])
		}
		b.WriteString("}")
	}
	fmt.Fprintf(&b, " failed=%d skipped=%d dead-lettered=%d dead-letters=%d retries=%d commits=%d partitions=[",
		s.BadRecords.Failed, s.BadRecords.Skipped, s.BadRecords.DeadLettered, s.DeadLetters, s.Retries, s.Commits)
	for i, p := range s.Partitions {
		if i > 0 {
			b.WriteString(" ")
		}
		fmt.Fprintf(&b, "%s/%d:committed=%d,position=%d,queued=%d,in-flight=%d", p.Topic, p.Partition, p.Committed, p.Position, p.Queued, p.InFlight)
		if p.Paused {
			b.WriteString(",paused")
		}
	}
	b.WriteString("]")
	if s.LastError != nil {
		fmt.Fprintf(&b, " last-error=%q", s.LastError)
	}
	return b.String()
}

func sum(m map[string]int64) (n int64) {
	for _, v := range m {
		n += v
	}
	return n
}

// counters are what Stats is made from.
type counters struct {
	records, outputs, deadLetters, retries, commits atomic.Int64
	failed, skipped, deadLettered                   atomic.Int64

	dropped sync.Map // reason -> *atomic.Int64

	mu        sync.Mutex
	lastErr   error
	lastErrAt time.Time
	loggedAt  time.Time
}

func (c *counters) drop(reason string) {
	n, ok := c.dropped.Load(reason)
	if !ok {
		n, _ = c.dropped.LoadOrStore(reason, new(atomic.Int64))
	}
	n.(*atomic.Int64).Add(1)
}

// Stats returns the worker's figures. It may be called at any time, also after
// Run has returned.
func (w *Worker) Stats() Stats {
	c := &w.count
	s := Stats{
		State:   State(w.state.Load()),
		Records: c.records.Load(), Outputs: c.outputs.Load(), DeadLetters: c.deadLetters.Load(),
		Retries: c.retries.Load(), Commits: c.commits.Load(),
		BadRecords: BadRecords{Failed: c.failed.Load(), Skipped: c.skipped.Load(), DeadLettered: c.deadLettered.Load()},
		Dropped:    make(map[string]int64),
	}
	c.dropped.Range(func(reason, n any) bool {
		s.Dropped[reason.(string)] = n.(*atomic.Int64).Load()
		return true
	})
	c.mu.Lock()
	s.LastError, s.LastErrorAt = c.lastErr, c.lastErrAt
	c.mu.Unlock()

	w.mu.Lock()
	parts := slices.Collect(maps.Values(w.parts))
	last := w.lastParts
	w.mu.Unlock()
	if last != nil {
		s.Partitions = slices.Clone(last)
		return s
	}
	s.Partitions = partitionStats(parts)
	return s
}

func partitionStats(parts []*partition) []PartitionStats {
	all := make([]PartitionStats, 0, len(parts))
	for _, p := range parts {
		p.mu.Lock()
		all = append(all, PartitionStats{
			Topic: p.topic, Partition: p.id,
			Committed: p.committed.Load(), Position: p.track.next.Offset,
			Queued: p.queue.n, InFlight: p.track.unfinished(), Paused: p.paused,
		})
		p.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b PartitionStats) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return all
}

// note keeps an error that does not end the run, and logs it unless the same
// was logged just before.
func (w *Worker) note(err error) {
	c := &w.count
	c.mu.Lock()
	again := c.lastErr != nil && c.lastErr.Error() == err.Error() && time.Since(c.loggedAt) < noteEvery
	c.lastErr, c.lastErrAt = err, time.Now()
	if !again {
		c.loggedAt = c.lastErrAt
	}
	c.mu.Unlock()
	if !again {
		w.log.Warn("stream is waiting", "error", err)
	}
}

// noteEvery is how often the same error is logged.
const noteEvery = 10 * time.Second
