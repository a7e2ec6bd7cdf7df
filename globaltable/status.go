package globaltable

import (
	"errors"
	"fmt"
	"time"
)

// A State is what a table is doing.
type State int

const (
	// Starting is a table that has not begun to read: Run was not called
	// yet, or the cluster or the topic is not there. Status.Err says what is
	// missing.
	Starting State = iota
	// Bootstrapping reads the topic up to its end, from its start or from
	// where an earlier run stopped. The table does not answer yet.
	Bootstrapping
	// Ready answers and follows the topic.
	Ready
	// Stale answers and cannot follow the topic at the moment: brokers are
	// away, or the topic was deleted. Status.Err says why. With [AllowStale]
	// also a table that has not compared its rows with the topic yet.
	Stale
	// Verifying reads the topic once more to find rows whose deletion was
	// missed. Status.Reason says why it has to. A table that was ready goes
	// on answering.
	Verifying
	// Rebuilding builds the rows anew, beside those it has. Status.Reason
	// says why. A table that was ready goes on answering with the old ones.
	Rebuilding
	// Stopped is a table whose Run has returned nil: it answers what it had.
	Stopped
	// Failed is a table whose Run has returned an error, which is in
	// Status.Err. It does not answer any more.
	Failed
	// Closed is a table that was closed.
	Closed
)

var stateNames = [...]string{"starting", "bootstrapping", "ready", "stale", "verifying", "rebuilding", "stopped", "failed", "closed"}

// String returns the state's name in lower case.
func (s State) String() string {
	if s < 0 || int(s) >= len(stateNames) {
		return fmt.Sprintf("state-%d", int(s))
	}
	return stateNames[s]
}

// A Reason says why a table verifies or rebuilds.
type Reason string

// Reasons to rebuild.
const (
	// TopicRecreated: the topic's id is another one.
	TopicRecreated Reason = "TopicRecreated"
	// ClusterChanged: the cluster's id is another one.
	ClusterChanged Reason = "ClusterChanged"
	// LogTruncated: the log ends below what was read from it, or its leader
	// epochs say that what was read is not in it any more.
	LogTruncated Reason = "LogTruncated"
	// IsolationChanged: [ReadUncommitted] was given or taken away.
	IsolationChanged Reason = "IsolationChanged"
	// TransformChanged: the version given to [Transform] is another one, or
	// [BadRecords] or [Headers] was given or taken away.
	TransformChanged Reason = "TransformChanged"
	// StoreDamaged: the files cannot be read.
	StoreDamaged Reason = "StoreDamaged"
)

// Reasons to verify.
const (
	// TombstonesExpired: the table was not at the end of the topic for longer
	// than the topic keeps tombstones, so it may have missed a deletion.
	TombstonesExpired Reason = "TombstonesExpired"
	// BelowLogStart: the log starts above the next offset to read.
	BelowLogStart Reason = "BelowLogStart"
	// ClockMovedBack: the time when the table was last at the end lies in the
	// future, so nothing is known of its age.
	ClockMovedBack Reason = "ClockMovedBack"
)

// A Status says what a table is doing, and why.
type Status struct {
	State State
	// Reason is set while verifying or rebuilding.
	Reason Reason
	// Err is what the table waits for at the moment, or why it failed.
	Err error
	// Since is when State or Reason became this.
	Since time.Time
}

// String returns the status on one line.
func (s Status) String() string {
	out := s.State.String()
	if s.Reason != "" {
		out += " " + string(s.Reason)
	}
	if s.Err != nil {
		out += ": " + s.Err.Error()
	}
	return out
}

// A Decision is what a table did with the rows it found when it began to read.
type Decision string

const (
	// Bootstrapped: there were none.
	Bootstrapped Decision = "bootstrapped"
	// Resumed: it went on from the stored positions.
	Resumed Decision = "resumed"
	// Verified: it went on, and looked for deletions that it had missed.
	Verified Decision = "verified"
	// Rebuilt: it built them anew.
	Rebuilt Decision = "rebuilt"
)

// statusChange changes the published status under the engine's lock and tells
// the hooks, in order.
func (e *engine) statusChange(change func(*Status)) {
	e.statusMu.Lock()
	defer e.statusMu.Unlock()
	before := e.status
	change(&e.status)
	if e.status.State != before.State || e.status.Reason != before.Reason {
		e.status.Since = time.Now()
	} else if sameError(before.Err, e.status.Err) {
		return
	}
	e.log.Info("table status", "status", e.status.String())
	e.hooks.status(e.status)
}

func sameError(a, b error) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return a.Error() == b.Error()
}

func (e *engine) setStatus(s State, r Reason, err error) {
	e.statusChange(func(st *Status) {
		if s == Ready {
			e.unproved = false
		}
		if st.State != Closed {
			st.State, st.Reason, st.Err = s, r, err
		}
	})
}

// trouble publishes what the table waits for; nil is the end of it.
func (e *engine) trouble(err error) {
	e.statusChange(func(st *Status) {
		if _, waits := errors.AsType[*ShrinkError](st.Err); waits && err == nil {
			return // for the user, and not for brokers
		}
		st.Err = err
		switch {
		case err != nil && st.State == Ready:
			st.State = Stale
		case err == nil && st.State == Stale && !e.unproved:
			st.State = Ready
		}
	})
}

func (e *engine) currentStatus() Status {
	e.statusMu.Lock()
	defer e.statusMu.Unlock()
	return e.status
}
