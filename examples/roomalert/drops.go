package main

import (
	"fmt"
	"sync"
)

// shownDrops is how many drops of one reason are told one by one.
const shownDrops = 5

// dropNotes tells of readings that are dropped, without flooding the console.
// All are counted elsewhere.
type dropNotes struct {
	mu    sync.Mutex
	shown map[string]int
}

func (d *dropNotes) note(con *console, reason, format string, args ...any) {
	d.mu.Lock()
	if d.shown == nil {
		d.shown = make(map[string]int)
	}
	d.shown[reason]++
	n := d.shown[reason]
	d.mu.Unlock()
	switch {
	case n <= shownDrops:
		con.note("dropped (%s): %s", reason, fmt.Sprintf(format, args...))
	case n == shownDrops+1:
		con.note("dropped (%s): more of them, which are only counted", reason)
	}
}
