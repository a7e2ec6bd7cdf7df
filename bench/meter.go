package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// A meter reads a table all the time, and notes how long each read takes and what
// the most is that the files take, by phase.
type meter struct {
	mu        sync.Mutex
	latencies map[string]*histogram
	disk      map[string]float64
	now       *histogram
	nowDisk   float64

	quit  chan struct{}
	broke chan struct{} // closed when the reader has failed
	noted chan struct{} // gets a token when reads were noted
	wg    sync.WaitGroup
	err   error
}

// startMeter starts one reader of uniform keys.
func startMeter(t table, j job) *meter {
	m := &meter{latencies: map[string]*histogram{}, disk: map[string]float64{}, now: new(histogram), quit: make(chan struct{}), broke: make(chan struct{}), noted: make(chan struct{}, 1)}
	m.wg.Go(func() {
		if m.err = m.read(t, j.Rows); m.err != nil {
			close(m.broke)
		}
	})
	m.wg.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for !m.stopped() {
			d := diskUsed(j.Dir)
			m.mu.Lock()
			m.nowDisk = max(m.nowDisk, d)
			m.mu.Unlock()
			select {
			case <-tick.C:
			case <-m.quit:
			}
		}
	})
	return m
}

func (m *meter) stopped() bool {
	select {
	case <-m.quit:
		return true
	default:
		return false
	}
}

func (m *meter) read(t table, rows int) error {
	rng := rand.New(rand.NewPCG(12, 13))
	const batch = 256
	for !m.stopped() {
		var own histogram
		for range batch {
			k := key(rng.IntN(rows))
			began := time.Now()
			found, err := t.get(k)
			took := time.Since(began)
			if err != nil {
				return err
			}
			if !found {
				return errWrongAnswer
			}
			own.add(took)
		}
		m.mu.Lock()
		m.now.merge(&own)
		m.mu.Unlock()
		select {
		case m.noted <- struct{}{}:
		default:
		}
	}
	return nil
}

// sampled waits until something was read in the phase that goes on: on a busy
// machine a short one would have no figure.
func (m *meter) sampled(ctx context.Context) error {
	for {
		m.mu.Lock()
		n := m.now.n
		m.mu.Unlock()
		if n > 0 {
			return nil
		}
		if err := m.await(ctx, m.noted); err != nil {
			return err
		}
	}
}

// phase ends the phase that goes on, and names it.
func (m *meter) phase(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.latencies[name], m.disk[name] = m.now, m.nowDisk
	m.now, m.nowDisk = new(histogram), 0
}

// await waits for something, or until the reader fails.
func (m *meter) await(ctx context.Context, c <-chan struct{}) error {
	select {
	case <-c:
		return nil
	case <-m.broke:
		return m.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stop ends the reader and returns its error.
func (m *meter) stop() error {
	close(m.quit)
	m.wg.Wait()
	return m.err
}
