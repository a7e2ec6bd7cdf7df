package globaltable

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/internal/feed"
)

// manyRecords is a batch of n records with the values 0, 1, ...
func manyRecords(n int) *feed.Batch {
	rows := make([]string, n)
	for i := range rows {
		rows[i] = fmt.Sprintf("k%d=%d", i, i)
	}
	return batchOf(0, 0, int64(n), rows...)
}

func TestTransformOnAllCores(t *testing.T) {
	together := min(2, runtime.GOMAXPROCS(0))
	var mu sync.Mutex
	inside, met := 0, make(chan struct{})
	f := alone(t, 1, Transform("v1", func(e Entry[string, string]) (string, bool, error) {
		mu.Lock()
		if inside++; inside == together {
			close(met)
		}
		mu.Unlock()
		<-met // nobody goes on alone
		return strings.Repeat(e.Value, 2), true, nil
	}))
	shaped, err := f.shapeAll(manyRecords(1000))
	require.NoError(t, err)
	require.Len(t, shaped, 1000)
	for i, s := range shaped {
		require.Equal(t, keep, s.verdict)
		require.Equal(t, strings.Repeat(fmt.Sprint(i), 2), string(s.value))
	}
}

// The first record that has to be tried again is where the batch is cut off,
// whoever comes to which one first; all before it are done.
func TestTransformIsCutOffAtTheFirstThatWaits(t *testing.T) {
	for _, first := range []int{0, 1, 63, 64, 65, 300, 999} {
		f := alone(t, 1, Transform("v1", func(e Entry[string, string]) (string, bool, error) {
			if e.Offset == int64(first) || e.Offset == 700 || e.Offset == 990 {
				return "", false, codec.Retryable(errors.New("not now"))
			}
			return e.Value, true, nil
		}))
		want := min(first, 700)
		b := manyRecords(1000)
		shaped, err := f.shapeAll(b)
		later, ok := errors.AsType[*feed.LaterError](err)
		require.True(t, ok, err)
		require.EqualValues(t, want, later.Next)
		require.EqualValues(t, want, b.Next)
		require.Len(t, b.Records, want)
		require.Len(t, shaped, want)
		for i, s := range shaped {
			require.Equal(t, fmt.Sprint(i), string(s.value), "cut off at %d", want)
		}
	}
}

// What a transform did not answer for is no row.
func TestTransformThatDoesNotReturn(t *testing.T) {
	f := alone(t, 1)
	err := f.collect(batchOf(0, 0, 1, "a=1"), make([]shapedRecord, 1))
	require.ErrorIs(t, err, errInternal)
	require.ErrorContains(t, err, "partition 0 offset 0: the transform neither returned nor panicked")
}
