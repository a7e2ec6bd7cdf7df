package main

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The serials of the markers that stand before and behind a burst of updates with
// a number of its own.
func beginSerial(burst uint64) uint64 { return burst &^ 1 }
func endSerial(burst uint64) uint64   { return burst | 1 }

// probeRows is the number of rows whose updates carry the time at which they were
// written, in turn; one in probeEvery updates is of one of them.
const (
	probeRows  = 1000
	probeEvery = 10
)

// probeRow is the row of probe i.
func probeRow(i, rows int) int { return i % min(probeRows, rows) }

// otherRow is a row that is no probe, if there is one: an update between a probe's
// and the look at it would hide that, and everything behind it would be seen a turn
// late.
func otherRow(rng *rand.Rand, rows int) int {
	if rows <= probeRows {
		return rng.IntN(rows)
	}
	return probeRows + rng.IntN(rows-probeRows)
}

func updateOf(topic string, n int, serial uint64) *kgo.Record {
	r := &kgo.Record{Topic: topic, Key: appendKey(nil, n)}
	r.Partition, r.Value = partitionOf(r.Key), appendRow(make([]byte, 0, 192), n, serial, 0)
	return r
}

// writeBurst writes updates of random rows as fast as it can, and the markers
// around them. It returns how long writing them took.
func writeBurst(ctx context.Context, addrs []string, topic string, rows, updates int, burst uint64) (time.Duration, error) {
	w, err := newWriter(addrs, false)
	if err != nil {
		return 0, err
	}
	rng := rand.New(rand.NewPCG(7, uint64(time.Now().UnixNano())))
	markers := markerRows(rows)
	isMarker := map[int]bool{}
	for _, n := range markers {
		isMarker[n] = true
	}
	began := time.Now()
	for _, n := range markers {
		w.write(ctx, updateOf(topic, n, beginSerial(burst)))
	}
	for range updates {
		n := rng.IntN(rows)
		if isMarker[n] {
			continue
		}
		w.write(ctx, updateOf(topic, n, rng.Uint64()|1<<63))
	}
	for _, n := range markers {
		w.write(ctx, updateOf(topic, n, endSerial(burst)))
	}
	err = w.close()
	return time.Since(began), err
}

// flow writes updates of random rows at a rate, until ctx ends. The serial of a
// probe is the time at which it was written, in nanoseconds.
func flow(ctx context.Context, addrs []string, topic string, rows, perSecond int) error {
	w, err := newWriter(addrs, false)
	if err != nil {
		return err
	}
	const steps = 200
	tick := time.NewTicker(time.Second / steps)
	defer tick.Stop()
	rng := rand.New(rand.NewPCG(8, 9))
	began, written := time.Now(), 0
	for {
		select {
		case <-ctx.Done():
			return w.close()
		case <-tick.C:
		}
		for due := int(time.Since(began).Seconds() * float64(perSecond)); written < due; written++ {
			n, serial := otherRow(rng, rows), rng.Uint64()|1<<63
			if written%probeEvery == 0 {
				n, serial = probeRow(written/probeEvery, rows), uint64(time.Now().UnixNano())
			}
			// Not with ctx: a record that is under way when the flow ends
			// is no error.
			w.write(context.WithoutCancel(ctx), updateOf(topic, n, serial))
		}
	}
}
