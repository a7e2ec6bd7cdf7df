package globaltable

import (
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/globaltable/enrich/internal/kafkatest"
)

// Readers on many goroutines, while rows change and the topic is recreated: a
// reader never sees a value older than the position it read before, and the
// rows of one transaction, which are applied together, together.
func TestReadersBesideUpdatesAndRebuilds(t *testing.T) {
	e := newEnv(t, kafkatest.Fake(t), 1)
	e.put("a=0", "b=0")
	r := e.ready()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			last := map[TopicID]int{}
			for {
				select {
				case <-stop:
					return
				default:
				}
				positions := r.Positions()
				snap, err := r.Snapshot()
				if err != nil {
					t.Errorf("snapshot: %v", err)
					return
				}
				a, okA, errA := snap.Get("a")
				b, okB, errB := snap.Get("b")
				at := snap.Positions()
				snap.Close()
				if errA == nil && errB == nil && (a != b || okA != okB) {
					t.Errorf("a=%s, b=%s: torn", a, b)
				}
				many, err := r.GetMany([]string{"a", "b"})
				if err != nil || many[0].Err != nil || many[1].Err != nil {
					t.Errorf("get many: %v %+v", err, many)
				}
				v, ok, err := r.Get("a")
				if err != nil {
					t.Errorf("get: %v", err)
				}
				n, _ := strconv.Atoi(v)
				if ok && len(positions) > 0 && len(at) > 0 && positions[0].TopicID == at[0].TopicID {
					if id := positions[0].TopicID; n < last[id] && r.Positions()[0].TopicID == id {
						t.Errorf("a went back from %d to %d", last[id], n)
					} else {
						last[id] = n
					}
				}
			}
		})
	}
	n := 0
	for round := range 3 {
		for range 30 {
			n++
			e.txn(true, fmt.Sprint("a=", n), fmt.Sprint("b=", n))
		}
		if round == 1 {
			e.recreate(1)
			e.put(fmt.Sprint("a=", n), fmt.Sprint("b=", n))
		}
	}
	r.until("the last update", func() bool { v, _, err := r.Get("a"); return err == nil && v == strconv.Itoa(n) })
	close(stop)
	wg.Wait()
	e.holds(r)
	require.EqualValues(t, 1, r.Stats().Rebuilds)
}
