package kafkatest

import (
	"context"
	crand "crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	// startTimeout bounds the start of a group; a start takes about 2 s for one
	// broker and 4 s for three on two idle cores.
	startTimeout = 2 * time.Minute
	// startTries is how often ports are picked anew when one was taken between
	// picking it and the broker listening on it.
	startTries = 4
)

// A group is the brokers of one Kafka cluster and the folder they live in.
type group struct {
	dir   string
	guard *guard
	nodes []*node
}

// newGroup starts a cluster of n brokers and waits until each lists all.
func newGroup(n int) (*group, error) {
	java, err := exec.LookPath("java")
	if err != nil {
		return nil, fmt.Errorf("%w: it needs java 17 or newer: %w", errUnavailable, err)
	}
	libs, err := jars()
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		ports, err := freePorts(2 * n)
		if err != nil {
			return nil, err
		}
		g, err := tryGroup(java, libs, ports)
		if err == nil || try == startTries || !portTaken(err) {
			return g, err
		}
	}
}

// portTaken tells whether a failed start had a port taken by somebody else. The
// broker says so only in its output, which the error carries.
func portTaken(err error) bool {
	return strings.Contains(err.Error(), "Address already in use")
}

// tryGroup starts a cluster on the given ports, two per broker.
func tryGroup(java, libs string, ports []int) (_ *group, err error) {
	dir, err := os.MkdirTemp("", "kafkatest-*")
	if err != nil {
		return nil, fmt.Errorf("kafkatest: %w", err)
	}
	g := &group{dir: dir}
	g.guard, err = newGuard(dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.close())
		}
	}()
	n := len(ports) / 2
	heap := "512m"
	if n > 1 {
		heap = "400m"
	}
	var voters []string
	for i := range n {
		voters = append(voters, fmt.Sprintf("%d@127.0.0.1:%d", i+1, ports[2*i+1]))
	}
	for i := range n {
		home := filepath.Join(dir, fmt.Sprint("broker-", i+1))
		g.nodes = append(g.nodes, &node{
			dir: home, java: java, jars: libs, heap: heap, guard: g.guard,
			props: properties{
				ID: i + 1, Port: ports[2*i], ControllerPort: ports[2*i+1],
				Voters: strings.Join(voters, ","),
				// Properties files take a backslash for an escape.
				DataDir:  filepath.ToSlash(filepath.Join(home, "data")),
				Replicas: min(n, 3), MinISR: min(n, 2),
			},
		})
	}
	id := newClusterID()
	if err := each(g.nodes, func(n *node) error { return n.format(id) }); err != nil {
		return nil, err
	}
	if err := each(g.nodes, (*node).start); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if err := awaitReady(ctx, g.nodes); err != nil {
		return nil, err
	}
	return g, nil
}

// newClusterID returns a random id in the form Kafka wants: 16 bytes in URL
// base64, not beginning with a dash, which would read as an option.
func newClusterID() string {
	var id [16]byte
	_, _ = crand.Read(id[:]) // never fails
	id[0] &= 0x7f
	return base64.RawURLEncoding.EncodeToString(id[:])
}

// each runs fn for all nodes at the same time.
func each(nodes []*node, fn func(*node) error) error {
	var wg sync.WaitGroup
	errs := make([]error, len(nodes))
	for i, n := range nodes {
		wg.Go(func() { errs[i] = fn(n) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// awaitReady waits until each of the given brokers lists all of them.
func awaitReady(ctx context.Context, nodes []*node) error {
	var ids []int32
	for _, n := range nodes {
		ids = append(ids, int32(n.props.ID))
	}
	return each(nodes, func(n *node) error { return n.awaitReady(ctx, ids) })
}

// addrs returns the addresses of all brokers, running or not.
func (g *group) addrs() []string {
	var addrs []string
	for _, n := range g.nodes {
		addrs = append(addrs, n.addr())
	}
	return addrs
}

// close kills the brokers and removes their folder: nobody will read the data
// again, so an orderly shutdown would be time lost.
func (g *group) close() error {
	return errors.Join(each(g.nodes, (*node).kill), g.guard.close())
}
