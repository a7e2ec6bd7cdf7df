package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Headers of a reading that was loaded from files.
const (
	headerLoad  = "roomalert.load"  // names the files, by their contents
	headerIndex = "roomalert.index" // place in the merged order, decimal
)

// How much is written at once: in one transaction, or in one flush.
const (
	loadChunk  = 2000    // readings
	chunkBytes = 1 << 19 // less than a batch may have; but a reading may be larger
)

// recordOverhead is more than what a record needs on the wire apart from key,
// value and the headers' names and the load's id.
const recordOverhead = 64

// loader writes files to topics.
type loader struct {
	c       *cluster
	brokers []string
	opts    []kgo.Opt
	con     *console
	own     bool         // the broker runs in this process
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
	values := make([][]byte, len(devices))
	for i, d := range devices {
		value, err := json.Marshal(d)
		if err != nil {
			return fmt.Errorf("device %s: %w", d.ID, err)
		}
		values[i] = value
	}
	cl, err := l.client()
	if err != nil {
		return err
	}
	defer cl.Close()
	return l.c.persist(ctx, "load devices", func(ctx context.Context) error {
		// Each attempt has records of its own: a record keeps the context that it
		// was first produced with, which ends with the attempt.
		records := make([]*kgo.Record, len(devices))
		for i, d := range devices {
			records[i] = &kgo.Record{Topic: topic, Key: []byte(d.ID), Value: values[i]}
		}
		return cl.ProduceSync(ctx, records...).FirstErr()
	})
}

// readings writes the merged readings, each of them once and those of a device
// in order, however often the program was ended in the midst of it. A record
// says in its headers which files it is from and where in the order it stands;
// what the topic holds is not written again.
//
// To the brokers of others they go in transactions. The transactional id is that
// of the files, so that a process that is dead, or another that loads the same,
// cannot write any more once this one has looked; and what the topic holds is a
// beginning of the order.
//
// The broker in this process has no other writer, and its transactions do not
// survive a kill: what is open when it starts again counts as aborted, in each
// partition by itself and without a marker in the log. A commit that was cut
// short then holds in some partitions only, and what the same producer commits
// afterwards is hidden from readers, too. So there they go without one. A kill
// leaves a beginning of each partition, and what is missing is written.
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
	// A flush is then one batch per partition, so that none is written whose
	// predecessor was refused.
	opts := []kgo.Opt{kgo.ManualFlushing()}
	if !l.own {
		opts = append(opts, kgo.TransactionalID("roomalert-"+topic+"-"+id), kgo.TransactionTimeout(time.Minute))
	}
	cl, err := l.client(opts...)
	if err != nil {
		return err
	}
	defer cl.Close()
	if !l.own {
		// From here on no earlier producer of this id can write, and what it left
		// open is aborted.
		if err := l.c.persist(ctx, "load readings", func(ctx context.Context) error {
			_, _, err := cl.ProducerID(ctx)
			return err
		}); err != nil {
			return err
		}
	}
	missing, err := l.missing(ctx, topic, id, len(readings))
	if err != nil {
		return err
	}
	l.done.Store(int64(len(readings) - len(missing)))
	ends := make(map[int32]int64)
	most := loadChunk
	if l.own {
		most = 1 // the client learns of the topic with it, and might need several batches for more
	}
	for len(missing) > 0 {
		records, err := chunk(topic, id, readings, missing[:min(most, len(missing))])
		if err != nil {
			return err
		}
		if err := l.write(ctx, cl, records); err != nil {
			return err
		}
		for _, r := range records {
			ends[r.Partition] = max(ends[r.Partition], r.Offset+1)
		}
		missing, most = missing[len(records):], loadChunk
		l.done.Add(int64(len(records)))
	}
	return l.awaitStable(ctx, topic, ends)
}

// chunk returns the records of the readings at the given places, or of the first
// of them if they are large.
func chunk(topic, id string, readings []Reading, places []int) (records []*kgo.Record, err error) {
	bytes := 0
	for _, i := range places {
		r := readings[i]
		value, err := json.Marshal(r)
		if err != nil {
			return nil, fmt.Errorf("reading of %s at %s: %w", r.Device, r.Time, err)
		}
		record := &kgo.Record{
			Topic: topic, Key: []byte(r.Device), Value: value, Timestamp: r.Time,
			Headers: []kgo.RecordHeader{
				{Key: headerLoad, Value: []byte(id)},
				{Key: headerIndex, Value: strconv.AppendInt(nil, int64(i), 10)},
			},
		}
		bytes += len(record.Key) + len(value) + len(headerLoad) + len(id) + len(headerIndex) + recordOverhead
		if bytes > chunkBytes && len(records) > 0 {
			break
		}
		records = append(records, record)
	}
	return records, nil
}

// write writes records, all of them or, if the brokers have transactions, none.
func (l *loader) write(ctx context.Context, cl *kgo.Client, records []*kgo.Record) error {
	if !l.own {
		if err := cl.BeginTransaction(); err != nil {
			return err
		}
	}
	var first kgo.FirstErrPromise
	for _, r := range records {
		cl.Produce(ctx, r, first.Promise())
	}
	err := cl.Flush(ctx)
	if err == nil {
		err = first.Err()
	}
	if err == nil && !l.own {
		err = cl.EndTransaction(ctx, kgo.TryCommit)
	}
	if err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = cl.AbortBufferedRecords(ctx)
		if !l.own {
			// Whether or not this gets through, the next producer of this id aborts
			// what is open.
			_ = cl.EndTransaction(ctx, kgo.TryAbort)
		}
	}
	return err
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

// missing returns the places of those readings of a load, of n in all, that the
// topic does not hold, in order. It reads the whole topic: others may have
// written to it since.
func (l *loader) missing(ctx context.Context, topic, id string, n int) (places []int, err error) {
	spans, err := l.c.spans(ctx, topic)
	if err != nil {
		return nil, err
	}
	held, next := make([]bool, n), 0
	for _, s := range spans {
		if err := l.c.read(ctx, topic, s, func(r *kgo.Record) {
			if i, ok := indexOf(r, id); ok && i < n {
				held[i] = true
				next = max(next, i+1)
			}
		}); err != nil {
			return nil, err
		}
	}
	for i := range n {
		// Of a beginning the brokers may have deleted some again.
		if !held[i] && (l.own || i >= next) {
			places = append(places, i)
		}
	}
	return places, nil
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
