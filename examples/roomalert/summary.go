package main

import (
	"fmt"
	"maps"
	"slices"
)

// printSummary ends a run. Its last line is for machines.
func (a *app) printSummary(n *snapshot, keep bool) {
	if len(n.failed) > 0 {
		a.con.result("%d mails were refused by the SMTP server for good:", len(n.failed))
		for _, f := range n.failed {
			a.con.result("  to %s: %s: %s", f.Letter.Device.Owner, f.Letter.subject(), f.Reason)
		}
	}
	for _, reason := range slices.Sorted(maps.Keys(n.Dropped)) {
		a.con.result("%d readings dropped: %s", n.Dropped[reason], reason)
	}
	if n.Late > 0 {
		a.con.result("%d readings came later than a newer one of their device, and moved nothing", n.Late)
	}
	if n.waiting > 0 {
		a.con.result("%d mails are waiting to be sent", n.waiting)
	}
	if keep {
		a.con.result("the broker stays up on %s until Ctrl-C", a.brokers[0])
	}
	a.con.result("%s", n.line())
}

// line is the last line of a run.
func (n *snapshot) line() string {
	return fmt.Sprintf("readings=%d joined=%d unmatched=%d dropped=%d alerts=%d resolved=%d mails=%d",
		n.Readings, n.Joined, n.Unmatched, n.dropped(), n.Alerts, n.Resolved, n.Mails)
}
