package globaltable

import (
	"context"
	"time"
)

// How old an answer may be, and when the rows may be replaced.

// AllowStale has a table answer at once when Run begins, with the rows that it
// has, if they were at the end of the topic no longer than maxAge ago: before the
// cluster was asked, and also while the rows have to be verified or rebuilt. The
// table is [Stale] until then and [Table.WaitReady] still waits; reads return a
// [*StaleError] once the rows are older than maxAge, within a second. Rows that were made with other
// options, or that never were complete, do not answer. By default, or with 0, a
// table does not answer before it is ready.
func AllowStale(maxAge time.Duration) Opt { return opt(func(c *config) { c.allowStale = maxAge }) }

// MaxStaleness has reads return a [*StaleError], which wraps [ErrNotReady], while
// the table was not at the end of its topic for longer than d: brokers are away, or
// it is behind. It is looked at twenty times in d, and every second at least. By default, or with 0, a table
// that was ready answers however old its rows are; [Table.Lag] tells.
func MaxStaleness(d time.Duration) Opt { return opt(func(c *config) { c.maxStaleness = d }) }

// RebuildReads says what reads do while a table that answers is rebuilt.
type RebuildReads int

const (
	// Answer answers with the old rows, the default.
	Answer RebuildReads = iota
	// Refuse returns an error that wraps [ErrNotReady].
	Refuse
)

// WhileRebuilding says what reads do while the rows are rebuilt because the topic
// was created again, or another cause of [Rebuilding].
func WhileRebuilding(r RebuildReads) Opt { return opt(func(c *config) { c.whileRebuilding = r }) }

// ShrinkGuard keeps the old rows where a rebuild would lose many of them, as when a
// topic was created again by accident, and is empty. If there are rows or more and
// less than 1-maxLoss of them are in the new ones, the swap waits until there are
// enough, or until [Table.AcceptShrink]; [Status].Err is a [*ShrinkError]. Defaults
// 1000 and 0.5. A maxLoss of 1 accepts everything.
func ShrinkGuard(rows int, maxLoss float64) Opt {
	return opt(func(c *config) { c.shrink = shrinkGuard{from: rows, most: maxLoss} })
}

// AdmitRebuild has fn asked before rows are built anew beside the old ones. It may
// wait, until ctx ends, so that not all workers rebuild at the same time. If it
// returns an error the table goes on with the old rows, [Status].Err says so, and
// it is asked again later.
func AdmitRebuild(fn func(ctx context.Context, reason Reason) error) Opt {
	return opt(func(c *config) { c.admitRebuild = fn })
}

// RebuildJitter has a table that answers wait before it builds its rows anew: for a
// random time below a second for each 100 MiB of old rows, and below most, so that
// workers which find a new topic at the same time do not all read it at once. The
// default is 30 s. With 0 none waits; nor does one with [AdmitRebuild], which decides
// that, and one whose own files are damaged.
func RebuildJitter(most time.Duration) Opt {
	return opt(func(c *config) { c.rebuildJitter = most })
}

// FetchRate bounds how many bytes the table fetches in a second, as the brokers
// send them, so that a bootstrap, a rebuild or a verification leaves the network to
// others. Updates have to fit too: one that is too low falls behind, and Lag grows.
// By default, or with 0, there is no bound.
func FetchRate(bytesPerSecond int64) Opt {
	return opt(func(c *config) { c.fetchRate = bytesPerSecond })
}

// AcceptShrink lets the rebuild that waits take the place of the old rows although
// it has far fewer: see [ShrinkGuard]. It returns an error if none waits.
func (t *Table[K, V]) AcceptShrink() error { return t.e.acceptShrink() }
