// Command bench measures how fast a table is filled from Kafka, and what it
// costs, beside its peers: reading the topic and doing nothing, a Go map, goka,
// and Kafka Streams. All read the same topic of the same broker, in turn, each in
// a process of its own. See README.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/globaltable/enrich/internal/kafkatest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// settings are the flags.
type settings struct {
	brokers string
	rows    int
	rounds  int
	peers   string
	lookups int
	out     string
	dir     string
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 2 && args[0] == childFlag {
		if err := runChild(ctx, args[1], stdout); err != nil {
			fmt.Fprintln(stderr, "bench:", err)
			return 1
		}
		return 0
	}
	var s settings
	fl := flag.NewFlagSet("bench", flag.ContinueOnError)
	fl.SetOutput(stderr)
	fl.StringVar(&s.brokers, "brokers", "", "addresses of a running Kafka, separated by commas; by default one is started")
	fl.IntVar(&s.rows, "rows", 2_000_000, "rows of about 175 B in the topic")
	fl.IntVar(&s.rounds, "rounds", 5, "rounds that count; one more before them warms up")
	fl.StringVar(&s.peers, "peers", "raw,enrich,gomap,goka,kstreams", "what is measured, in this order in each round")
	fl.IntVar(&s.lookups, "lookups", 200_000, "uniform lookups after each bootstrap; 0 for none")
	fl.StringVar(&s.out, "out", "", "a file for all samples, as JSON")
	fl.StringVar(&s.dir, "dir", "", "where the tables are kept; by default a temporary directory")
	if err := fl.Parse(args); err != nil {
		return 2
	}
	if fl.NArg() > 0 || s.rows < 1 || s.rounds < 1 || s.lookups < 0 {
		fmt.Fprintf(stderr, "bench: unexpected arguments %q, or a number out of range\n", strings.Join(fl.Args(), " "))
		return 2
	}
	if err := suite(ctx, s, stdout, stderr); err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	return 0
}

// suite runs everything.
func suite(ctx context.Context, s settings, stdout, stderr io.Writer) (err error) {
	addrs := strings.Split(s.brokers, ",")
	if s.brokers == "" {
		var stop func() error
		if addrs, stop, err = kafkatest.StartBroker(); err != nil {
			return err
		}
		defer func() { err = joined(err, stop()) }()
	}
	if s.dir == "" {
		if s.dir, err = os.MkdirTemp("", "enrich-bench-*"); err != nil {
			return err
		}
		defer func() { err = joined(err, os.RemoveAll(s.dir)) }()
	}
	topic, err := makeDevices(ctx, addrs, s.rows, stderr)
	if err != nil {
		return fmt.Errorf("make the topic: %w", err)
	}
	res := newResults(s)
	for round := range s.rounds + 1 {
		for _, name := range strings.Split(s.peers, ",") {
			if res.absent(name) || ctx.Err() != nil {
				continue
			}
			sample, err := measure(ctx, name, job{
				Peer: name, Brokers: addrs, Topic: topic, Rows: s.rows, Lookups: s.lookups,
				Dir: fmt.Sprintf("%s/%s-%d", s.dir, name, round),
			})
			switch {
			case err != nil && round == 0:
				res.leaveOut(name, err)
				fmt.Fprintf(stderr, "%s is left out: %v\n", name, err)
			case err != nil:
				return fmt.Errorf("%s: %w", name, err)
			default:
				fmt.Fprintf(stderr, "round %d %-9s %8.3f s %10.0f rows/s %6d ns/lookup %5d MB\n",
					round, name, sample.Seconds, float64(s.rows)/sample.Seconds, sample.LookupNs, sample.RSSKB/1024)
				if round > 0 {
					res.add(name, sample)
				}
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	res.print(stdout)
	return res.save(s.out)
}
