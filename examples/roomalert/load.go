package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Headers of a reading that was loaded from files.
const (
	headerLoad  = "roomalert.load"  // names the files, by their contents
	headerIndex = "roomalert.index" // place in the merged order, decimal
)

// loadChunk is how many readings one transaction holds.
const loadChunk = 2000

// loader writes files to topics.
type loader struct {
	c       *cluster
	brokers []string
	opts    []kgo.Opt
	con     *console
	done    atomic.Int64 // readings of the files that are in the topic
}

func (l *loader) client(more ...kgo.Opt) (*kgo.Client, error) {
	opts := append([]kgo.Opt{kgo.SeedBrokers(l.brokers...), kgo.WithHooks(l.c.reach)}, l.opts...)
	cl, err := kgo.NewClient(append(opts, more...)...)
	if err != nil {
		return nil, fmt.Errorf("make a Kafka client: %w", err)
	}
	return cl, nil
}

// devices writes the device master. To write it again does no harm: the topic
// keeps the last row of each device.
func (l *loader) devices(ctx context.Context, topic string, devices []Device) error {
	var records []*kgo.Record
	for _, d := range devices {
		value, err := json.Marshal(d)
		if err != nil {
			return fmt.Errorf("device %s: %w", d.ID, err)
		}
		records = append(records, &kgo.Record{Topic: topic, Key: []byte(d.ID), Value: value})
	}
	cl, err := l.client()
	if err != nil {
		return err
	}
	defer cl.Close()
	return l.c.persist(ctx, "load devices", func(ctx context.Context) error {
		return cl.ProduceSync(ctx, records...).FirstErr()
	})
}

// readings writes the merged readings, each of them once, however often the
// program was ended in the midst of it. They go out in transactions, in order,
// and say in their headers which files they are from and where in the order
// they stand: what the topic holds of them is a beginning, and the load goes on
// behind it. The transactional id is that of the files, so that a process that
// is dead, or another that loads the same, cannot write any more once this one
// has looked.
func (l *loader) readings(ctx context.Context, topic, id string, readings []Reading) error {
	for attempt := 0; ; attempt++ {
		next := l.done.Load()
		err := l.attempt(ctx, topic, id, readings)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case hopeless(err):
			return fmt.Errorf("load readings: %w", err)
		}
		if l.done.Load() > next {
			attempt = 0
		}
		l.con.note("load readings: %v; trying again until it works", err)
		timer := time.NewTimer(min(100*time.Millisecond<<min(attempt, 10), 5*time.Second))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

func (l *loader) attempt(ctx context.Context, topic, id string, readings []Reading) error {
	cl, err := l.client(kgo.TransactionalID("roomalert-"+topic+"-"+id), kgo.TransactionTimeout(time.Minute))
	if err != nil {
		return err
	}
	defer cl.Close()
	// From here on no earlier producer of this id can write, and what it left
	// open is aborted.
	if err := l.c.persist(ctx, "load readings", func(ctx context.Context) error {
		_, _, err := cl.ProducerID(ctx)
		return err
	}); err != nil {
		return err
	}
	next, err := l.loaded(ctx, topic, id)
	if err != nil {
		return err
	}
	l.done.Store(int64(next))
	ends := make(map[int32]int64)
	for next < len(readings) {
		end := min(next+loadChunk, len(readings))
		if err := writeChunk(ctx, cl, topic, id, next, readings[next:end], ends); err != nil {
			return err
		}
		next = end
		l.done.Store(int64(next))
	}
	return l.awaitStable(ctx, topic, ends)
}

// writeChunk writes readings in one transaction and notes in ends where they
// end. Index is that of the first one.
func writeChunk(ctx context.Context, cl *kgo.Client, topic, id string, index int, readings []Reading, ends map[int32]int64) error {
	if err := cl.BeginTransaction(); err != nil {
		return err
	}
	records := make([]*kgo.Record, len(readings))
	for i, r := range readings {
		value, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("reading of %s at %s: %w", r.Device, r.Time, err)
		}
		records[i] = &kgo.Record{
			Topic: topic, Key: []byte(r.Device), Value: value, Timestamp: r.Time,
			Headers: []kgo.RecordHeader{
				{Key: headerLoad, Value: []byte(id)},
				{Key: headerIndex, Value: strconv.AppendInt(nil, int64(index+i), 10)},
			},
		}
	}
	err := cl.ProduceSync(ctx, records...).FirstErr()
	if err == nil {
		err = cl.EndTransaction(ctx, kgo.TryCommit)
	}
	if err != nil {
		// Whether or not this gets through, the next producer of this id aborts
		// what is open.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = cl.AbortBufferedRecords(ctx)
		_ = cl.EndTransaction(ctx, kgo.TryAbort)
		return err
	}
	for _, r := range records {
		ends[r.Partition] = max(ends[r.Partition], r.Offset+1)
	}
	return nil
}

// awaitStable waits until readers of committed records see everything below
// ends: the brokers finish a transaction after they have answered.
func (l *loader) awaitStable(ctx context.Context, topic string, ends map[int32]int64) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		behind := false
		err := l.c.persist(ctx, "load readings", func(ctx context.Context) error {
			stable, err := l.c.adm.ListCommittedOffsets(ctx, topic)
			if err == nil {
				err = stable.Error()
			}
			if err != nil {
				return err
			}
			behind = false
			for p, end := range ends {
				if o, ok := stable.Lookup(topic, p); !ok || o.Offset < end {
					behind = true
				}
			}
			return nil
		})
		if err != nil || !behind {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// loaded returns how many readings of a load the topic holds. It reads the
// whole topic: others may have written to it since.
func (l *loader) loaded(ctx context.Context, topic, id string) (int, error) {
	left := make(map[int32]int64) // where each partition that is not read yet ends
	start := make(map[int32]kgo.Offset)
	if err := l.span(ctx, topic, func(p int32, from, to int64) {
		if from < to {
			left[p], start[p] = to, kgo.NewOffset().At(from)
		}
	}); err != nil {
		return 0, err
	}
	if len(left) == 0 {
		return 0, nil
	}
	cl, err := l.client(
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: start}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), // a marker may be the last
	)
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	next, silent := 0, 0
	for len(left) > 0 {
		fetches := poll(ctx, cl)
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		for _, e := range fetches.Errors() {
			if hopeless(e.Err) {
				return 0, e.Err
			}
		}
		if silent++; !fetches.Empty() {
			silent = 0
		}
		if silent == silentPolls {
			l.con.note("load readings: topic %s has nothing to deliver and is not read to its end, which is %v by partition; "+
				"a disk that was full can leave a broker's log so: begin with another -state if this one's broker is the embedded one", topic, left)
		}
		if fetches.Empty() { // perhaps retention has deleted what is waited for
			if err := l.span(ctx, topic, func(p int32, from, _ int64) {
				if from >= left[p] {
					delete(left, p)
				}
			}); err != nil {
				return 0, err
			}
		}
		for it := fetches.RecordIter(); !it.Done(); {
			r := it.Next()
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
			if i, ok := indexOf(r, id); ok {
				next = max(next, i+1)
			}
		}
	}
	return next, nil
}

// silentPolls is how many polls in a row may bring nothing before that is said.
const silentPolls = 10

// poll waits for records, but not for ever.
func poll(ctx context.Context, cl *kgo.Client) kgo.Fetches {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return cl.PollFetches(ctx)
}

// span tells where each partition starts and where committed records end.
func (l *loader) span(ctx context.Context, topic string, each func(p int32, from, to int64)) error {
	return l.c.persist(ctx, "load readings", func(ctx context.Context) error {
		starts, err := l.c.adm.ListStartOffsets(ctx, topic)
		if err == nil {
			err = starts.Error()
		}
		var ends kadm.ListedOffsets
		if err == nil {
			ends, err = l.c.adm.ListCommittedOffsets(ctx, topic)
		}
		if err == nil {
			err = ends.Error()
		}
		if err == nil {
			ends.Each(func(o kadm.ListedOffset) { each(o.Partition, starts[topic][o.Partition].Offset, o.Offset) })
		}
		return err
	})
}

// indexOf returns a record's place in a load, if it is one of it.
func indexOf(r *kgo.Record, id string) (int, bool) {
	index, ours := -1, false
	for _, h := range r.Headers {
		switch h.Key {
		case headerLoad:
			ours = string(h.Value) == id
		case headerIndex:
			if i, err := strconv.Atoi(string(h.Value)); err == nil {
				index = i
			}
		}
	}
	return index, ours && index >= 0
}
