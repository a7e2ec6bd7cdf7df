package store

import (
	"sync"
	"sync/atomic"
)

// shutMark is more than any number of users.
const shutMark = 1 << 40

// A gate lets users in until it is shut. It calls idle once, when it is shut
// and the last of them has left.
type gate struct {
	users atomic.Int64 // users inside, and shutMark once it is shut
	once  sync.Once
	idle  func()
}

// enter reports whether the caller is in; then it must leave.
func (g *gate) enter() bool {
	if g.users.Add(1) > shutMark {
		g.leave()
		return false
	}
	return true
}

// again counts a second use for somebody who is inside: it is never refused.
func (g *gate) again() { g.users.Add(1) }

func (g *gate) leave() {
	if g.users.Add(-1) == shutMark {
		g.once.Do(g.idle)
	}
}

// shut lets nobody in any more. It must be called once only.
func (g *gate) shut() {
	if g.users.Add(shutMark) == shutMark {
		g.once.Do(g.idle)
	}
}
