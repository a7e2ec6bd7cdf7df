package feed

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/globaltable/enrich/internal/kafkatest"
)

// patience is how long a test waits for what has to come.
const patience = 60 * time.Second

// client returns a client for the topic, closed when the test ends.
func client(t testing.TB, b *kafkatest.Broker, topic string, edit ...func(*Config)) *Client {
	t.Helper()
	cfg := Config{Topic: topic, Opts: b.Opts()}
	for _, e := range edit {
		e(&cfg)
	}
	c, err := New(cfg)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func described(t testing.TB, c *Client) *Topic {
	t.Helper()
	topic, err := c.Describe(t.Context())
	require.NoError(t, err)
	return topic
}

// kv returns n records for a topic, whose values are from on counted.
func kv(topic string, from, n int) []*kgo.Record {
	var rs []*kgo.Record
	for i := range n {
		rs = append(rs, &kgo.Record{Topic: topic, Key: fmt.Appendf(nil, "k%d", from+i), Value: fmt.Appendf(nil, "v%d", from+i)})
	}
	return rs
}

// values are those that kv makes.
func values(from, n int) []string {
	vs := []string{}
	for i := range n {
		vs = append(vs, fmt.Sprintf("v%d", from+i))
	}
	return vs
}

// at returns starts at the given offsets, of partition 0 and up.
func at(offsets ...int64) []Start {
	var starts []Start
	for p, o := range offsets {
		starts = append(starts, Start{Partition: int32(p), Offset: o, Epoch: -1})
	}
	return starts
}

// read is what a session delivered of one partition.
type read struct {
	values   []string
	offsets  []int64
	from     int64 // of the first batch
	next     int64
	epoch    int32
	end      int64
	logStart int64
	batches  int
}

// collector collects what a session delivers, and checks what holds for each
// delivery: batches of a partition join and do not overlap in time, and their
// records lie inside and in order.
type collector struct {
	mu     sync.Mutex
	parts  map[int32]read
	busy   map[int32]bool
	wrong  []string
	jumps  bool // a gap is expected
	change chan struct{}
}

func newCollector() *collector {
	return &collector{parts: map[int32]read{}, busy: map[int32]bool{}, change: make(chan struct{})}
}

func (c *collector) deliver(_ context.Context, b *Batch) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	bad := func(format string, args ...any) {
		c.wrong = append(c.wrong, fmt.Sprintf("partition %d: ", b.Partition)+fmt.Sprintf(format, args...))
	}
	r, seen := c.parts[b.Partition]
	switch {
	case !seen:
		r.from = b.From
	case b.From != r.next && !c.jumps:
		bad("batch from %d behind one to %d", b.From, r.next)
	}
	last := b.From - 1
	for _, rec := range b.Records {
		if rec.Offset <= last || rec.Offset >= b.Next || rec.Partition != b.Partition {
			bad("offset %d of partition %d after %d in a batch from %d to %d", rec.Offset, rec.Partition, last, b.From, b.Next)
		}
		last = rec.Offset
		r.values = append(r.values, string(rec.Value))
		r.offsets = append(r.offsets, rec.Offset)
	}
	if b.Asked.IsZero() || b.Next < b.From {
		bad("batch from %d to %d, asked at %v", b.From, b.Next, b.Asked)
	}
	r.next, r.epoch, r.end, r.logStart = b.Next, b.Epoch, b.End, b.LogStart
	r.batches++
	c.parts[b.Partition] = r
	close(c.change)
	c.change = make(chan struct{})
	return nil
}

// got returns a copy of what there is.
func (c *collector) got(p int32) read {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.parts[p]
}

func (c *collector) all() map[int32]read {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.parts)
}

// await waits until cond holds for what was delivered of a partition.
func (c *collector) await(t testing.TB, p int32, cond func(read) bool) read {
	t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		c.mu.Lock()
		r, seen := c.parts[p]
		change := c.change
		c.mu.Unlock()
		if seen && cond(r) {
			return r
		}
		select {
		case <-change:
		case <-timeout.C:
			t.Fatalf("partition %d: not delivered in time; it is at %+v", p, r)
		}
	}
}

// awaitNext waits until a partition was read to an offset.
func (c *collector) awaitNext(t testing.TB, p int32, next int64) read {
	t.Helper()
	return c.await(t, p, func(r read) bool { return r.next >= next })
}

func (c *collector) check(t testing.TB) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	require.Empty(t, c.wrong)
}

// running is a session that goes on.
type running struct {
	*collector
	t      testing.TB
	cancel context.CancelFunc
	ended  chan struct{}
	err    error
}

// start starts a session, which ends with the test at the latest.
func start(t testing.TB, c *Client, plan Plan) *running {
	t.Helper()
	if plan.Topic == nil {
		plan.Topic = described(t, c)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{collector: newCollector(), t: t, cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(r.ended)
		r.err = c.Read(ctx, plan, r.deliver)
	}()
	t.Cleanup(func() {
		cancel()
		<-r.ended
	})
	return r
}

// wait returns the session's error when it has ended.
func (r *running) wait() error {
	r.t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case <-r.ended:
	case <-timeout.C:
		r.t.Fatalf("the session does not end; it is at %+v", r.all())
	}
	r.check(r.t)
	return r.err
}

// stop ends the session and checks that it ends as it should.
func (r *running) stop() {
	r.t.Helper()
	r.cancel()
	require.ErrorIs(r.t, r.wait(), context.Canceled)
}

// readUntil reads partitions to the given ends and returns what came.
func readUntil(t testing.TB, c *Client, until map[int32]int64, starts ...Start) map[int32]read {
	t.Helper()
	r := start(t, c, Plan{Starts: starts, Until: until})
	require.NoError(t, r.wait())
	return r.all()
}

// reports are what OnTrouble was told.
type reports struct {
	mu     sync.Mutex
	errs   []error
	change chan struct{}
}

// listen returns the reports of a client that is being configured.
func listen() (*reports, func(*Config)) {
	r := &reports{change: make(chan struct{})}
	return r, func(c *Config) {
		c.OnTrouble = func(err error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.errs = append(r.errs, err)
			close(r.change)
			r.change = make(chan struct{})
		}
	}
}

func (r *reports) all() []error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]error(nil), r.errs...)
}

// await waits for a report, after the first n, for which cond holds. It returns
// how many there are by then.
func (r *reports) await(t testing.TB, n int, cond func(error) bool) int {
	t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		r.mu.Lock()
		errs, change := r.errs, r.change
		r.mu.Unlock()
		for ; n < len(errs); n++ {
			if cond(errs[n]) {
				return n + 1
			}
		}
		select {
		case <-change:
		case <-timeout.C:
			t.Fatalf("not reported in time: %v", errs)
		}
	}
}

// awaitTrouble waits for a report that says text, and awaitPeace for the end of
// all trouble behind it.
func (r *reports) awaitTrouble(t testing.TB, text string) int {
	t.Helper()
	return r.await(t, 0, func(err error) bool { return err != nil && strings.Contains(err.Error(), text) })
}

func (r *reports) awaitPeace(t testing.TB, after int) {
	t.Helper()
	r.await(t, after, func(err error) bool { return err == nil })
}

// metadataOf returns an answer to a metadata request that says what topic says.
func metadataOf(b *kafkatest.Broker, req kmsg.Request, name string, topic *Topic) *kmsg.MetadataResponse {
	resp := req.ResponseKind().(*kmsg.MetadataResponse)
	for i, addr := range b.Addrs() {
		mb := kmsg.NewMetadataResponseBroker()
		mb.NodeID = int32(i)
		host, port, _ := net.SplitHostPort(addr)
		n, _ := strconv.Atoi(port)
		mb.Host, mb.Port = host, int32(n)
		resp.Brokers = append(resp.Brokers, mb)
	}
	resp.ClusterID = kmsg.StringPtr("cluster")
	mt := kmsg.NewMetadataResponseTopic()
	mt.Topic, mt.TopicID = kmsg.StringPtr(name), topic.ID
	for _, p := range topic.Partitions {
		mp := kmsg.NewMetadataResponseTopicPartition()
		mp.Partition, mp.Leader, mp.LeaderEpoch = p.Partition, p.Leader, p.Epoch
		mt.Partitions = append(mt.Partitions, mp)
	}
	resp.Topics = append(resp.Topics, mt)
	return resp
}

// answerMetadata makes a fake answer the next n questions for topics, n below 0
// for all, with what answer returns; nil is for the fake's own answer.
func answerMetadata(b *kafkatest.Broker, n int, answer func(kmsg.Request) *kmsg.MetadataResponse) {
	b.Fake().ControlKey(key(new(kmsg.MetadataRequest)), func(req kmsg.Request) (kmsg.Response, error, bool) {
		if len(req.(*kmsg.MetadataRequest).Topics) == 0 {
			return nil, nil, false // kgo's own, for the brokers only
		}
		if n--; n != 0 {
			b.Fake().KeepControl()
		}
		if resp := answer(req); resp != nil {
			return resp, nil, true
		}
		return nil, nil, false
	})
}

// key is a request's key, as the fake wants it.
func key(req kmsg.Request) int16 { return req.Key() }

// observe calls see with each request of a key that a fake gets.
func observe(b *kafkatest.Broker, req kmsg.Request, see func(kmsg.Request)) {
	b.Fake().ControlKey(key(req), func(r kmsg.Request) (kmsg.Response, error, bool) {
		b.Fake().KeepControl()
		see(r)
		return nil, nil, false
	})
}

// hang never answers a request, hangUp closes its connection.
func hang(b *kafkatest.Broker) func(kmsg.Request) (kmsg.Response, error, bool) {
	return func(kmsg.Request) (kmsg.Response, error, bool) {
		b.Fake().KeepControl()
		return nil, nil, true
	}
}

func hangUp(b *kafkatest.Broker) func(kmsg.Request) (kmsg.Response, error, bool) {
	return func(kmsg.Request) (kmsg.Response, error, bool) {
		b.Fake().KeepControl()
		return nil, errors.New("connection closed by the test"), true
	}
}
