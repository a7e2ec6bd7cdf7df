package globaltable

import (
	"fmt"
	"time"

	"github.com/globaltable/enrich/internal/store"
)

// refuseCause is a cause for which a table that could answer does not.
type refuseCause int

const (
	refusedStale refuseCause = iota
	refusedRebuilding
)

// noView ends answering.
func (e *engine) noView(err error) { e.setView(&view{err: err}) }

// setView makes v what reads use, as soon as they are not refused.
func (e *engine) setView(v *view) {
	e.viewMu.Lock()
	defer e.viewMu.Unlock()
	e.serving.Store(v)
	e.showView()
}

// refuse refuses reads for a cause, from now on, or no more if err is nil.
func (e *engine) refuse(cause refuseCause, err error) {
	e.viewMu.Lock()
	defer e.viewMu.Unlock()
	if err == nil {
		delete(e.refusals, cause)
	} else {
		if e.refusals == nil {
			e.refusals = map[refuseCause]error{}
		}
		e.refusals[cause] = err
	}
	e.showView()
}

// showView publishes what reads get. The lock is held.
func (e *engine) showView() {
	v := e.serving.Load()
	if v.gen != nil {
		for _, cause := range []refuseCause{refusedStale, refusedRebuilding} {
			if err := e.refusals[cause]; err != nil {
				v = &view{err: err}
			}
		}
	}
	e.view.Store(v)
}

// A StaleError says that a table is further behind than [MaxStaleness] or
// [AllowStale] allow. It wraps [ErrNotReady].
type StaleError struct {
	Topic string
	// Age is the time since the table was last known to be at the topic's end.
	Age, Max time.Duration
}

func (e *StaleError) Error() string {
	return fmt.Sprintf("globaltable: table %s was last at the end of its topic %v ago, and %v is allowed; its Status says what it waits for", e.Topic, e.Age.Round(time.Millisecond), e.Max)
}

func (e *StaleError) Unwrap() error { return ErrNotReady }

// serveStale has the rows that are there answer before the cluster was asked, if
// the user wants that and they are young enough.
func (e *engine) serveStale(now time.Time) {
	if e.cfg.allowStale == 0 {
		return
	}
	// What is wrong with the rows is found out by the session.
	gen, err := e.root.Current()
	if err != nil || gen == nil || gen.Err() != nil || !e.root.Whole(gen) {
		return
	}
	id, want := gen.Identity(), e.cfg.identity()
	age, complete := ageOf(gen.State(), now)
	switch {
	case mismatch(id, want) != "" || !complete:
		return
	case age < 0 || age > e.cfg.allowStale:
		e.log.Warn("rows are too old to answer", "age", age, "allowed", e.cfg.allowStale)
		return
	}
	e.serve(gen)
	e.statusMu.Lock()
	e.unproved = true
	e.statusMu.Unlock()
	e.setStatus(Stale, "", nil)
}

// ageOf returns the time since all partitions were last known to be at their ends,
// and whether they ever were.
func ageOf(s *store.State, now time.Time) (age time.Duration, complete bool) {
	var oldest time.Time
	for p := range s.Partitions {
		at := &s.Partitions[p]
		switch {
		case !at.Known:
			continue
		case at.AtEnd.IsZero():
			return 0, false
		case oldest.IsZero() || at.AtEnd.Before(oldest):
			oldest = at.AtEnd
		}
	}
	return now.Sub(oldest), !oldest.IsZero()
}

// staleness is how old the rows may be that answer at the moment, 0 for any age.
func (e *engine) staleness() time.Duration {
	if e.isReady() {
		return e.cfg.maxStaleness
	}
	return e.cfg.allowStale // it answers before it is ready
}

// watchAge refuses reads while the rows are too old.
func (e *engine) watchAge() {
	shortest := e.cfg.maxStaleness
	if shortest == 0 || e.cfg.allowStale > 0 && e.cfg.allowStale < shortest {
		shortest = e.cfg.allowStale
	}
	if shortest == 0 {
		return
	}
	tick := time.NewTicker(min(max(time.Millisecond, shortest/20), time.Second))
	defer tick.Stop()
	for {
		e.checkAge()
		select {
		case <-tick.C:
		case <-e.closing:
			return
		}
	}
}

// checkAge refuses reads if the rows are too old now, and only then.
func (e *engine) checkAge() {
	e.ageMu.Lock()
	defer e.ageMu.Unlock()
	var stale error
	most := e.staleness()
	if age := e.lag().Age; most > 0 && age > most {
		stale = &StaleError{Topic: e.topic, Age: age, Max: most}
	}
	e.refuse(refusedStale, stale)
}

func (e *engine) isReady() bool {
	select {
	case <-e.ready:
		return true
	default:
		return false
	}
}
