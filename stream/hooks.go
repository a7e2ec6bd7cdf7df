package stream

// Hook is told what a worker does. A type implements any of the Hook...
// interfaces of this package; a value that implements none is refused by
// [New]. Hooks are called synchronously and possibly from several goroutines
// at once: they must be quick and may not call the worker's methods.
type Hook any

// Offset is an offset in a partition.
type Offset struct {
	Topic     string
	Partition int32
	// Offset is the next offset to read.
	Offset int64
}

// HookCommit is called after every attempt to commit.
type HookCommit interface {
	// OnCommit receives what was to be committed, in the order of topics and
	// partitions, and nil or what went wrong. The group may have accepted some of
	// the offsets though there is an error.
	OnCommit(offsets []Offset, err error)
}

// HookDrop is called for every record that an operator drops.
type HookDrop interface {
	// OnDrop receives the input record's place and the reason it is counted
	// under in [Stats].
	OnDrop(topic string, partition int32, offset int64, reason string)
}

// HookBadRecord is called for every record given to the error policy, once.
type HookBadRecord interface {
	// OnBadRecord receives what was wrong and the policy that applies.
	OnBadRecord(err *RecordError, policy BadRecordPolicy)
}

// HookAssigned is called when the group gives partitions to this worker.
type HookAssigned interface {
	// OnAssigned receives the partitions that are new, by topic.
	OnAssigned(partitions map[string][]int32)
}

// HookRevoked is called when partitions are given away, after their work was
// finished and committed, and when they were lost.
type HookRevoked interface {
	// OnRevoked receives the partitions, by topic. lost says that the group
	// took them away without waiting, so that they were not committed.
	OnRevoked(partitions map[string][]int32, lost bool)
}

// HookState is called when the worker's state changes.
type HookState interface {
	// OnState receives the new state.
	OnState(State)
}

type hooks []Hook

func isHook(h Hook) bool {
	switch h.(type) {
	case HookCommit, HookDrop, HookBadRecord, HookAssigned, HookRevoked, HookState:
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

func (hs hooks) commit(offsets []Offset, err error) {
	eachHook(hs, func(h HookCommit) { h.OnCommit(offsets, err) })
}

func (hs hooks) drop(topic string, partition int32, offset int64, reason string) {
	eachHook(hs, func(h HookDrop) { h.OnDrop(topic, partition, offset, reason) })
}

func (hs hooks) badRecord(err *RecordError, policy BadRecordPolicy) {
	eachHook(hs, func(h HookBadRecord) { h.OnBadRecord(err, policy) })
}

func (hs hooks) assigned(m map[string][]int32) {
	eachHook(hs, func(h HookAssigned) { h.OnAssigned(m) })
}

func (hs hooks) revoked(m map[string][]int32, lost bool) {
	eachHook(hs, func(h HookRevoked) { h.OnRevoked(m, lost) })
}

func (hs hooks) state(s State) {
	eachHook(hs, func(h HookState) { h.OnState(s) })
}
