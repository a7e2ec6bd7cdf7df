package globaltable

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/globaltable/enrich/internal/feed"
	"github.com/globaltable/enrich/internal/store"
)

// topicOf describes a topic of so many partitions.
func topicOf(partitions int32) *feed.Topic {
	t := &feed.Topic{ClusterID: "c", ID: TopicID{1}}
	for p := range partitions {
		t.Partitions = append(t.Partitions, feed.TopicPartition{Partition: p, Leader: 1})
	}
	return t
}

func (t *targets) isReached() bool {
	select {
	case <-t.reached:
		return true
	default:
		return false
	}
}

// stateAt is a state whose partitions stand at offsets; -1 is one that was never
// seen.
func stateAt(next ...int64) *store.State {
	s := &store.State{}
	for p, n := range next {
		if at := s.At(int32(p)); n >= 0 {
			at.Known, at.Next = true, n
		}
	}
	return s
}

func TestTargets(t *testing.T) {
	start := time.Unix(1000, 0)
	// Each step is an answer that was asked for so many seconds after the
	// start, or a state that was reached.
	type answer struct {
		partition int32
		asked     int
		end       int64
	}
	type step struct {
		see   *answer
		reach []int64
	}
	see := func(p int32, asked int, end int64) step { return step{see: &answer{p, asked, end}} }
	reach := func(next ...int64) step { return step{reach: next} }
	for _, c := range []struct {
		name       string
		partitions int32
		steps      []step
		reached    bool
	}{
		{"nothing is known", 1, []step{reach(1000)}, false},
		{"the end is not reached", 1, []step{see(0, 1, 10), reach(9)}, false},
		{"the end is reached", 1, []step{see(0, 1, 10), reach(9), reach(10)}, true},
		{"the end is passed", 1, []step{see(0, 1, 10), reach(11)}, true},
		{"an empty topic", 1, []step{see(0, 1, 0), reach(0)}, true},
		{"an empty partition that was not seen", 1, []step{see(0, 1, 0), reach(-1)}, false},
		{"a partition that the state does not have", 2, []step{see(0, 1, 0), see(1, 1, 0), reach(0)}, false},
		{"a later end does not count", 1, []step{see(0, 1, 10), see(0, 2, 20), reach(10)}, true},
		{"an end that falls takes the target along", 1, []step{see(0, 1, 10), see(0, 2, 4), reach(4)}, true},
		{"an end that falls and grows again", 1, []step{see(0, 1, 10), see(0, 2, 4), see(0, 3, 10), reach(4)}, true},
		{"one partition of two", 2, []step{see(0, 1, 10), see(1, 1, 10), reach(10, 9)}, false},
		{"one after the other", 2, []step{see(0, 1, 10), reach(10, 0), see(1, 2, 5), reach(10, 5)}, true},
		{"once reached a target is behind", 2, []step{see(0, 1, 10), see(1, 1, 5), reach(10, 0), reach(3, 5)}, true},
		{"asked before the time", 1, []step{see(0, -1, 10), reach(10)}, false},
		{"asked at the time", 1, []step{see(0, 0, 10), reach(10)}, true},
		{"asked before, and again", 1, []step{see(0, -1, 5), reach(5), see(0, 1, 10), reach(5)}, false},
		{"a lower end that was asked for before", 1, []step{see(0, 1, 10), see(0, -1, 5), reach(5)}, false},
		{"a partition that was added meanwhile", 1, []step{see(0, 1, 10), see(1, 1, 1000), reach(10, 0)}, true},
		{"a partition that was added first", 1, []step{see(1, 1, 5), reach(-1, 5)}, false},
		{"more answers behind the end", 1, []step{see(0, 1, 10), reach(10), see(0, 2, 20), reach(15), reach(20)}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			tg := newTargets(topicOf(c.partitions), start)
			require.False(t, tg.isReached())
			for _, s := range c.steps {
				if s.see != nil {
					tg.see(&feed.Batch{Partition: s.see.partition, Asked: start.Add(time.Duration(s.see.asked) * time.Second), End: s.see.end})
				} else {
					tg.reach(stateAt(s.reach...))
				}
			}
			require.Equal(t, c.reached, tg.isReached())
		})
	}
}
