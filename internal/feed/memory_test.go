package feed

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/internal/kafkatest"
)

func TestRecordMemory(t *testing.T) {
	var m recordMemory
	a, b := m.GetRecords(3), m.GetRecords(2)
	require.Len(t, a, 3)
	require.Equal(t, 3, cap(a), "growing it must not reach into the next")
	require.Len(t, b, 2)
	a[2].Offset, b[0].Value = 7, []byte("v")
	require.Zero(t, b[1].Offset)
	many := m.GetRecords(recordsFirst)
	require.Len(t, many, recordsFirst)
	require.EqualValues(t, 7, a[2].Offset, "what was handed out is left alone")
	many[0].Value = []byte("v")
	m.done()
	require.Nil(t, many[0].Value, "nothing holds on to an answer")
	require.Same(t, &many[0], &m.GetRecords(1)[0], "it is used again")

	m.GetRecords(recordsKept + 1)
	m.done()
	require.Empty(t, m.all, "too much to keep")
	require.Empty(t, m.GetRecords(0))
}

// Once an answer was as large, the records of the next cost nothing.
func TestRecordMemoryIsUsedAgain(t *testing.T) {
	var m recordMemory
	take := func() {
		for range 10 {
			recs := m.GetRecords(100)
			for i := range recs {
				recs[i] = kgo.Record{Offset: int64(i)}
			}
		}
		m.done()
	}
	for range 5 {
		take()
	}
	require.Zero(t, testing.AllocsPerRun(20, take))
}

// The records of one answer lie where those of the last one did.
func TestReadUsesTheMemoryOfRecordsAgain(t *testing.T) {
	b := kafkatest.Fake(t)
	topic := b.CreateTopic(t, "again", 1, 1, nil)
	c := client(t, b, topic, func(c *Config) { c.Connections = 1 })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	plan := Plan{Topic: described(t, c)}
	first, places := make(chan int, 1), map[*kgo.Record]int{}
	b.ProduceTo(t, 0, kv(topic, 0, 10)...)
	ended := make(chan error)
	go func() {
		ended <- c.Read(ctx, plan, func(_ context.Context, b *Batch) error {
			for _, r := range b.Records {
				places[r]++
			}
			select {
			case first <- len(b.Records):
			default:
			}
			if b.Next == 20 {
				cancel()
			}
			return nil
		})
	}()
	require.Equal(t, 10, <-first)
	b.ProduceTo(t, 0, kv(topic, 10, 10)...)
	require.ErrorIs(t, <-ended, context.Canceled)
	again := 0
	for _, n := range places {
		again += n - 1
	}
	require.Positive(t, again, "of %d places for 20 records", len(places))
}
