package main

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/globaltable"
)

// A gate is a network that can be cut.
type gate struct {
	mu    sync.Mutex
	shut  bool
	conns map[net.Conn]bool
}

var errGateShut = errors.New("the network is cut")

func (g *gate) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	if shut {
		return nil, errGateShut
	}
	c, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		_ = c.Close() // nothing was written
		return nil, errGateShut
	}
	g.conns[c] = true
	return c, nil
}

func (g *gate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = shut
	if shut {
		for c := range g.conns {
			_ = c.Close() // that is what it is for
		}
		clear(g.conns)
	}
}

// healed tells when a rebuild or a verification begins and ends.
type healed struct{ begun, ended chan struct{} }

func newHealed() *healed {
	return &healed{begun: make(chan struct{}, 8), ended: make(chan struct{}, 8)}
}

func tell(to chan struct{}) {
	select {
	case to <- struct{}{}:
	default:
	}
}

// OnStatus implements globaltable.HookStatus.
func (h *healed) OnStatus(s globaltable.Status) {
	if s.State == globaltable.Rebuilding || s.State == globaltable.Verifying {
		tell(h.begun)
	}
}

// OnRebuild implements globaltable.HookRebuild.
func (h *healed) OnRebuild(stage globaltable.RebuildStage, _ globaltable.Reason, _ error) {
	if stage == globaltable.RebuildSwapped {
		tell(h.ended)
	}
}

// OnVerified implements globaltable.HookVerify.
func (h *healed) OnVerified(globaltable.Reason, int) { tell(h.ended) }

// verifyRetention is how long the table believes that tombstones are kept, where
// it is to verify: a little less than it is cut off.
const verifyRetention = 10 * time.Second

// workRebuild measures a table that is rebuilt while it is read: the topic is made
// again while the table is cut off.
func workRebuild(ctx context.Context, c *child, j job) (sample, error) {
	return heal(ctx, j, func() error { return c.ask(askRecreate) })
}

// workVerify measures a table that is verified while it is read: it is cut off
// for longer than tombstones are kept.
func workVerify(ctx context.Context, c *child, j job) (sample, error) {
	return heal(ctx, j, func() error {
		timer := time.NewTimer(verifyRetention + time.Second)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		return c.ask(askBurst)
	}, globaltable.DeleteRetention(verifyRetention))
}

func heal(ctx context.Context, j job, away func() error, opts ...globaltable.Opt) (s sample, err error) {
	g, h := &gate{conns: map[net.Conn]bool{}}, newHealed()
	opts = append(opts, globaltable.Hooks(h), globaltable.Kafka(kgo.Dialer(g.dial)))
	began := time.Now()
	t, err := runEnrichBytes(ctx, j, opts...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	took := time.Since(began)
	s = sample{"rows_per_s": float64(j.Rows) / took.Seconds()}
	m := startMeter(t, j)
	err = m.watch(ctx, j, g, h, away, s)
	if err = errors.Join(err, m.stop()); err != nil {
		return nil, err
	}
	for _, phase := range []string{"before", "during"} {
		for name, value := range m.latencies[phase].percentiles() {
			s[phase+"_"+name] = value
		}
	}
	s["disk_before_mb"], s["disk_peak_mb"] = m.disk["before"], m.disk["during"]
	s["rss_mb"] = peakRSS()
	return s, nil
}

// watch waits for a while with nothing going on, cuts the network until away is
// done, and waits until the table has healed.
func (m *meter) watch(ctx context.Context, j job, g *gate, h *healed, away func() error, s sample) error {
	quiet := make(chan struct{})
	time.AfterFunc(time.Duration(j.Seconds*float64(time.Second)), func() { close(quiet) })
	if err := m.await(ctx, quiet); err != nil {
		return err
	}
	if err := m.sampled(ctx); err != nil {
		return err
	}
	m.phase("before")
	g.set(true)
	if err := away(); err != nil {
		return err
	}
	m.phase("cut")
	g.set(false)
	if err := m.await(ctx, h.begun); err != nil {
		return err
	}
	m.phase("found")
	began := time.Now()
	if err := m.await(ctx, h.ended); err != nil {
		return err
	}
	s["heal_seconds"] = time.Since(began).Seconds()
	if err := m.sampled(ctx); err != nil {
		return err
	}
	m.phase("during")
	return nil
}
