package feed

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
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
