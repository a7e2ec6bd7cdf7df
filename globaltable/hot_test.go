package globaltable

import (
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestHotLookupTakesNoLock: rows that are kept are found by many goroutines at a
// time, and none of them has to wait for another.
func TestHotLookupTakesNoLock(t *testing.T) {
	f := alone(t, 1)
	f.e.serve(f.gen)
	f.given(t, batchOf(0, 0, 2, "dev-1=201", "dev-2=202"))
	tb := &Table[string, string]{e: f.e, key: stringKey, value: stringKey, plain: true}
	keys := []string{"dev-1", "dev-2", "none"}
	lookUp := func(n int) {
		var results []Result[string, string]
		for range n {
			_, ok, err := tb.Get("dev-1")
			if err == nil && ok {
				results, err = tb.AppendMany(results[:0], keys)
			}
			if err != nil || !ok || results[1].Value != "202" || results[2].Found {
				t.Error(ok, err, results)
				return
			}
		}
	}
	lookUp(10) // the rows are kept from now on
	runtime.SetBlockProfileRate(1)
	defer runtime.SetBlockProfileRate(0)
	before := waits()
	const goroutines, each = 8, 20_000
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() { lookUp(each) })
	}
	wg.Wait()
	// The policy of what is kept is brought up to date by one reader in many.
	require.Less(t, waits()-before, int64(goroutines*each/1000))
}

// waits counts how often a lookup has waited for a lock or a channel.
func waits() (n int64) {
	records := make([]runtime.BlockProfileRecord, 10_000)
	found, _ := runtime.BlockProfile(records)
	for _, r := range records[:min(found, len(records))] {
		frames := runtime.CallersFrames(r.Stack())
		for more := true; more; {
			var f runtime.Frame
			f, more = frames.Next()
			if strings.Contains(f.Function, "globaltable.(*Table[") {
				n += r.Count
				break
			}
		}
	}
	return n
}
