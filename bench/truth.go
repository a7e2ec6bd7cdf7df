package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A history is what happens to a topic and to a replica of it.
type history struct {
	name string
	// right is what the replica has to hold at the end.
	right string
	// keys, if any, are looked up one by one, instead of listing all rows.
	keys []string
	play func(ctx context.Context, s *stage) error
}

// truthPatience is how long a replica may take to hold what is right.
const truthPatience = 10 * time.Second

var histories = []history{
	{
		name: "`a=1`, an aborted transaction of `a` and `b`, `c=3`", right: "a=1 c=3",
		play: func(ctx context.Context, s *stage) error {
			return s.all(s.put(ctx, "a=1"), s.txn(ctx, false, "a=aborted", "b=aborted"), s.put(ctx, "c=3"), s.start(ctx))
		},
	},
	{
		name: "the topic ends in a commit marker", right: "a=1",
		play: func(ctx context.Context, s *stage) error { return s.all(s.txn(ctx, true, "a=1"), s.start(ctx)) },
	},
	{
		name: "`a=1`, an open transaction of `a` and `b`", right: "a=1",
		play: func(ctx context.Context, s *stage) error {
			return s.all(s.put(ctx, "a=1"), s.open(ctx, "a=open", "b=open"), s.start(ctx))
		},
	},
	recreated("deleted and created anew while it was down, longer", "new1=1 new2=1 new3=1 new4=1", "old1=1 old2=1"),
	recreated("deleted and created anew while it was down, equally long", "new1=1 new2=1", "old1=1 old2=1"),
	recreated("deleted and created anew while it was down, shorter", "new1=1", "old1=1 old2=1 old3=1"),
	{
		name: "deleted and created anew while it runs", right: "new1=1 new2=1 new3=1",
		play: func(ctx context.Context, s *stage) error {
			return s.all(s.put(ctx, "old1=1", "old2=1"), s.start(ctx), s.holds(ctx, "old1=1 old2=1"), s.recreate(ctx), s.put(ctx, "new1=1", "new2=1", "new3=1"))
		},
	},
	{
		name: "partitions 1 to 4 while it runs", right: "a=1 k1=1 k2=1 k3=1 k4=1 k5=1 k6=1",
		play: func(ctx context.Context, s *stage) error {
			return s.all(s.put(ctx, "a=1"), s.start(ctx), s.holds(ctx, "a=1"), s.grow(ctx, 4), s.put(ctx, "k1=1", "k2=1", "k3=1", "k4=1", "k5=1", "k6=1"))
		},
	},
	{
		name: "down while `dev1` is deleted and its tombstone compacted away", right: "dev2=cold keep=1",
		play: func(ctx context.Context, s *stage) error {
			return s.all(s.put(ctx, "keep=1", "dev1=hot", "dev2=cold"), s.start(ctx), s.holds(ctx, "dev1=hot dev2=cold keep=1"), s.stop(),
				s.put(ctx, "dev1"), s.compacted(ctx, 1, 3), s.start(ctx))
		},
	},
	{
		name: "keys of another partitioner, 4 partitions, looked up", right: "k1=1 k2=1 k3=1 k4=1 k5=1 k6=1", keys: strings.Fields("k1 k2 k3 k4 k5 k6"),
		play: func(ctx context.Context, s *stage) error {
			return s.all(s.grow(ctx, 4), s.put(ctx, "k1=1", "k2=1", "k3=1", "k4=1", "k5=1", "k6=1"), s.start(ctx))
		},
	},
	{
		name: "a key named `__offset`, looked up", right: "__offset=mine a=1", keys: strings.Fields("__offset a"),
		play: func(ctx context.Context, s *stage) error {
			return s.all(s.put(ctx, "__offset=mine", "a=1"), s.start(ctx))
		},
	},
}

func recreated(name, then, before string) history {
	return history{name: name, right: then, play: func(ctx context.Context, s *stage) error {
		return s.all(s.put(ctx, strings.Fields(before)...), s.start(ctx), s.holds(ctx, before), s.stop(), s.recreate(ctx),
			s.put(ctx, strings.Fields(then)...), s.start(ctx))
	}}
}

// A replica is one of the peers, fed by a topic.
type replica interface {
	// rows shows the rows, or those of keys, and whether it says it is ready.
	rows(keys []string) (rows string, ready bool, err error)
	stop() error
}

// truthPeers are who the histories are played to.
var truthPeers = []truthPeer{
	{"ours", peerEnrich, startOurs}, {"kstreams", peerKStreams, startKStreams}, {"goka", peerGoka, startGoka},
}

// A truthPeer starts replicas. It is shown by name, and selected by peer.
type truthPeer struct {
	name, peer string
	start      starter
}

type starter func(ctx context.Context, brokers []string, topic, dir string) (replica, error)

// truth plays all histories to all peers, and prints what each holds at the end.
// It fails if ours is wrong.
func truth(ctx context.Context, s settings, stdout, stderr io.Writer) (err error) {
	remove, err := s.directories(time.Now())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	b, err := startBroker(ctx, s, func(line string) { fmt.Fprintln(stderr, line) })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.stop()) }()
	if b.fake {
		// It removes no records as Kafka's log cleaner does.
		return errors.New("-truth needs a real Kafka: install Java 17 and Maven, or give the addresses of one by -brokers")
	}
	t := truthTable{right: map[string]int{}, absent: map[string]bool{}, stdout: stdout, stderr: stderr}
	for _, p := range truthPeers {
		if slices.Contains(s.peers, p.peer) {
			t.peers = append(t.peers, p)
		}
	}
	t.head()
	for i, h := range histories {
		fmt.Fprintf(stdout, "| %s | %s |", h.name, h.right)
		for _, p := range t.peers {
			seen, err := t.play(ctx, p, &stage{
				brokers: b.addrs, topic: fmt.Sprintf("truth-%d-%s-%d", i, p.name, time.Now().UnixNano()), history: h,
				dir: filepath.Join(s.dir, fmt.Sprintf("truth-%d-%s", i, p.name)), starter: p.start,
			})
			if err != nil {
				return fmt.Errorf("%s, %s: %w", h.name, p.name, err)
			}
			fmt.Fprintf(stdout, " %s |", seen)
		}
		fmt.Fprintln(stdout)
	}
	return t.sum()
}

// A truthTable is what truth prints.
type truthTable struct {
	peers          []truthPeer
	right          map[string]int
	absent         map[string]bool
	stdout, stderr io.Writer
}

func (t *truthTable) head() {
	fmt.Fprint(t.stdout, "| history | right |")
	for _, p := range t.peers {
		fmt.Fprintf(t.stdout, " %s |", p.name)
	}
	fmt.Fprintf(t.stdout, "\n|---|---|%s\n", strings.Repeat("---|", len(t.peers)))
}

// play returns what the peer holds, or that it is right, or absent.
func (t *truthTable) play(ctx context.Context, p truthPeer, s *stage) (string, error) {
	if t.absent[p.name] {
		return "absent", nil
	}
	seen, err := s.run(ctx)
	switch {
	case errors.Is(err, errAbsent):
		fmt.Fprintf(t.stderr, "%s is absent: %v\n", p.name, err)
		t.absent[p.name] = true
		return "absent", nil
	case err == nil && seen == s.history.right:
		t.right[p.name]++
		return "right", nil
	}
	return seen, err
}

// sum prints how many each had right. It fails if ours had not all.
func (t *truthTable) sum() error {
	fmt.Fprint(t.stdout, "truth")
	for _, p := range t.peers {
		n := fmt.Sprintf("%d/%d", t.right[p.name], len(histories))
		if t.absent[p.name] {
			n = "absent"
		}
		fmt.Fprintf(t.stdout, " %s=%s", p.name, n)
	}
	fmt.Fprintln(t.stdout)
	if t.right["ours"] != len(histories) {
		return errors.New("ours was wrong")
	}
	return nil
}

// errAbsent says that a peer cannot be built or started here.
var errAbsent = errors.New("it cannot run here")

// run plays the history and returns what the replica holds in the end: at once
// when that is right, else after a while.
func (s *stage) run(ctx context.Context) (seen string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	config := map[string]string{
		"cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.0001", "delete.retention.ms": "0",
	}
	if s.cl, err = kgo.NewClient(kgo.SeedBrokers(s.brokers...), kgo.DefaultProduceTopic(s.topic), kgo.MetadataMinAge(50*time.Millisecond)); err != nil {
		return "", err
	}
	defer s.cl.Close()
	if err := createTopic(ctx, s.brokers, s.topic, 1, config); err != nil {
		return "", err
	}
	defer func() {
		if s.replica != nil {
			err = errors.Join(err, s.replica.stop())
		}
		if s.txnClient != nil {
			s.txnClient.Close()
		}
	}()
	if err := s.history.play(ctx, s); err != nil {
		return "", err
	}
	return s.await(ctx, s.history.right)
}

// await returns what the replica shows once that is right, or when patience ends.
func (s *stage) await(ctx context.Context, right string) (seen string, err error) {
	deadline := time.Now().Add(truthPatience)
	err = every(ctx, 50*time.Millisecond, func() (bool, error) {
		rows, ready, err := s.replica.rows(s.history.keys)
		seen = strings.Join(strings.Fields(rows), " ")
		if !ready {
			seen = strings.TrimSpace("not ready " + seen)
		}
		if err != nil {
			seen = "error: " + err.Error()
		}
		if seen == "" {
			seen = "nothing"
		}
		return seen == right || time.Now().After(deadline), nil
	})
	return seen, err
}
