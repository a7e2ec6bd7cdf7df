package globaltable

import "time"

// Hook is told what a table does. A type implements any of the Hook...
// interfaces of this package; a value that implements none is refused by
// [Open]. Hooks are called synchronously, possibly from several goroutines at
// once: they must be quick and may not call the table's methods.
type Hook any

// HookStatus is called when the table's [Status] changes.
type HookStatus interface {
	// OnStatus receives the new status.
	OnStatus(Status)
}

// BatchApplied describes records that became visible together.
type BatchApplied struct {
	// Generation is the build they were written to; while the table is
	// rebuilt it is not the one that answers.
	Generation uint64
	// Rows counts puts and deletes, Bytes what they take as a batch.
	Rows, Bytes int
	// Took is how long writing it to the store took.
	Took time.Duration
}

// HookBatch is called for every batch of records that was applied.
type HookBatch interface {
	// OnBatchApplied is called after the batch became visible.
	OnBatchApplied(BatchApplied)
}

// HookReady is called when the table becomes ready for the first time.
type HookReady interface {
	// OnReady receives what was done with the rows that were found, and the
	// reason if they were verified or rebuilt.
	OnReady(Decision, Reason)
}

// A RebuildStage says how far a rebuild is.
type RebuildStage string

const (
	// RebuildBegun: a new generation is being built beside the old one.
	RebuildBegun RebuildStage = "begun"
	// RebuildSwapped: the new generation answers, the old one is gone.
	RebuildSwapped RebuildStage = "swapped"
	// RebuildDropped: the new generation could not be completed and is gone;
	// it is tried again.
	RebuildDropped RebuildStage = "dropped"
)

// HookRebuild is called at each stage of a rebuild.
type HookRebuild interface {
	// OnRebuild receives why the table is rebuilt; err is set for
	// RebuildDropped.
	OnRebuild(stage RebuildStage, reason Reason, err error)
}

// HookVerify is called when a verification has ended.
type HookVerify interface {
	// OnVerified receives why the rows were verified and how many had to be
	// deleted.
	OnVerified(reason Reason, deleted int)
}

// A DropReason says why a record did not become a row.
type DropReason string

const (
	// DropNullKey: the record has no key.
	DropNullKey DropReason = "null-key"
	// DropRejected: it could not be decoded for the [Transform], or the
	// function returned an error or panicked; or it could not be decoded at all
	// under BadRecords(Skip). The key has no row now.
	DropRejected DropReason = "rejected"
	// DropFiltered: the function chose not to keep it. The key has no row now.
	DropFiltered DropReason = "filtered"
)

// HookDrop is called for every record that did not become a row.
type HookDrop interface {
	// OnDrop receives the record's place; err is set for DropRejected.
	OnDrop(topic string, partition int32, offset int64, reason DropReason, err error)
}

type hooks []Hook

func isHook(h Hook) bool {
	switch h.(type) {
	case HookStatus, HookBatch, HookReady, HookRebuild, HookVerify, HookDrop:
		return true
	}
	return false
}

func eachHook[H any](hs hooks, call func(H)) {
	for _, h := range hs {
		if h, ok := h.(H); ok {
			call(h)
		}
	}
}

func (hs hooks) status(s Status)      { eachHook(hs, func(h HookStatus) { h.OnStatus(s) }) }
func (hs hooks) batch(b BatchApplied) { eachHook(hs, func(h HookBatch) { h.OnBatchApplied(b) }) }

func (hs hooks) ready(d Decision, r Reason) { eachHook(hs, func(h HookReady) { h.OnReady(d, r) }) }

func (hs hooks) rebuild(s RebuildStage, r Reason, err error) {
	eachHook(hs, func(h HookRebuild) { h.OnRebuild(s, r, err) })
}

func (hs hooks) verified(r Reason, deleted int) {
	eachHook(hs, func(h HookVerify) { h.OnVerified(r, deleted) })
}

func (hs hooks) drop(topic string, partition int32, offset int64, reason DropReason, err error) {
	eachHook(hs, func(h HookDrop) { h.OnDrop(topic, partition, offset, reason, err) })
}
