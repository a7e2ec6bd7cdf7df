package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// childFlag makes the program one measurement: its argument is a job.
const childFlag = "-child"

// A job is what one process measures.
type job struct {
	// Work names the function in [works], Peer the one in [fillers].
	Work, Peer string
	Brokers    []string
	// Topic is that of the table: Rows rows, made of Records records.
	Topic         string
	Rows, Records int
	Dir           string

	// Budget is the table's memory budget in bytes; 0 is the default. Decode
	// has it decode values, Transform decode and encode them as they arrive.
	// BlockCache makes the cache of blocks that large in addition.
	Budget, BlockCache int64
	Decode, Transform  bool
	// Version is that of the transform.
	Version string
	// HeapMB is the heap of a peer in Java; Tuned says that its settings are
	// those for large tables.
	HeapMB int
	Tuned  bool

	// Warm has each row looked up once before anything is measured.
	Warm bool
	// Count has the rows counted after the measurement.
	Count bool

	// Kinds of lookups, on so many goroutines each, each for Seconds; Beside
	// are the kinds measured again beside updates.
	Kinds, Beside []string
	Goroutines    []int
	Seconds       float64

	// Stream is the topic of the readings, Readings their number, Out where
	// what is joined goes, Group a consumer group. Cold joins right after the
	// table was opened; the others have joined the same readings before.
	Stream, Out, Group string
	Readings           int
	Cold               bool

	// Updates is the size of a burst, Burst its number, which is even and like
	// that of no other.
	Updates int
	Burst   uint64
	// Markers are the keys whose updates stand around a burst, Probes those
	// whose updates carry the time.
	Markers []string
	Probes  int
}

// A sample is what a measurement found, by figure.
type sample map[string]float64

// A child is the process that measures. It may ask its parent for something that
// has to come from outside, and gets an answer when that is done.
type child struct {
	in  *bufio.Reader
	out io.Writer
}

// What a child can ask for.
const (
	askFlow     = "flow"     // updates at a rate, from now on
	askStill    = "still"    // no updates any more
	askBurst    = "burst"    // a burst of updates; the answer comes when they are under way
	askRecreate = "recreate" // the table's topic deleted and made again
	askKill     = "kill"     // its own end, by force
)

// askMark begins a line that asks.
const askMark = "? "

func (c *child) ask(what string) error {
	if _, err := fmt.Fprintln(c.out, askMark+what); err != nil {
		return err
	}
	_, err := c.in.ReadString('\n')
	if err != nil {
		return fmt.Errorf("asked for %s: %w", what, err)
	}
	return nil
}

// works are what a child can do.
var works = map[string]func(context.Context, *child, job) (sample, error){
	"fill":    workFill,
	"kill":    workKill,
	"lookup":  workLookup,
	"live":    workLive,
	"join":    workJoin,
	"rebuild": workRebuild,
	"verify":  workVerify,
	"broker":  workBroker,
}

// runChild is one measurement. It prints one line of JSON: the sample.
func runChild(ctx context.Context, arg string, stdin io.Reader, stdout io.Writer) error {
	var j job
	if err := json.Unmarshal([]byte(arg), &j); err != nil {
		return err
	}
	work := works[j.Work]
	if work == nil {
		return fmt.Errorf("there is no work %q", j.Work)
	}
	s, err := work(ctx, &child{in: bufio.NewReader(stdin), out: stdout}, j)
	if err != nil {
		return fmt.Errorf("%s of %s: %w", j.Work, strings.TrimSpace(j.Peer+" "+j.Topic), err)
	}
	return json.NewEncoder(stdout).Encode(s)
}

// every calls fn at an interval until it returns true or ctx ends.
func every(ctx context.Context, interval time.Duration, fn func() (bool, error)) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		if done, err := fn(); err != nil || done {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
