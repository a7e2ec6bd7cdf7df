package stream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/codec"
)

const (
	backoffFirst = 100 * time.Millisecond
	backoffMost  = 5 * time.Second
	// abandonGrace is how long a user function gets to return once its
	// context has ended.
	abandonGrace = time.Second
)

// partition is one assigned partition: its queue, its goroutine, its tracker.
// A partition that is lost and assigned again is another one.
type partition struct {
	w      *Worker
	topic  string
	id     int32
	handle rawHandler

	ctx     context.Context // for user functions; ends when their work is given up
	cancel  context.CancelFunc
	halted  chan struct{} // closed to stop; what has begun may finish
	stopped atomic.Bool   // halted is closed, or is about to be
	halt    func()
	done    chan struct{} // closed when the goroutine has ended

	mu     sync.Mutex
	queue  queue // fetched, not begun
	paused bool
	busy   bool
	track  tracker
	start  int64 // first position, -1 if it is not known
	end    int64 // where the log ended when something was last fetched

	fetched chan struct{} // the queue has grown
	drained chan struct{} // the queue is half empty again
	room    chan struct{} // something was acknowledged, for who has set waiting
	waiting atomic.Bool
	unacked atomic.Int64 // outputs sent and not acknowledged

	committed atomic.Int64 // -1 if nothing is
}

func newPartition(w *Worker, topic string, id int32) *partition {
	p := &partition{
		w: w, topic: topic, id: id,
		halted: make(chan struct{}), done: make(chan struct{}),
		fetched: make(chan struct{}, 1), drained: make(chan struct{}, 1), room: make(chan struct{}, 1),
		track: newTracker(), start: -1, end: -1,
	}
	p.ctx, p.cancel = context.WithCancel(w.base)
	p.halt = sync.OnceFunc(func() {
		p.stopped.Store(true)
		close(p.halted)
	})
	p.committed.Store(-1)
	p.handle = w.sink.open(p)
	return p
}

// run works until the partition is halted or something fails.
func (p *partition) run() {
	defer close(p.done)
	for {
		ins, ok := p.take()
		if !ok {
			return
		}
		if len(ins) == 0 {
			continue
		}
		p.w.count.records.Add(int64(len(ins)))
		if err := p.handle(ins); err != nil {
			if !errors.Is(err, errAbandoned) {
				p.w.fail(err)
			}
			return
		}
	}
}

// stopping reports whether the partition is to begin nothing more.
func (p *partition) stopping() bool { return p.stopped.Load() }

// each calls do for the records of a batch, under the rules for errors: bad
// records go to the policy, retryable errors are tried again, a stop abandons
// inputs that have not begun. do takes the record's reference over when it
// returns nil. flush, which may be nil, hands on what do has collected; it is
// called at the end, and before anything that keeps the records before the
// current one waiting.
func (p *partition) each(stage string, ins []*input, do func(i int) error, flush func() error) error {
	if flush == nil {
		flush = func() error { return nil }
	}
	end := func(err error) error {
		if ferr := flush(); ferr != nil {
			return ferr // about an earlier record
		}
		return err
	}
	for i, attempt := 0, 0; ; {
		at, err := p.span(stage, ins, i, do)
		if at > i {
			i, attempt = at, 0
		}
		switch {
		case err == nil:
			return flush()
		case errors.Is(err, errAbandoned):
			return end(errAbandoned)
		}
		if other, ok := errors.AsType[*notOwn](err); ok {
			return other.err
		}
		if p.ctx.Err() != nil {
			return end(errAbandoned)
		}
		if codec.IsRetryable(err) {
			if err := flush(); err != nil {
				return err
			}
			if !p.backoff(attempt, stage, ins[i], err) {
				return errAbandoned
			}
			attempt++
			continue
		}
		if err := p.reject(ins[i], stage, err); err != nil {
			return end(err)
		}
		ins[i].release()
		i, attempt = i+1, 0
	}
}

// span calls do for the records from i on, until one fails or the partition is
// stopped. It returns the record that it stopped at, and why; no error says that
// all are done. A panic is an error of the record that do was called for.
func (p *partition) span(stage string, ins []*input, from int, do func(i int) error) (i int, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = panicError(stage, v)
		}
	}()
	for i = from; i < len(ins); i++ {
		if p.stopping() && !ins[i].began && (i == 0 || ins[i-1] != ins[i]) {
			return i, errAbandoned
		}
		if err = do(i); err != nil {
			return i, err
		}
	}
	return i, nil
}

// guard turns a panic into an error.
func guard(stage string, do func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = panicError(stage, v)
		}
	}()
	return do()
}

// backoff waits before another attempt. It reports false if the partition was
// stopped instead.
func (p *partition) backoff(attempt int, stage string, in *input, err error) bool {
	p.w.count.retries.Add(1)
	p.w.note(fmt.Errorf("%s of record %s/%d offset %d, will be tried again: %w", stage, p.topic, p.id, in.rec.Offset, err))
	timer := time.NewTimer(min(backoffFirst<<min(attempt, 10), backoffMost))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-p.halted:
		return false
	}
}

// drop counts a record that an operator does not hand on.
func (p *partition) drop(in *input, reason string) {
	p.w.count.drop(reason)
	p.w.hooks.drop(p.topic, p.id, in.rec.Offset, reason)
}

// wait returns true once ready does, which is asked again after every
// acknowledgement, and false if ctx ends before.
func (p *partition) wait(ctx context.Context, ready func() bool) bool {
	p.waiting.Store(true)
	defer p.waiting.Store(false)
	for !ready() {
		select {
		case <-p.room:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// drain waits until a halted partition has finished what it had begun and, if
// asked, until its outputs are acknowledged. When ctx ends before, the work is
// given up.
func (p *partition) drain(ctx context.Context, outputs bool) error {
	select {
	case <-p.done:
	case <-ctx.Done():
		p.cancel()
		grace := time.NewTimer(abandonGrace)
		defer grace.Stop()
		select {
		case <-p.done:
			return fmt.Errorf("%w: work on %s/%d was given up", ErrShutdownTimeout, p.topic, p.id)
		case <-grace.C:
			return fmt.Errorf("%w: a function called for %s/%d does not return", ErrShutdownTimeout, p.topic, p.id)
		}
	}
	defer p.cancel()
	if outputs && !p.wait(ctx, func() bool { return p.unacked.Load() == 0 }) {
		return fmt.Errorf("%w: %d outputs of %s/%d are not acknowledged", ErrShutdownTimeout, p.unacked.Load(), p.topic, p.id)
	}
	return nil
}

// frontier returns what may be committed; the offset is -1 if nothing may.
func (p *partition) frontier() kgo.EpochOffset {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.track.advance()
}

// position returns the next offset expected from Kafka, -1 if it is not known,
// and whether everything before it is done.
func (p *partition) position() (offset int64, idle bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.track.advance()
	offset = p.track.next.Offset
	if offset < 0 {
		offset = p.start
	}
	return offset, p.queue.n == 0 && !p.busy && p.track.size == 0
}

// skipTo moves an idle partition's position over offsets that hold nothing to
// read. It does nothing if records have arrived meanwhile.
func (p *partition) skipTo(from, to int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.queue.n > 0 || p.busy {
		return
	}
	if p.track.next.Offset < 0 {
		p.track.next.Offset = from
	}
	p.track.skip(from, to)
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
