package feed

import (
	"context"
	"sync"
	"time"
)

// A pace bounds the bytes that are fetched in a second, of all sessions of a client
// together. The zero pace bounds nothing.
type pace struct {
	perSecond int64

	mu   sync.Mutex
	free time.Time // when what was fetched so far is paid for
}

const (
	// paceShare is which part of a second's bytes one answer may have.
	paceShare = 4
	// paceLeast is what one may have however slow the pace is.
	paceLeast = 64 << 10
)

// most bounds one answer.
func (p *pace) most(bytes int32) int32 {
	if p.perSecond == 0 {
		return bytes
	}
	return int32(min(int64(bytes), max(p.perSecond/paceShare, paceLeast)))
}

// took accounts for bytes that were fetched.
func (p *pace) took(bytes int) {
	if p.perSecond == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); p.free.Before(now) {
		p.free = now
	}
	p.free = p.free.Add(time.Duration(float64(bytes) / float64(p.perSecond) * float64(time.Second)))
}

// wait waits until more may be fetched, or ctx ends.
func (p *pace) wait(ctx context.Context) error {
	for p.perSecond != 0 {
		p.mu.Lock()
		left := time.Until(p.free)
		p.mu.Unlock()
		if left <= 0 {
			break
		}
		t := time.NewTimer(left)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
	}
	return nil
}
