package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// How often progress is shown, on a terminal and elsewhere.
const (
	progressLive  = 200 * time.Millisecond
	progressLines = time.Second
)

// showProgress shows line until ctx ends.
func showProgress(ctx context.Context, con *console, line func() string) {
	every := progressLines
	if con.terminal {
		every = progressLive
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			con.status(line())
		case <-ctx.Done():
			con.done()
			return
		}
	}
}

// progressLine says how far a run is.
func (a *app) progressLine() string {
	n := a.state.snapshot()
	parts := []string{*a.phase.Load()}
	if total := len(a.in.readings); total > 0 && a.load != nil {
		if done := a.load.done.Load(); done < int64(total) {
			parts = append(parts, fmt.Sprintf("loaded %d of %d", done, total))
		}
	}
	if state := a.table.Load(); state != nil {
		parts = append(parts, "devices "+(*state)())
	}
	parts = append(parts, fmt.Sprintf("%d readings, %d joined", n.Readings, n.Joined),
		fmt.Sprintf("%d alerts, %d mails", n.Alerts, n.Mails))
	if n.waiting > 0 {
		parts = append(parts, fmt.Sprintf("%d waiting", n.waiting))
	}
	if a.mailer.trouble.Load() != nil {
		parts = append(parts, "SMTP server away")
	}
	if why := a.cluster.reach.trouble.Load(); why != nil {
		parts = append(parts, *why)
	}
	return strings.Join(parts, " | ")
}
