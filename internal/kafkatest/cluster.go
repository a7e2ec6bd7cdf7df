package kafkatest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// A Cluster is a real Kafka cluster of a test's own, whose brokers can be
// stopped, killed and started again. Its methods are for the test's goroutine
// and end the test when something goes wrong. Brokers are named by index, from 0
// to n-1; their node ids are one higher.
//
// Topics of replication factor 1 have no leader while their broker is away:
// create topics with as many replicas as there are brokers.
type Cluster struct {
	t      testing.TB
	group  *group
	broker *Broker
}

// StartCluster starts a cluster of n brokers, 1 or 3, which ends with the test.
// It takes about 2 s for one broker, 4 s for three, on two idle cores. With three,
// internal topics have three replicas and writes need two in sync.
//
// Where no real broker can run the test is skipped, see the package comment.
// KAFKA_BROKERS has no effect: that broker is not ours to stop.
func StartCluster(t testing.TB, n int) *Cluster {
	t.Helper()
	if n != 1 && n != 3 {
		t.Fatalf("kafkatest: a cluster has 1 or 3 brokers, not %d", n)
	}
	g := obtain(t, func() (*group, error) { return newGroup(n) })
	t.Cleanup(func() {
		if err := g.close(); err != nil {
			t.Errorf("kafkatest: closing the cluster: %v", err)
		}
	})
	return &Cluster{t: t, group: g, broker: &Broker{name: nameReal, addrs: g.addrs()}}
}

// Broker returns the cluster as a Broker which has all brokers' addresses.
func (c *Cluster) Broker() *Broker { return c.broker }

// Stop shuts broker i down in an orderly way (SIGTERM: its leaderships move
// away first) and returns when it has ended.
func (c *Cluster) Stop(i int) {
	c.t.Helper()
	c.must(c.node(i).stop())
}

// Kill ends broker i at once (SIGKILL). The others name it a leader for up to
// 6 s more, the broker session timeout set here.
func (c *Cluster) Kill(i int) {
	c.t.Helper()
	c.must(c.node(i).kill())
}

// Start starts broker i again, on the same address and data, and returns when
// each running broker lists all running brokers. Its replicas may still be
// behind then, see [Cluster.AwaitInSync].
func (c *Cluster) Start(i int) {
	c.t.Helper()
	n := c.node(i)
	if n.running() {
		c.t.Fatalf("kafkatest: broker %d is running already", i)
	}
	c.must(n.start())
	var running []*node
	for _, other := range c.group.nodes {
		if other == n || other.running() {
			running = append(running, other)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	c.must(awaitReady(ctx, running))
}

// AwaitInSync waits until every replica of the topic is in sync, for at most a
// minute.
func (c *Cluster) AwaitInSync(topic string) {
	c.t.Helper()
	cl := c.broker.Client(c.t)
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), opTimeout)
	defer cancel()
	c.must(poll(ctx, 100*time.Millisecond, func() error {
		req := kmsg.NewPtrMetadataRequest()
		req.Topics = []kmsg.MetadataRequestTopic{{Topic: kmsg.StringPtr(topic)}}
		resp, err := req.RequestWith(ctx, cl)
		if err != nil {
			return err
		}
		return inSync(resp)
	}))
}

// inSync tells in an error what keeps the replicas of a topic from all being in
// sync.
func inSync(resp *kmsg.MetadataResponse) error {
	if err := led(resp, -1); err != nil {
		return err
	}
	for _, p := range resp.Topics[0].Partitions {
		if len(p.ISR) < len(p.Replicas) {
			return fmt.Errorf("partition %d has replicas %v, in sync %v", p.Partition, p.Replicas, p.ISR)
		}
	}
	return nil
}

func (c *Cluster) node(i int) *node {
	c.t.Helper()
	if i < 0 || i >= len(c.group.nodes) {
		c.t.Fatalf("kafkatest: no broker %d in a cluster of %d", i, len(c.group.nodes))
	}
	return c.group.nodes[i]
}

func (c *Cluster) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}
