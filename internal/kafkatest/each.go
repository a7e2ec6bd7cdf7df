package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"
)

// shared is the real broker of this test binary. A test binary has no other
// place for what its tests share.
var shared sharedBroker

// A sharedBroker is started for the first who asks and stopped by Main.
type sharedBroker struct {
	mu      sync.Mutex
	started bool
	group   *group // nil if the broker is not ours
	broker  *Broker
	err     error
}

func (s *sharedBroker) get() (*Broker, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.started {
		s.started = true
		s.broker, s.err = s.start()
	}
	return s.broker, s.err
}

func (s *sharedBroker) start() (*Broker, error) {
	if addrs := splitAddrs(os.Getenv(envBrokers)); len(addrs) > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
		defer cancel()
		if err := awaitBrokers(ctx, addrs[0], nil); err != nil {
			return nil, fmt.Errorf("kafkatest: the broker of %s does not answer; start it or unset the variable: %w", envBrokers, err)
		}
		return &Broker{name: nameReal, addrs: addrs, shared: true}, nil
	}
	g, err := newGroup(1)
	if err != nil {
		return nil, err
	}
	s.group = g
	return &Broker{name: nameReal, addrs: g.addrs(), shared: true}, nil
}

// stop ends the broker if it was started here.
func (s *sharedBroker) stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.group
	s.started, s.group, s.broker, s.err = true, nil, nil, errors.New("kafkatest: the tests are over")
	if g == nil {
		return nil
	}
	return g.close()
}

// splitAddrs splits a comma separated list, leaving out what is empty.
func splitAddrs(list string) []string {
	var addrs []string
	for addr := range strings.SplitSeq(list, ",") {
		if addr = strings.TrimSpace(addr); addr != "" {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

// Main runs the tests of a package, stops the shared broker if any test had it
// started, and then checks that no goroutine is left. It returns the exit code,
// for use as
//
//	func TestMain(m *testing.M) { os.Exit(kafkatest.Main(m)) }
func Main(m *testing.M, opts ...goleak.Option) int {
	code := m.Run()
	if err := shared.stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	if code != 0 {
		// A failed test may leave anything behind; its own report comes first.
		return code
	}
	if err := goleak.Find(opts...); err != nil {
		fmt.Fprintf(os.Stderr, "kafkatest: goroutines are left after the tests: %v\n", err)
		return 1
	}
	return 0
}

// Each runs fn as the subtest "kfake" on a fake of its own (three brokers) and as
// the subtest "kafka" on the shared real broker. The latter is skipped where no
// real broker can run, see the package comment.
func Each(t *testing.T, fn func(t *testing.T, b *Broker)) {
	t.Helper()
	t.Run(nameFake, func(t *testing.T) { fn(t, Fake(t)) })
	t.Run(nameReal, func(t *testing.T) { fn(t, Real(t)) })
}

// Real returns the shared real broker, or skips the test where none can run, see
// the package comment. It is for tests of what the fake does not do.
func Real(t testing.TB) *Broker {
	t.Helper()
	return obtain(t, shared.get)
}

// Fake returns a fake of the test's own, closed when the test ends. It has three
// brokers unless opts say otherwise.
func Fake(t testing.TB, opts ...kfake.Opt) *Broker {
	t.Helper()
	c, err := kfake.NewCluster(opts...)
	if err != nil {
		t.Fatalf("kafkatest: new fake cluster: %v", err)
	}
	t.Cleanup(c.Close)
	return &Broker{name: nameFake, addrs: c.ListenAddrs(), fake: c}
}

// FakeVirtual is like [Fake] for tests under testing/synctest: clients reach it
// over a network in memory, so that time can advance while they wait for it.
func FakeVirtual(t testing.TB, opts ...kfake.Opt) *Broker {
	t.Helper()
	vn := new(kfake.VirtualNetwork)
	port := 9092 // the network does not choose ports, as an operating system would
	listen := func(network, addr string) (net.Listener, error) {
		if host, p, err := net.SplitHostPort(addr); err == nil && p == "0" {
			addr = net.JoinHostPort(host, strconv.Itoa(port))
			port++
		}
		return vn.Listen(network, addr)
	}
	b := Fake(t, append([]kfake.Opt{kfake.ListenFn(listen)}, opts...)...)
	b.opts = []kgo.Opt{kgo.Dialer(vn.DialContext)}
	return b
}
