package feed

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"
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

// A Batch is what one fetch brought of one partition, maybe no record at all.
type Batch struct {
	Partition int32
	// Records are the visible ones, in order. Their memory is shared with
	// the whole answer: copy what is to be kept.
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

// A Plan says what a session reads.
type Plan struct {
	// Topic is the topic as it was described; its id is the one read.
	Topic *Topic
	// Starts are where to begin. Partitions of the topic that are not named,
	// and those found later, are read from their log's start.
	Starts []Start
	// Until, if not nil, ends the session: each partition in it is read to
	// that offset, others are not read.
	Until map[int32]int64
}

// Read reads the topic until ctx ends, returning ctx's error, or until
// something is found that the caller must decide on: a *TopicChangedError, an
// ErrTopicAbsent, an *OutOfRangeError or a *DivergedError. With Until it
// returns nil when all partitions were read so far.
//
// deliver is called by several goroutines, but for one partition at a time;
// an error that it returns ends the session and is returned.
func (c *Client) Read(ctx context.Context, plan Plan, deliver func(context.Context, *Batch) error) error {
	eg, ctx := errgroup.WithContext(ctx)
	s := &session{
		cfg: c.cfg, asker: c, id: plan.Topic.ID, until: plan.Until, deliver: deliver,
		eg: eg, parts: map[int32]*partition{}, workers: map[workerKey]*worker{},
		refresh: make(chan struct{}, 1), troubles: map[workerKey]error{},
	}
	for _, st := range plan.Starts {
		s.parts[st.Partition] = &partition{number: st.Partition, next: st.Offset, epoch: st.Epoch, leader: -1}
	}
	opts := append(append([]kgo.Opt(nil), c.cfg.Opts...), kgo.BrokerMaxReadBytes(2*c.cfg.MaxBytes+64<<20))
	for range c.cfg.Connections {
		cl, err := kgo.NewClient(opts...)
		if err != nil {
			return err
		}
		defer cl.Close()
		s.clients = append(s.clients, cl)
	}
	eg.Go(func() error { return s.watch(ctx, plan.Topic) })
	err := eg.Wait()
	if errors.Is(err, errAllRead) {
		return nil
	}
	return err
}

// errAllRead ends a session whose Until was reached.
var errAllRead = errors.New("all read")

// partition is a partition's place in a session. The worker that took it
// owns it until it gives it back; all else is guarded by the session's mutex.
type partition struct {
	number int32
	next   int64
	epoch  int32 // of the last batch read

	leader      int32
	leaderEpoch int32
	taken       bool
	done        bool
	asked       bool // a first answer came
	retryAt     time.Time
	failures    int
}

type workerKey struct {
	client int
	leader int32
}

type session struct {
	cfg     Config
	asker   *Client
	id      TopicID
	until   map[int32]int64
	deliver func(context.Context, *Batch) error
	clients []*kgo.Client
	eg      *errgroup.Group
	refresh chan struct{} // someone wants the metadata looked at now

	mu      sync.Mutex
	parts   map[int32]*partition
	workers map[workerKey]*worker
	// troubles holds what each worker, and the watcher under the zero key,
	// waits for.
	troubles  map[workerKey]error
	reporting sync.Mutex
}

// watch keeps partitions and leaders as the cluster says, until something is
// found that ends the session.
func (s *session) watch(ctx context.Context, t *Topic) error {
	// Each fetch client has to hear of the brokers once.
	for i, cl := range s.clients {
		for failures := 0; ; failures++ {
			if _, err := describe(ctx, cl, s.cfg.Topic); err == nil || errors.Is(err, ErrTopicAbsent) {
				break
			} else if err := s.pause(ctx, failures, fmt.Errorf("connection %d: %w", i, err)); err != nil {
				return err
			}
		}
	}
	tick := time.NewTicker(s.cfg.MetadataInterval)
	defer tick.Stop()
	for failures := 0; ; {
		if t != nil {
			failures = 0
			s.report(watcher, nil)
			if err := s.adopt(ctx, t); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		case <-s.refresh:
			// Workers that see one leader move ask all at once.
			if err := sleep(ctx, 50*time.Millisecond); err != nil {
				return err
			}
			select {
			case <-s.refresh:
			default:
			}
		}
		var err error
		if t, err = s.asker.Describe(ctx); err != nil {
			if errors.Is(err, ErrTopicAbsent) {
				return err
			}
			if err := s.pause(ctx, failures, err); err != nil {
				return err
			}
			failures++
			s.wantRefresh()
			t = nil
			continue
		}
		if t.ID.Known() && s.id.Known() && t.ID != s.id {
			return &TopicChangedError{Old: s.id, New: t.ID}
		}
		// A broker may have come to another address.
		for _, cl := range s.clients {
			if _, err := describe(ctx, cl, s.cfg.Topic); err != nil {
				s.report(watcher, err)
			}
		}
	}
}

// adopt takes over partitions and leaders, and sees that each leader has its
// workers.
func (s *session) adopt(ctx context.Context, t *Topic) error {
	if err := s.resolveStarts(ctx, t); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, tp := range t.Partitions {
		p := s.parts[tp.Partition]
		if p == nil || tp.Leader < 0 {
			continue
		}
		if tp.Epoch < p.leaderEpoch && p.leader >= 0 && tp.Epoch >= 0 {
			continue // an answer older than what is known
		}
		p.leader, p.leaderEpoch = tp.Leader, tp.Epoch
	}
	for _, p := range s.parts {
		if p.leader < 0 || p.next < 0 {
			continue
		}
		k := workerKey{int(p.number) % len(s.clients), p.leader}
		if s.workers[k] == nil {
			w := &worker{s: s, key: k, wake: make(chan struct{}, 1)}
			s.workers[k] = w
			s.eg.Go(func() error { return w.run(ctx) })
		}
	}
	for _, w := range s.workers {
		w.signal()
	}
	return s.checkDone()
}

// resolveStarts finds the offset of partitions that are to be read from their
// log's start. Those whose leader does not answer are left for later.
func (s *session) resolveStarts(ctx context.Context, t *Topic) error {
	s.mu.Lock()
	open := false
	for _, tp := range t.Partitions {
		p := s.parts[tp.Partition]
		if p == nil && s.until == nil {
			p = &partition{number: tp.Partition, next: LogStart, epoch: -1, leader: -1}
			s.parts[tp.Partition] = p
		}
		open = open || p != nil && p.next == LogStart
	}
	s.mu.Unlock()
	if !open {
		return nil
	}
	ranges, err := s.asker.Ranges(ctx)
	if err != nil {
		s.report(watcher, err)
	}
	missing := false
	s.mu.Lock()
	for _, p := range s.parts {
		if p.next == LogStart {
			if r, ok := ranges[p.number]; ok {
				p.next = r.LogStart
				p.done = p.done || s.until != nil && p.next >= s.until[p.number]
			} else {
				missing = true
			}
		}
	}
	s.mu.Unlock()
	if missing {
		s.wantRefresh()
		return sleep(ctx, 100*time.Millisecond)
	}
	return nil
}

// checkDone returns errAllRead when the session has an end and reached it. The
// mutex is held.
func (s *session) checkDone() error {
	if s.until == nil {
		return nil
	}
	for _, p := range s.parts {
		if !p.done {
			return nil
		}
	}
	return errAllRead
}

func (s *session) wantRefresh() {
	select {
	case s.refresh <- struct{}{}:
	default:
	}
}

// watcher is the key under which watch reports.
var watcher = workerKey{-1, -1}

// report tells of trouble that one of the session's goroutines has, and of
// the end of all trouble.
func (s *session) report(who workerKey, err error) {
	s.reporting.Lock()
	defer s.reporting.Unlock()
	if err == nil {
		if _, had := s.troubles[who]; !had {
			return
		}
		delete(s.troubles, who)
		if len(s.troubles) == 0 {
			s.cfg.OnTrouble(nil)
		}
		return
	}
	s.troubles[who] = err
	s.cfg.Logger.Warn("feed: waiting", "topic", s.cfg.Topic, "err", err)
	s.cfg.OnTrouble(err)
}

// pause reports err and waits for as long as the nth failure in a row takes.
func (s *session) pause(ctx context.Context, n int, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.report(watcher, err)
	return sleep(ctx, backoff(n))
}

// backoff returns how long to wait after n failures before: 100 ms, doubled
// each time, at most 2 s.
func backoff(n int) time.Duration {
	return min(100*time.Millisecond<<min(n, 10), 2*time.Second)
}

// sleep waits for d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
