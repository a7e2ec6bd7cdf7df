package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/globaltable/enrich/internal/kafkatest"
)

// flowRate is the number of updates a second of a flow.
const flowRate = 10_000

// datasets are the topics of a run, made when they are needed first.
type datasets struct {
	addrs    []string
	progress *progress
	rows     map[rowsTopic]*dataset
	streams  map[[2]int]string
	register *dataset
}

// A dataset is the topic of a table.
type dataset struct {
	topic         string
	rows, records int
}

func newDatasets(addrs []string, p *progress) *datasets {
	return &datasets{addrs: addrs, progress: p, rows: map[rowsTopic]*dataset{}, streams: map[[2]int]string{}}
}

// dataName is how a table of results calls the data.
func (m measure) dataName() string {
	if m.Register {
		return "vendors"
	}
	return m.Data.String()
}

// complete fills in what a job has to know of its data, and makes that first.
func (d *datasets) complete(ctx context.Context, j *job, m measure) error {
	set, err := d.of(ctx, m)
	if err != nil {
		return err
	}
	j.Brokers, j.Topic, j.Rows, j.Records = d.addrs, set.topic, set.rows, set.records
	if !m.Register {
		for _, n := range markerRows(set.rows) {
			j.Markers = append(j.Markers, key(n))
		}
	}
	if m.Stream > 0 {
		j.Readings = m.Stream
		if j.Stream, err = d.stream(ctx, m.Stream, set.rows); err != nil {
			return err
		}
	}
	if m.Output {
		j.Out = kafkatest.Unique("bench-joined")
		return createTopic(ctx, d.addrs, j.Out, readingPartitions, nil)
	}
	return nil
}

func (d *datasets) of(ctx context.Context, m measure) (*dataset, error) {
	if m.Register {
		return d.vendors(ctx)
	}
	if set := d.rows[m.Data]; set != nil && !m.OwnTopic {
		return set, nil
	}
	set := &dataset{topic: kafkatest.Unique("bench-devices"), rows: m.Data.Rows, records: len(records(m.Data.Rows))}
	if err := d.making(m.Data.String(), func(progress func(done, all int)) error {
		return makeRows(ctx, d.addrs, set.topic, m.Data, progress)
	}); err != nil {
		return nil, err
	}
	if !m.OwnTopic {
		d.rows[m.Data] = set
	}
	return set, nil
}

func (d *datasets) stream(ctx context.Context, readings, rows int) (string, error) {
	of := [2]int{readings, rows}
	if topic := d.streams[of]; topic != "" {
		return topic, nil
	}
	topic := kafkatest.Unique("bench-readings")
	err := d.making("readings "+count(readings), func(progress func(done, all int)) error {
		return makeReadings(ctx, d.addrs, topic, readings, rows, progress)
	})
	d.streams[of] = topic
	return topic, err
}

func (d *datasets) vendors(ctx context.Context) (*dataset, error) {
	if d.register == nil {
		all, err := readRegister(registerFiles)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errNotHere, err)
		}
		set := &dataset{topic: kafkatest.Unique("bench-vendors"), rows: len(all), records: len(all)}
		if err := makeVendors(ctx, d.addrs, set.topic, all); err != nil {
			return nil, err
		}
		d.register = set
	}
	return d.register, nil
}

// making makes a topic and says so.
func (d *datasets) making(what string, fn func(progress func(done, all int)) error) error {
	began := time.Now()
	if err := fn(func(done, all int) { d.progress.making(what, done, all) }); err != nil {
		return fmt.Errorf("make the topic of %s: %w", what, err)
	}
	d.progress.note(fmt.Sprintf("made the topic of %s: %.1f s", what, time.Since(began).Seconds()))
	return nil
}

// release deletes the topics that were made for one measurement.
func (d *datasets) release(ctx context.Context, j job, m measure) error {
	if m.Output {
		if err := deleteTopic(ctx, d.addrs, j.Out); err != nil {
			return err
		}
	}
	if m.OwnTopic {
		return deleteTopic(ctx, d.addrs, j.Topic)
	}
	return nil
}

func removeTable(dir string) error { return os.RemoveAll(dir) }
