package kafkatest

import (
	"context"
	crand "crypto/rand"
	"encoding/hex"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The names of the two kinds of broker, which are also the names of the
// subtests of [Each].
const (
	nameFake = "kfake"
	nameReal = "kafka"
)

// opTimeout bounds what a helper here waits for a broker to do.
const opTimeout = time.Minute

// A Broker is where a test finds Kafka, the fake or the real one.
type Broker struct {
	name  string
	addrs []string
	opts  []kgo.Opt
	fake  *kfake.Cluster
	// shared tells that other tests use the same broker.
	shared bool
}

// Addrs returns the host:port addresses to start from.
func (b *Broker) Addrs() []string { return slices.Clone(b.addrs) }

// Real tells whether this is Apache Kafka, and not the fake.
func (b *Broker) Real() bool { return b.fake == nil }

// Name returns "kfake" or "kafka".
func (b *Broker) Name() string { return b.name }

// Fake returns the fake cluster, to inject faults and look inside, or nil if the
// broker is real.
func (b *Broker) Fake() *kfake.Cluster { return b.fake }

// Opts returns the options with which a client reaches the broker.
func (b *Broker) Opts() []kgo.Opt {
	return append([]kgo.Opt{kgo.SeedBrokers(b.addrs...)}, b.opts...)
}

// Client returns a client of the broker, with opts besides [Broker.Opts]. It is
// closed when the test ends; to close it earlier as well does no harm.
func (b *Broker) Client(t testing.TB, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append(b.Opts(), opts...)...)
	if err != nil {
		t.Fatalf("kafkatest: new client: %v", err)
	}
	t.Cleanup(cl.CloseAllowingRebalance)
	return cl
}

// Admin returns an admin client of the broker, closed when the test ends.
func (b *Broker) Admin(t testing.TB) *kadm.Client {
	t.Helper()
	return kadm.NewClient(b.Client(t))
}

// Produce writes the records and returns when all in-sync replicas have them.
// Each goes to the partition its key hashes to; without a key, to any. The
// records' Partition, Offset and Timestamp are set on return.
func (b *Broker) Produce(t testing.TB, records ...*kgo.Record) {
	t.Helper()
	b.produce(t, records)
}

// ProduceTo is like [Broker.Produce] and writes all records to one partition.
func (b *Broker) ProduceTo(t testing.TB, partition int32, records ...*kgo.Record) {
	t.Helper()
	for _, r := range records {
		r.Partition = partition
	}
	b.produce(t, records, kgo.RecordPartitioner(kgo.ManualPartitioner()))
}

func (b *Broker) produce(t testing.TB, records []*kgo.Record, opts ...kgo.Opt) {
	t.Helper()
	// A client of its own, closed at once: a test may produce often, and idle
	// connections would be in the way of its own faults and counts.
	cl, err := kgo.NewClient(append(b.Opts(), opts...)...)
	if err != nil {
		t.Fatalf("kafkatest: new client: %v", err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), opTimeout)
	defer cancel()
	if err := produceSync(ctx, cl, records); err != nil {
		t.Fatalf("kafkatest: produce: %v", err)
	}
}

// produceSync produces without leaving ctx in the records: they would carry it,
// ended by then, into whatever the test does with them next.
func produceSync(ctx context.Context, cl *kgo.Client, records []*kgo.Record) error {
	own := make([]context.Context, len(records))
	for i, r := range records {
		own[i] = r.Context
	}
	err := cl.ProduceSync(ctx, records...).FirstErr()
	for i, r := range records {
		r.Context = own[i]
	}
	return err
}

// Unique returns prefix with a random suffix: a name for a topic, a group or a
// transactional id which no other test of a shared broker has.
func Unique(prefix string) string {
	var suffix [6]byte
	_, _ = crand.Read(suffix[:]) // never fails
	return prefix + "-" + hex.EncodeToString(suffix[:])
}
