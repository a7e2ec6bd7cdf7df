package main

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// rawFetchBytes is how much a plain consumer asks a broker for at once: more does
// not make it faster.
const rawFetchBytes = 64 << 20

// A readResult is what reading a topic took.
type readResult struct {
	records int
	// perSecond is the rate from the first records to the last; the first
	// ones, whose fetch was before, do not count.
	perSecond float64
}

// readAll reads a topic up to its end with a plain kgo consumer. Nothing is
// decoded.
func readAll(ctx context.Context, brokers []string, topic string, each func(*kgo.Record)) (res readResult, err error) {
	began := time.Now()
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic), kgo.FetchMaxBytes(rawFetchBytes))
	if err != nil {
		return res, err
	}
	defer cl.Close()
	left, err := ends(ctx, cl, topic)
	if err != nil {
		return res, err
	}
	for p, end := range left {
		if end == 0 {
			delete(left, p)
		}
	}
	first := 0
	for len(left) > 0 {
		fs := cl.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			return res, err
		}
		if res.records == 0 && fs.NumRecords() < total(left) {
			began, first = time.Now(), fs.NumRecords()
		}
		if each != nil {
			fs.EachRecord(each)
		}
		fs.EachPartition(func(p kgo.FetchTopicPartition) {
			n := len(p.Records)
			res.records += n
			if n > 0 && p.Records[n-1].Offset+1 >= left[p.Partition] {
				delete(left, p.Partition)
			}
		})
	}
	res.perSecond = float64(res.records-first) / time.Since(began).Seconds()
	return res, nil
}

func total(ends map[int32]int64) (sum int) {
	for _, end := range ends {
		sum += int(end)
	}
	return sum
}

// fillRaw reads the topic and does nothing: the limit.
func fillRaw(ctx context.Context, j job) (table, error) {
	res, err := readAll(ctx, j.Brokers, j.Topic, nil)
	if err == nil && res.records < j.Records {
		err = fmt.Errorf("it read %d records of %d", res.records, j.Records)
	}
	return nil, err
}

type goMap map[string][]byte

func (m goMap) get(key string) (bool, error) {
	_, ok := m[key]
	return ok, nil
}

func (m goMap) serial(key string) (uint64, error) {
	if n, ok := serialOf(m[key]); ok {
		return n, nil
	}
	return 0, errNoSerial
}

func (m goMap) count() (int, error) { return len(m), nil }
func (goMap) close() error          { return nil }

// fillGoMap keeps all rows in a Go map, undecoded.
func fillGoMap(ctx context.Context, j job) (table, error) {
	m := make(goMap, j.Rows)
	_, err := readAll(ctx, j.Brokers, j.Topic, func(r *kgo.Record) {
		if r.Value == nil {
			delete(m, string(r.Key))
			return
		}
		m[string(r.Key)] = append([]byte(nil), r.Value...)
	})
	return m, err
}
