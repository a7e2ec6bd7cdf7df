package globaltable

import (
	"context"
	"errors"
	"time"

	"github.com/globaltable/enrich/internal/feed"
	"github.com/globaltable/enrich/internal/store"
)

// A plan is what a session does with the rows that are there.
type plan struct {
	decision Decision
	reason   Reason
	// gen is the generation to write to, and beside says that it is not the
	// current one.
	gen    *store.Generation
	beside bool
	// state is where it stands.
	state *store.State
}

// decide compares the rows that are there with the topic that is there.
func (e *engine) decide(ctx context.Context, client *feed.Client, topic *feed.Topic, retention time.Duration) (plan, error) {
	want := e.cfg.identity()
	want.ClusterID, want.Topic, want.TopicID = topic.ClusterID, e.topic, topic.ID
	current, err := e.root.Current()
	damaged := errors.Is(err, store.ErrCorrupt)
	switch {
	case damaged:
		e.log.Error("table cannot be read and is built anew", "err", err)
		if err := e.root.DropCurrent(); err != nil {
			return plan{}, err
		}
	case err != nil:
		return plan{}, err
	}
	if current == nil {
		// One that was being built beside a damaged one is discarded when this
		// one is resumed.
		gen, err := e.root.Create(want)
		if err != nil {
			return plan{}, err
		}
		pl := plan{decision: Bootstrapped, gen: gen, state: gen.State().Clone()}
		if damaged {
			pl.decision, pl.reason = Rebuilt, StoreDamaged
		}
		return pl, nil
	}
	reason, state, err := e.judge(ctx, client, current, want, retention)
	if err != nil {
		return plan{}, err
	}
	if reason == "" {
		if err := e.dropBuilding(); err != nil {
			return plan{}, err
		}
		return e.resume(current, want, state)
	}
	return e.rebuild(ctx, client, want, reason, retention)
}

// resume goes on with a generation.
func (e *engine) resume(gen *store.Generation, want store.Identity, state *store.State) (plan, error) {
	if err := adopt(gen, want); err != nil {
		return plan{}, err
	}
	pl := plan{decision: Resumed, gen: gen, state: state}
	if !anyKnown(state) {
		pl.decision = Bootstrapped
	}
	if state.PendingVerify != "" {
		pl.decision, pl.reason = Verified, Reason(state.PendingVerify)
	}
	return pl, nil
}

// adopt stores what is known of a generation's rows now, before more are written.
func adopt(gen *store.Generation, want store.Identity) error {
	id := learn(gen.Identity(), want)
	if id == gen.Identity() {
		return nil
	}
	return gen.SetIdentity(id)
}

// learn returns has with what was unknown in it, or does not matter to its rows,
// taken from want.
func learn(has, want store.Identity) store.Identity {
	has.BadRecords = want.BadRecords
	if has.ClusterID == "" {
		has.ClusterID = want.ClusterID
	}
	if has.TopicID == (TopicID{}) {
		has.TopicID = want.TopicID
	}
	return has
}

// rebuild goes on with the generation that is being built, or begins one.
func (e *engine) rebuild(ctx context.Context, client *feed.Client, want store.Identity, reason Reason, retention time.Duration) (plan, error) {
	pl := plan{decision: Rebuilt, reason: reason, beside: true}
	building, err := e.root.Building()
	if err != nil && !errors.Is(err, store.ErrCorrupt) {
		return plan{}, err
	}
	if building != nil {
		why, state, err := e.judge(ctx, client, building, want, retention)
		if err != nil {
			return plan{}, err
		}
		if why == "" {
			if err := adopt(building, want); err != nil {
				return plan{}, &rebuildError{err}
			}
			pl.gen, pl.state = building, state
			return pl, nil
		}
		// It is of no use, and takes the space that the next one needs.
		if err := e.root.Discard(building); err != nil {
			return plan{}, &rebuildError{err}
		}
	}
	if err != nil {
		if err := e.root.DropBuilding(); err != nil {
			return plan{}, &rebuildError{err}
		}
	}
	if err := e.admit(ctx, reason); err != nil {
		return plan{}, err
	}
	gen, err := e.root.Create(want)
	if err != nil {
		return plan{}, &rebuildError{err}
	}
	pl.gen, pl.state = gen, gen.State().Clone()
	return pl, nil
}

// dropBuilding discards a generation that is not needed any more: what it was
// built for has passed.
func (e *engine) dropBuilding() error {
	building, err := e.root.Building()
	switch {
	case errors.Is(err, store.ErrCorrupt):
		return e.root.DropBuilding()
	case err != nil || building == nil:
		return err
	}
	return e.root.Discard(building)
}

// judge returns why a generation has to be rebuilt, empty if it need not be,
// and the state to go on from.
func (e *engine) judge(ctx context.Context, client *feed.Client, gen *store.Generation, want store.Identity, retention time.Duration) (Reason, *store.State, error) {
	if reason := mismatch(gen.Identity(), want); reason != "" {
		return reason, nil, nil
	}
	if errors.Is(gen.Err(), store.ErrCorrupt) {
		return StoreDamaged, nil, nil
	}
	if e.diverged == gen.Number() {
		return LogTruncated, nil, nil
	}
	state := gen.State().Clone()
	if !anyKnown(state) {
		return "", state, nil
	}
	ranges, err := client.Ranges(ctx)
	if err != nil {
		return "", nil, err
	}
	epochs := map[int32]int32{}
	for p := range state.Partitions {
		if at := &state.Partitions[p]; at.Known && at.Epoch >= 0 && at.Next > 0 {
			epochs[int32(p)] = at.Epoch
		}
	}
	ends, err := client.EpochEnds(ctx, epochs)
	if err != nil {
		return "", nil, err
	}
	now := time.Now()
	for p := range state.Partitions {
		at := &state.Partitions[p]
		if !at.Known {
			continue
		}
		if end, ok := ends[int32(p)]; ok && end < at.Next {
			return LogTruncated, nil, nil
		}
		r, ok := ranges[int32(p)]
		switch {
		case !ok:
		case r.End < at.Next:
			return LogTruncated, nil, nil
		case at.Next < r.LogStart:
			at.Next, at.LogStart = r.LogStart, r.LogStart
			pend(state, BelowLogStart)
		}
		// Where nothing was written since, no deletion was missed. Where the end
		// is not known, one may have been.
		if (!ok || at.Next < r.End) && now.Sub(at.AtEnd) > retention {
			pend(state, TombstonesExpired)
		}
		if at.AtEnd.After(now) {
			at.AtEnd = now
			pend(state, ClockMovedBack)
		}
	}
	return "", state, nil
}

// pend notes that the rows have to be verified; the first reason stays.
func pend(s *store.State, r Reason) {
	if s.PendingVerify == "" {
		s.PendingVerify = string(r)
	}
}

func anyKnown(s *store.State) bool {
	for p := range s.Partitions {
		if s.Partitions[p].Known {
			return true
		}
	}
	return false
}

// mismatch returns why rows of one identity cannot stand for another. What is
// unknown on either side does not count.
func mismatch(has, want store.Identity) Reason {
	var unknown TopicID
	switch {
	case has.ClusterID != "" && want.ClusterID != "" && has.ClusterID != want.ClusterID:
		return ClusterChanged
	case has.TopicID != unknown && want.TopicID != unknown && has.TopicID != want.TopicID:
		return TopicRecreated
	case has.ReadUncommitted != want.ReadUncommitted:
		return IsolationChanged
	case has.Transform != want.Transform, !samePolicy(has.BadRecords, want.BadRecords), has.Headers != want.Headers:
		return TransformChanged
	}
	return ""
}
