package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/globaltable/enrich/internal/kafkatest"
)

// A suite measures what a plan says.
type suite struct {
	settings settings
	broker   *broker
	data     *datasets
	results  *results
	progress *progress
	made     int
	began    time.Time
}

// runSuite measures everything and writes the results.
func runSuite(ctx context.Context, s settings, stdout, stderr io.Writer) (err error) {
	groups := plan(s)
	remove, err := s.directories(time.Now())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	p := newProgress(stderr)
	b, err := startBroker(ctx, s, p.note)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.stop()) }()
	su := &suite{settings: s, broker: b, data: newDatasets(b.addrs, p), results: newResults(s, b.Kind), progress: p, began: time.Now()}
	p.expect(su.weight(groups))
	for _, g := range groups {
		if err := su.group(ctx, g); err != nil {
			return fmt.Errorf("%s: %w", g.Title, err)
		}
	}
	p.end()
	return su.results.write(s, stdout)
}

// rounds is the number of the last round of a measure, and of its first.
func (su *suite) rounds(m measure) (first, last int) {
	first, last = 0, su.settings.rounds
	if m.Rounds > 0 {
		last = min(last, m.Rounds)
	}
	if m.NoWarmUp {
		first = 1
	}
	return first, last
}

// weight is about how many seconds it all takes.
func (su *suite) weight(groups []group) (sum float64) {
	for _, g := range groups {
		for _, m := range g.Measures {
			first, last := su.rounds(m)
			sum += float64(last-first+1) * m.Weight
		}
	}
	return sum
}

// group runs the rounds of a group; in each, every measure that takes part in it.
func (su *suite) group(ctx context.Context, g group) error {
	su.progress.title(g.Title)
	for round, more := 0, true; more; round++ {
		more = false
		if limit := su.settings.limit; round > 1 && limit > 0 && time.Since(su.began) > limit {
			su.progress.note("no further rounds: it has taken long already")
			return nil
		}
		for _, m := range g.Measures {
			first, last := su.rounds(m)
			more = more || round < last
			if round < first || round > last || su.results.isAbsent(m) {
				continue
			}
			if err := su.measure(ctx, m, round, round == first); err != nil {
				return fmt.Errorf("%s: %w", m.Name, err)
			}
		}
	}
	return nil
}

// errNotHere marks a measure that cannot be made on this machine.
var errNotHere = errors.New("not here")

// measure makes one measurement. Where the first one of a peer fails, the peer is
// absent; ours has to work.
func (su *suite) measure(ctx context.Context, m measure, round int, first bool) error {
	began := time.Now()
	s, j, err := su.take(ctx, m, first)
	su.progress.done(m.Weight)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, errNotHere), err != nil && first && m.Job.Peer != peerEnrich:
		su.results.leaveOut(m, err)
		su.progress.note(fmt.Sprintf("%s, %s: absent: %v", m.Work, m.Name, err))
		return nil
	case err != nil:
		return err
	}
	if round > 0 {
		su.results.add(m, round, j, s)
	}
	su.progress.note(fmt.Sprintf("%s, %s, round %d: %.1f s: %s", m.Work, m.Name, round, time.Since(began).Seconds(), s.brief()))
	return nil
}

// take completes the job of a measure, runs it and what comes before, and cleans
// up.
func (su *suite) take(ctx context.Context, m measure, first bool) (s sample, j job, err error) {
	if m.Job.Peer == peerKStreams {
		if _, err := kstreamsJars(); err != nil {
			return nil, j, fmt.Errorf("%w: %w", errNotHere, err)
		}
		if su.broker.fake {
			return nil, j, fmt.Errorf("%w: it needs a real broker", errNotHere)
		}
	}
	su.made++
	j = m.Job
	if err := su.data.complete(ctx, &j, m); err != nil {
		return nil, j, err
	}
	defer func() { err = errors.Join(err, su.data.release(context.WithoutCancel(ctx), j, m)) }()
	j.Dir = filepath.Join(su.settings.dir, fmt.Sprintf("%d-%s", su.made, j.Peer))
	j.Burst = uint64(time.Now().UnixNano()) &^ 1
	j.Group = kafkatest.Unique("bench")
	if m.Job.Peer == peerKStreams && m.Work != "join" {
		j.Group = "" // it follows from the topic, so that a restart has it
	}
	j.Count = first && j.Work == "fill" && (j.Rows <= 2_500_000 || j.Peer == peerEnrich)
	defer func() { err = errors.Join(err, removeTable(j.Dir)) }()
	for _, before := range m.Prepare {
		p := j
		p.Work, p.Updates, p.Count = before.Work, before.Updates, false
		if _, err := measureJob(ctx, p); err != nil {
			return nil, j, fmt.Errorf("before it: %w", err)
		}
	}
	s, err = measureJob(ctx, j)
	return s, j, err
}

// jobTimeout bounds one measurement: a peer may wait for ever.
const jobTimeout = 5 * time.Minute

func measureJob(ctx context.Context, j job) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, jobTimeout)
	defer cancel()
	return measureProcess(ctx, j, flowRate)
}
