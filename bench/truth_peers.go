package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lovoo/goka"
	gokacodec "github.com/lovoo/goka/codec"
	"github.com/lovoo/goka/storage"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/globaltable"
)

// listed writes rows as they are shown.
func listed(rows []string) string {
	rows = slices.DeleteFunc(rows, func(r string) bool { return strings.HasPrefix(r, fillerKey+"=") })
	slices.Sort(rows)
	return strings.Join(rows, " ")
}

// ourReplica is a table.
type ourReplica struct {
	*globaltable.Table[string, string]
	cancel context.CancelFunc
	done   chan error
}

func startOurs(_ context.Context, brokers []string, topic, dir string) (replica, error) {
	tb, err := globaltable.Open(topic, codec.String(), codec.String(), globaltable.Brokers(brokers...), globaltable.Dir(dir))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	o := &ourReplica{Table: tb, cancel: cancel, done: make(chan error, 1)}
	go func() { o.done <- tb.Run(ctx) }()
	return o, nil
}

func (o *ourReplica) rows(keys []string) (string, bool, error) {
	if keys != nil {
		var all []string
		for _, k := range keys {
			v, ok, err := o.Get(k)
			if errors.Is(err, globaltable.ErrNotReady) {
				return "", false, nil
			}
			if err != nil {
				return "", true, err
			}
			if ok {
				all = append(all, k+"="+v)
			}
		}
		return listed(all), true, nil
	}
	s, err := o.Snapshot()
	if errors.Is(err, globaltable.ErrNotReady) {
		return "", false, nil
	}
	if err != nil {
		return "", true, err
	}
	defer s.Close()
	var all []string
	for e, err := range s.All() {
		if err != nil {
			return "", true, err
		}
		all = append(all, e.Key+"="+e.Value)
	}
	return listed(all), true, nil
}

func (o *ourReplica) stop() error {
	o.cancel()
	return errors.Join(<-o.done, o.Close())
}

// gokaReplica is a goka View.
type gokaReplica struct {
	view   *goka.View
	cancel context.CancelFunc
	done   chan struct{}
	err    error // how it ended
}

func startGoka(_ context.Context, brokers []string, topic, dir string) (replica, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	view, err := goka.NewView(brokers, goka.Table(topic), new(gokacodec.Bytes), goka.WithViewLogger(log.New(io.Discard, "", 0)),
		goka.WithViewStorageBuilder(storage.DefaultBuilder(filepath.Join(dir, "views"))))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	g := &gokaReplica{view: view, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(g.done)
		g.err = view.Run(ctx)
	}()
	return g, nil
}

func (g *gokaReplica) rows(keys []string) (string, bool, error) {
	if !g.view.Recovered() {
		return "", false, nil
	}
	var all []string
	for _, k := range keys {
		v, err := g.view.Get(k)
		if err != nil {
			return "", true, err
		}
		if b, ok := v.([]byte); ok {
			all = append(all, k+"="+string(b))
		}
	}
	if keys != nil {
		return listed(all), true, nil
	}
	it, err := g.view.Iterator()
	if err != nil {
		return "", true, err
	}
	defer it.Release()
	for it.Next() {
		v, err := it.Value()
		if err != nil {
			return "", true, err
		}
		b, _ := v.([]byte)
		all = append(all, it.Key()+"="+string(b))
	}
	return listed(all), true, it.Err()
}

// stop ends the view. How it ended is no part of a history.
func (g *gokaReplica) stop() error {
	g.cancel()
	<-g.done
	return nil
}

// ksReplica is a GlobalKTable in a Java process, which answers line by line.
type ksReplica struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startKStreams(ctx context.Context, brokers []string, topic, dir string) (replica, error) {
	cmd, err := kstreamsCommand(context.WithoutCancel(ctx), job{Work: "truth", Brokers: brokers, Topic: topic, Dir: dir})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errAbsent, err)
	}
	k := &ksReplica{cmd: cmd}
	if k.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	k.out = bufio.NewReader(out)
	return k, cmd.Start()
}

func (k *ksReplica) rows(keys []string) (string, bool, error) {
	if _, err := fmt.Fprintln(k.in, strings.Join(append([]string{"rows"}, keys...), " ")); err != nil {
		return "", false, err
	}
	for {
		line, err := k.out.ReadString('\n')
		if err != nil {
			return "", false, err
		}
		if answer, ok := strings.CutPrefix(line, "= "); ok {
			state, rows, _ := strings.Cut(strings.TrimSpace(answer), " ")
			all := listed(strings.Fields(rows))
			if state != "RUNNING" {
				all = strings.TrimSpace(all + " (" + state + ")")
			}
			return all, state != "CREATED" && state != "REBALANCING", nil
		}
	}
}

func (k *ksReplica) stop() error { return errors.Join(k.in.Close(), k.cmd.Wait()) }
