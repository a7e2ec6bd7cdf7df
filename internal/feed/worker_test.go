package feed

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/globaltable/enrich/internal/kafkatest"
)

func TestTake(t *testing.T) {
	now := time.Now()
	s := &session{clients: make([]*kgo.Client, 2), parts: map[int32]*partition{}, workers: map[workerKey]*worker{}}
	add := func(number, leader int32, served uint64, edit func(*partition)) {
		p := newPartition(Start{Partition: number, Offset: 1, Epoch: -1})
		p.leader, p.leaderEpoch, p.served = leader, 40+number, served
		if edit != nil {
			edit(p)
		}
		s.parts[number] = p
	}
	add(0, 1, 9, nil)
	add(2, 1, 3, nil)
	add(4, 1, 9, nil)
	add(6, 1, 0, func(p *partition) { p.done = true })
	add(8, 1, 0, func(p *partition) { p.taken = true })
	add(10, 1, 0, func(p *partition) { p.retryAt = now.Add(time.Minute) })
	add(12, 1, 0, func(p *partition) { p.retryAt = now.Add(time.Second) })
	add(14, 2, 0, nil) // another leader
	add(15, 1, 0, nil) // another connection
	w := &worker{s: s, key: workerKey{client: 0, leader: 1}, wake: make(chan struct{}, 1)}

	parts, _ := w.take(now, func() {})
	var numbers []int32
	for _, p := range parts {
		numbers = append(numbers, p.number)
		require.True(t, p.taken)
		require.Equal(t, 40+p.number, p.askedAs)
	}
	require.Equal(t, []int32{2, 0, 4}, numbers, "the one that has waited longest first")

	again, wait := w.take(now, func() {})
	require.Empty(t, again)
	require.Equal(t, time.Second, wait)

	// A partition that has moved meanwhile is for the other worker, which may
	// be waiting.
	other := &worker{s: s, key: workerKey{client: 0, leader: 2}, wake: make(chan struct{}, 1)}
	s.workers[other.key] = other
	w.taken = parts
	s.parts[2].leader = 2
	w.giveBack()
	require.Len(t, other.wake, 1)
	parts, _ = other.take(now, func() {})
	require.Len(t, parts, 2)
	parts, _ = w.take(now, func() {})
	require.Len(t, parts, 2)
}

func TestABrokerThatIsAwayIsAskedEverLessOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := kafkatest.FakeVirtual(t, kfake.NumBrokers(1))
		topic := b.CreateTopic(t, "away", 1, 1, nil)
		b.ProduceTo(t, 0, kv(topic, 0, 3)...)
		trouble, hear := listen()
		c := client(t, b, topic, hear, func(c *Config) { c.Connections = 1 })
		r := start(t, c, Plan{})
		r.awaitNext(t, 0, 3)
		var away atomic.Bool
		away.Store(true)
		asked := map[int16]int{}
		b.Fake().ControlKey(-1, func(req kmsg.Request) (kmsg.Response, error, bool) {
			b.Fake().KeepControl()
			if !away.Load() {
				return nil, nil, false
			}
			asked[req.Key()]++
			return hangUp(b)(req)
		})
		n := trouble.awaitTrouble(t, "fetch")
		time.Sleep(time.Minute)
		synctest.Wait()
		require.NotContains(t, trouble.all(), nil)
		require.Less(t, asked[key(new(kmsg.FetchRequest))], 80)
		require.Less(t, asked[key(new(kmsg.MetadataRequest))], 300)

		away.Store(false)
		before := time.Now()
		trouble.awaitPeace(t, n)
		require.LessOrEqual(t, time.Since(before), 6*time.Second)
		b.ProduceTo(t, 0, kv(topic, 3, 2)...)
		require.Equal(t, values(0, 5), r.awaitNext(t, 0, 5).values)
		r.stop()
	})
}

// A broker that answers fetches, but not where a log starts, is one that is away
// too.
func TestALogStartThatIsNotToldIsAskedForEverLessOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := kafkatest.FakeVirtual(t, kfake.NumBrokers(1))
		topic := b.CreateTopic(t, "start", 1, 1, nil)
		b.ProduceTo(t, 0, kv(topic, 0, 3)...)
		trouble, hear := listen()
		c := client(t, b, topic, hear)
		var away atomic.Bool
		away.Store(true)
		asked := 0
		b.Fake().ControlKey(key(new(kmsg.ListOffsetsRequest)), func(req kmsg.Request) (kmsg.Response, error, bool) {
			b.Fake().KeepControl()
			if !away.Load() {
				return nil, nil, false
			}
			asked++
			return hangUp(b)(req)
		})
		r := start(t, c, Plan{})
		n := trouble.awaitTrouble(t, "list offsets")
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Less(t, asked, 80)
		require.Zero(t, r.got(0).batches)
		away.Store(false)
		trouble.awaitPeace(t, n)
		require.Equal(t, values(0, 3), r.awaitNext(t, 0, 3).values)
		r.stop()
	})
}

// A broker comes back at another address: the connections' clients have to ask
// where it is.
func TestABrokerThatComesBackElsewhereIsFound(t *testing.T) {
	b := kafkatest.Fake(t)
	topic := b.CreateTopic(t, "moved", 3, 1, nil)
	for p := range int32(3) {
		require.NoError(t, b.Fake().MoveTopicPartition(topic, p, 1))
		b.ProduceTo(t, p, kv(topic, 0, 3)...)
	}
	c := client(t, b, topic, func(c *Config) { c.MetadataInterval = 100 * time.Millisecond })
	r := start(t, c, Plan{})
	r.awaitNext(t, 0, 3)
	require.NoError(t, b.Fake().RemoveNode(1))
	_, _, err := b.Fake().AddNode(1, 0)
	require.NoError(t, err)
	for p := range int32(3) {
		require.NoError(t, b.Fake().MoveTopicPartition(topic, p, 1))
	}
	more := b.Client(t, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for p := range int32(3) {
		rs := kv(topic, 3, 2)
		rs[0].Partition, rs[1].Partition = p, p
		require.NoError(t, more.ProduceSync(t.Context(), rs...).FirstErr())
	}
	for p := range int32(3) {
		require.Equal(t, values(0, 5), r.awaitNext(t, p, 5).values)
	}
	r.stop()
}

func TestPartitionsAreSpreadOverConnections(t *testing.T) {
	b := kafkatest.Fake(t, kfake.NumBrokers(1))
	topic := b.CreateTopic(t, "spread", 4, 1, nil)
	var requests seen
	observe(b, new(kmsg.FetchRequest), requests.add)
	c := client(t, b, topic, func(c *Config) { c.Connections = 2; c.MaxWait = 20 * time.Millisecond })
	r := start(t, c, Plan{})
	for p := range int32(4) {
		r.await(t, p, func(r read) bool { return r.batches > 3 })
	}
	r.stop()
	for _, req := range requests.all() {
		parts := req.Topics[0].Partitions
		for _, p := range parts {
			require.Equal(t, parts[0].Partition%2, p.Partition%2)
		}
	}
}
