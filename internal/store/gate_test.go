package store

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

func newTestGate() (*gate, *atomic.Int32) {
	var idle atomic.Int32
	g := &gate{}
	g.idle = func() { idle.Add(1) }
	return g, &idle
}

func TestGateThatNobodyUsesIsIdleAtOnce(t *testing.T) {
	g, idle := newTestGate()
	require.True(t, g.enter())
	g.leave()
	require.Zero(t, idle.Load())
	g.shut()
	require.Equal(t, int32(1), idle.Load())
	require.False(t, g.enter())
	require.False(t, g.enter())
	require.Equal(t, int32(1), idle.Load())
}

func TestGateIsIdleWhenTheLastOneLeaves(t *testing.T) {
	g, idle := newTestGate()
	require.True(t, g.enter())
	require.True(t, g.enter())
	g.shut()
	require.False(t, g.enter(), "a shut gate lets nobody in")
	g.leave()
	require.Zero(t, idle.Load(), "one is still inside")
	g.leave()
	require.Equal(t, int32(1), idle.Load())
}

// TestGateUnderContention shuts a gate that many use, and expects that nobody
// is inside once it is idle.
func TestGateUnderContention(t *testing.T) {
	for range 200 {
		var inside, after atomic.Int32
		var idle sync.WaitGroup
		idle.Add(1)
		g := &gate{}
		g.idle = func() {
			after.Store(inside.Load())
			idle.Done() // a second call panics
		}
		var users sync.WaitGroup
		for range 4 {
			users.Go(func() {
				for g.enter() {
					inside.Add(1)
					inside.Add(-1)
					g.leave()
				}
			})
		}
		g.shut()
		idle.Wait()
		require.Zero(t, after.Load())
		users.Wait()
	}
}

// TestGateLetsSomebodyInsideStayLonger: a second use by somebody who is inside
// counts also when the gate has been shut meanwhile.
func TestGateLetsSomebodyInsideStayLonger(t *testing.T) {
	g, idle := newTestGate()
	require.True(t, g.enter())
	g.shut()
	g.again()
	g.leave()
	require.Zero(t, idle.Load())
	require.False(t, g.enter())
	g.leave()
	require.Equal(t, int32(1), idle.Load())
}
