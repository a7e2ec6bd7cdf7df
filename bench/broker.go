package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/globaltable/enrich/internal/kafkatest"
)

// A broker is what everybody is measured on.
type broker struct {
	Kind  string `json:"kind"`
	addrs []string
	fake  bool
	stop  func() error
}

// startBroker returns the user's broker; or a real one that it starts; or, where
// none can run, the fake one in a process of its own.
func startBroker(ctx context.Context, s settings, note func(string)) (*broker, error) {
	if s.brokers != "" {
		return &broker{Kind: "given", addrs: strings.Split(s.brokers, ","), stop: func() error { return nil }}, nil
	}
	if !s.fake {
		addrs, stop, err := kafkatest.StartBroker()
		if err == nil {
			return &broker{Kind: "Apache Kafka 4.3.1, started for this run", addrs: addrs, stop: stop}, nil
		}
		note(fmt.Sprintf("no real broker, the fake one takes its place: %v", err))
	}
	return startFake(ctx)
}

// startFake starts the fake broker in a process of its own, which ends with its
// standard input.
func startFake(ctx context.Context) (*broker, error) {
	cmd, err := command(context.WithoutCancel(ctx), job{Work: "broker"})
	if err != nil {
		return nil, err
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	b := &broker{fake: true, Kind: "kfake, in a process of its own", stop: func() error { return endOf(cmd, in) }}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &b.addrs)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the fake broker has not started: %w", err), b.stop())
	}
	return b, nil
}

func endOf(cmd *exec.Cmd, in io.Closer) error {
	err := in.Close()
	return errors.Join(err, cmd.Wait())
}

// workBroker is the fake broker's process: it prints the addresses and waits.
func workBroker(_ context.Context, c *child, _ job) (sample, error) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		return nil, err
	}
	defer cluster.Close()
	if err := json.NewEncoder(c.out).Encode(cluster.ListenAddrs()); err != nil {
		return nil, err
	}
	_, err = io.Copy(io.Discard, c.in)
	return sample{}, err
}
