package main

import (
	"context"
	"math/rand/v2"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"
)

// readingPartitions is the number of partitions of the stream's topic; it is not
// that of the table's.
const readingPartitions = 6

// zipfExponent is how skewed the keys of readings and of the zipf lookups are.
const zipfExponent = 1.1

// A zipf picks rows: a few of them very often. The rows that are picked often lie
// anywhere among the others.
type zipf struct {
	ranks *rand.Zipf
	rows  uint64
}

func newZipf(rng *rand.Rand, rows int) *zipf {
	return &zipf{ranks: rand.NewZipf(rng, zipfExponent, 1, uint64(rows-1)), rows: uint64(rows)}
}

// spread is a prime above any number of rows, so that ranks and rows are in one
// to one relation.
const spread = 2_147_483_647

func (z *zipf) next() int { return int(z.ranks.Uint64() * spread % z.rows) }

// appendReading appends the value of a reading: about 60 B of JSON.
func appendReading(dst []byte, i int, rng *rand.Rand) []byte {
	dst = strconv.AppendInt(append(dst, `{"celsius":`...), int64(10+rng.IntN(25)), 10)
	dst = strconv.AppendInt(append(dst, '.'), int64(rng.IntN(10)), 10)
	dst = strconv.AppendInt(append(dst, `,"seq":`...), int64(i), 10)
	dst = strconv.AppendInt(append(dst, `,"at":`...), 1_700_000_000_000+int64(i)*3, 10)
	return append(dst, '}')
}

// makeReadings makes the topic of a stream of readings of the rows' devices.
func makeReadings(ctx context.Context, addrs []string, topic string, readings, rows int, progress func(done, all int)) error {
	if err := createTopic(ctx, addrs, topic, readingPartitions, nil); err != nil {
		return err
	}
	w, err := newWriter(addrs, false)
	if err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(5, 6))
	z := newZipf(rng, rows)
	for i := range readings {
		w.write(ctx, &kgo.Record{Topic: topic, Partition: int32(i % readingPartitions), Key: appendKey(nil, z.next()), Value: appendReading(nil, i, rng)})
		if i%100_000 == 0 && progress != nil {
			progress(i, readings)
		}
	}
	return w.close()
}
