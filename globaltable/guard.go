package globaltable

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/globaltable/enrich/internal/store"
)

// shrinkGuard refuses to replace from rows or more by ones that lack more than most
// of them, a share.
type shrinkGuard struct {
	from int
	most float64
}

// A ShrinkError is in [Status].Err while a rebuild is complete and would lose more
// rows than [ShrinkGuard] allows. The old rows stay until it grows, or until
// [Table.AcceptShrink] is called.
type ShrinkError struct {
	Topic  string
	Reason Reason
	// Old and New are the numbers of rows. Old is counted up to where it is too
	// many for New.
	Old, New int
}

func (e *ShrinkError) Error() string {
	return fmt.Sprintf("globaltable: the rebuild of table %s (%s) has %d rows where %d or more were; if that is right, call AcceptShrink, otherwise restore the topic's records",
		e.Topic, e.Reason, e.New, e.Old)
}

// A DiskError is in [Status].Err while there is too little space to build the rows
// anew beside the old ones.
type DiskError struct {
	Topic string
	// Needs and Has are bytes.
	Needs, Has uint64
}

func (e *DiskError) Error() string {
	return fmt.Sprintf("globaltable: to rebuild table %s takes %d bytes of disk beside the old rows, and %d are free; make space", e.Topic, e.Needs, e.Has)
}

// errNothingToAccept is AcceptShrink's where nothing waits.
var errNothingToAccept = errors.New("globaltable: no rebuild waits for AcceptShrink")

// recountEvery is how long it takes at least to count again.
const recountEvery = time.Second

// guardShrink waits while the new rows are too few to replace those of before.
func (f *follower) guardShrink(ctx context.Context, before *store.Generation) error {
	g := f.e.cfg.shrink
	if before == nil || g.most >= 1 {
		return nil
	}
	var accepted <-chan struct{}
	defer f.e.withdrawShrink()
	for !f.accepted {
		began := time.Now()
		shrink, err := f.shrinks(ctx, g, before)
		if shrink == nil || err != nil {
			return err
		}
		f.e.setStatus(Rebuilding, f.plan.reason, shrink)
		if accepted == nil {
			accepted = f.e.offerShrink()
		}
		again := time.NewTimer(max(recountEvery, 10*time.Since(began)))
		select {
		case <-accepted:
			f.accepted = true
		case <-again.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// shrinks compares the numbers of rows. Of the old ones no more are counted than
// decide it. Old rows that cannot be read guard nothing.
func (f *follower) shrinks(ctx context.Context, g shrinkGuard, before *store.Generation) (*ShrinkError, error) {
	had, err := countRows(ctx, before, g.from)
	var has, most int
	if err == nil && had == g.from {
		if has, err = countRows(ctx, f.gen, math.MaxInt); err != nil {
			return nil, err
		}
		most = max(g.from, int(float64(has)/(1-g.most))+1)
		had, err = countRows(ctx, before, most)
	}
	switch {
	case errors.Is(err, store.ErrCorrupt):
		f.e.log.Warn("old rows cannot be counted", "err", err)
		return nil, nil
	case err != nil:
		return nil, err
	case had < max(g.from, most):
		return nil, nil
	}
	return &ShrinkError{Topic: f.e.topic, Reason: f.plan.reason, Old: had, New: has}, nil
}

// countRows counts the rows that readers see, up to most.
func countRows(ctx context.Context, gen *store.Generation, most int) (n int, err error) {
	snap, err := gen.NewSnapshot()
	if err != nil {
		return 0, err
	}
	defer snap.Close()
	state, looked := gen.State(), 0
	err = snap.ScanPlaces(func(_ []byte, partition int32, offset int64) bool {
		if !state.Gone(partition, offset) {
			n++
		}
		looked++
		return n != most && (looked%sweepChunk != 0 || ctx.Err() == nil)
	})
	return n, errors.Join(err, ctx.Err())
}

// offerShrink returns what AcceptShrink closes.
func (e *engine) offerShrink() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.shrink = make(chan struct{})
	return e.shrink
}

func (e *engine) withdrawShrink() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.shrink = nil
}

// acceptShrink is Table.AcceptShrink.
func (e *engine) acceptShrink() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.shrink == nil {
		return errNothingToAccept
	}
	close(e.shrink)
	e.shrink = nil
	return nil
}

// admit asks whether a rebuild may begin: the user, and the disk.
func (e *engine) admit(ctx context.Context, reason Reason) error {
	if e.cfg.admitRebuild != nil {
		if err := e.callAdmit(ctx, reason); err != nil {
			return &rebuildError{&notAdmittedError{err}}
		}
	}
	current, err := e.root.Current()
	if err != nil || current == nil {
		return e.jitter(ctx, reason) // nothing is beside it
	}
	// The old rows are merged and compressed; a bulk load is neither at first.
	needs := bulkFactor * current.DiskBytes()
	if has, err := e.root.FreeBytes(); err == nil && has < needs {
		return &rebuildError{&DiskError{Topic: e.topic, Needs: needs, Has: has}}
	}
	return e.jitter(ctx, reason)
}

// jitterRate is for how many bytes of old rows a rebuild waits up to a second.
const jitterRate = 100 << 20

// jitter waits, so that many workers that find a new topic at the same time do not
// read it at the same time.
func (e *engine) jitter(ctx context.Context, reason Reason) error {
	old := e.served()
	switch {
	case old == nil: // nobody is answered meanwhile
		return nil
	case reason == StoreDamaged: // it is this worker's alone
		return nil
	case e.cfg.admitRebuild != nil: // that has let it begin
		return nil
	}
	most := min(e.cfg.rebuildJitter, time.Duration(float64(time.Second)*float64(old.DiskBytes())/e.cfg.jitterRate))
	if most <= 0 {
		return nil
	}
	wait := rand.N(most)
	if wait > time.Second {
		e.trouble(fmt.Errorf("the rebuild (%s) begins in %v, so that not all workers read at once", reason, wait.Round(time.Second)))
	}
	if !sleep(ctx, wait) {
		return ctx.Err()
	}
	return nil
}

// notAdmittedError is what the user's AdmitRebuild returned, whatever that is: it
// never ends Run.
type notAdmittedError struct{ err error }

func (e *notAdmittedError) Error() string { return "not admitted: " + e.err.Error() }
func (e *notAdmittedError) Unwrap() error { return e.err }

// bulkFactor is how much more a bulk load takes than rows that are merged.
const bulkFactor = 3

// callAdmit calls the user's function.
func (e *engine) callAdmit(ctx context.Context, reason Reason) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = newPanicError("AdmitRebuild", v)
		}
	}()
	return e.cfg.admitRebuild(ctx, reason)
}
