package stream

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// chunk bounds the records that go through the operators together: enough
	// to share the cost of a step, few enough to stay in the processor's cache.
	chunk = 1024

	// A fetch that is under way when a partition is paused is thrown away, and
	// one that finds nothing keeps a partition that was resumed waiting. So a
	// full queue is given some time to be worked off before its partition is
	// paused: less if another partition could be read meanwhile.
	pauseAfter       = 250 * time.Millisecond
	pauseAfterOthers = 100 * time.Millisecond
)

// queue holds the records of some fetches, in order.
type queue struct {
	fetches [][]*kgo.Record
	n       int
}

func (q *queue) push(recs []*kgo.Record) {
	q.fetches = append(q.fetches, recs)
	q.n += len(recs)
}

// pop removes up to n records and returns them. They are of one fetch.
func (q *queue) pop(n int) []*kgo.Record {
	if n = min(n, q.n); n == 0 {
		return nil
	}
	first := q.fetches[0]
	if n >= len(first) {
		q.fetches[0] = nil
		q.fetches = q.fetches[1:]
		q.n -= len(first)
		return first
	}
	q.fetches[0] = first[n:]
	q.n -= n
	return first[:n]
}

// last is the last record of a queue that is not empty.
func (q *queue) last() *kgo.Record {
	recs := q.fetches[len(q.fetches)-1]
	return recs[len(recs)-1]
}

// deliver queues records, of a log that ends at end. It never blocks. It reports
// whether the queue is full.
func (p *partition) deliver(recs []*kgo.Record, end int64) (full bool) {
	p.mu.Lock()
	p.queue.push(recs)
	p.end = end
	full = p.queue.n >= p.w.cfg.maxInFlight
	p.mu.Unlock()
	wake(p.fetched)
	return full
}

// take waits until there is work and room for it, and returns inputs that stay
// valid until the next call. It returns false when the partition is halted.
func (p *partition) take() ([]*input, bool) {
	limit := p.w.cfg.maxInFlight
	defer p.waiting.Store(false)
	for {
		if p.stopping() {
			p.mu.Lock()
			p.busy = false
			p.mu.Unlock()
			return nil, false
		}
		p.mu.Lock()
		p.busy = false
		queued := min(p.queue.n, chunk)
		p.track.advance()
		n := min(queued, limit-p.track.size)
		// With half the window free at least, batches do not become tiny
		// when outputs are slower than the input.
		if n > 0 && n >= min(queued, (limit+1)/2) {
			before := p.queue.n
			ins := p.track.add(p.queue.pop(n))
			p.busy = len(ins) > 0
			if half := limit / 2; p.queue.n <= half && before > half {
				if p.paused {
					p.resume()
				}
				wake(p.drained)
			}
			p.mu.Unlock()
			return ins, true
		}
		p.mu.Unlock()
		if queued > 0 && !p.waiting.Swap(true) {
			continue // an acknowledgement may have come before we said that we wait
		}
		select {
		case <-p.fetched:
		case <-p.room:
		case <-p.halted:
		}
	}
}

// awaitRoom waits until every one of some partitions, whose queues are full, has
// worked half of it off, or until it is time to pause those that have not.
func (w *Worker) awaitRoom(ctx context.Context, full []*partition) {
	if len(full) == 0 {
		return
	}
	soon := time.NewTimer(pauseAfterOthers)
	defer soon.Stop()
	late := time.NewTimer(pauseAfter)
	defer late.Stop()
	for _, p := range full {
		for p.full() {
			select {
			case <-p.drained:
				continue
			case <-soon.C:
				if !w.othersWait() {
					continue
				}
			case <-late.C:
			case <-p.halted:
			case <-ctx.Done():
			}
			for _, p := range full {
				p.pause()
			}
			return
		}
	}
}

// full reports whether the queue has to be worked off before more is fetched.
func (p *partition) full() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.queue.n > p.w.cfg.maxInFlight/2 && !p.stopping()
}

// othersWait reports whether a partition has nothing to do though there is more
// in its log.
func (w *Worker) othersWait() bool {
	for _, p := range w.allParts() {
		p.mu.Lock()
		waits := p.queue.n == 0 && !p.busy && p.track.next.Offset < p.end
		p.mu.Unlock()
		if waits {
			return true
		}
	}
	return false
}

// pause stops fetching for a partition whose queue is full.
func (p *partition) pause() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.paused && p.queue.n > p.w.cfg.maxInFlight/2 && !p.stopping() {
		p.paused = true
		p.w.client.PauseFetchPartitions(p.asMap())
	}
}

// resume undoes a pause. The caller holds p.mu.
func (p *partition) resume() {
	p.paused = false
	p.w.client.ResumeFetchPartitions(p.asMap())
}

func (p *partition) asMap() map[string][]int32 { return map[string][]int32{p.topic: {p.id}} }
