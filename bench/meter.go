package main

import (
	"context"
	"errors"
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

	quit chan struct{}
	wg   sync.WaitGroup
	errs [2]error
}

// startMeter starts one reader of uniform keys.
func startMeter(t table, j job) *meter {
	m := &meter{latencies: map[string]*histogram{}, disk: map[string]float64{}, now: new(histogram), quit: make(chan struct{})}
	m.wg.Go(func() { m.errs[0] = m.read(t, j.Rows) })
	m.wg.Go(func() {
		m.errs[1] = every(context.Background(), 50*time.Millisecond, func() (bool, error) {
			d := diskUsed(j.Dir)
			m.mu.Lock()
			m.nowDisk = max(m.nowDisk, d)
			m.mu.Unlock()
			return m.stopped(), nil
		})
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
	}
	return nil
}

// phase ends the phase that goes on, and names it.
func (m *meter) phase(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.latencies[name], m.disk[name] = m.now, m.nowDisk
	m.now, m.nowDisk = new(histogram), 0
}

// after returns a channel that is closed after a time, or when a reader fails.
func (m *meter) after(d time.Duration) <-chan struct{} {
	c := make(chan struct{})
	time.AfterFunc(d, func() { close(c) })
	return c
}

func (m *meter) stop() error {
	close(m.quit)
	m.wg.Wait()
	return errors.Join(m.errs[:]...)
}
