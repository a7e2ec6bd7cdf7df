package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/lovoo/goka"
	gokacodec "github.com/lovoo/goka/codec"
	"github.com/lovoo/goka/storage"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/globaltable"
)

// readAll reads the whole topic with a plain kgo consumer.
func readAll(ctx context.Context, j job, each func(*kgo.Record)) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(j.Brokers...), kgo.ConsumeTopics(j.Topic), kgo.FetchMaxBytes(64<<20))
	if err != nil {
		return err
	}
	defer cl.Close()
	for n := 0; n < j.Rows; {
		fs := cl.PollFetches(ctx)
		if err := fs.Err(); err != nil {
			return err
		}
		n += fs.NumRecords()
		if each != nil {
			fs.EachRecord(each)
		}
	}
	return nil
}

// fillRaw reads the topic and does nothing: the limit.
func fillRaw(ctx context.Context, j job) (table, error) { return nil, readAll(ctx, j, nil) }

type goMap map[string][]byte

func (m goMap) get(key string) ([]byte, bool, error) {
	v, ok := m[key]
	return v, ok, nil
}

func (goMap) close() error { return nil }

// fillGoMap keeps all rows in a Go map, undecoded.
func fillGoMap(ctx context.Context, j job) (table, error) {
	m := make(goMap, j.Rows)
	err := readAll(ctx, j, func(r *kgo.Record) { m[string(r.Key)] = append([]byte(nil), r.Value...) })
	return m, err
}

type enrichTable struct {
	*globaltable.Table[string, []byte]
	done chan error
}

func (t *enrichTable) get(key string) ([]byte, bool, error) { return t.Get(key) }

func (t *enrichTable) close() error {
	err := t.Close()
	if runErr := <-t.done; !errors.Is(runErr, globaltable.ErrClosed) {
		err = errors.Join(err, runErr)
	}
	return err
}

// fillEnrich fills a table of this project.
func fillEnrich(ctx context.Context, j job) (table, error) {
	tb, err := globaltable.Open(j.Topic, codec.String(), codec.Bytes(), globaltable.Brokers(j.Brokers...), globaltable.Dir(j.Dir))
	if err != nil {
		return nil, err
	}
	t := &enrichTable{Table: tb, done: make(chan error, 1)}
	go func() { t.done <- tb.Run(ctx) }()
	return t, tb.WaitReady(ctx)
}

type gokaTable struct {
	view   *goka.View
	cancel context.CancelFunc
	done   chan error
}

func (t *gokaTable) get(key string) ([]byte, bool, error) {
	v, err := t.view.Get(key)
	b, ok := v.([]byte)
	return b, ok, err
}

func (t *gokaTable) close() error {
	t.cancel()
	return <-t.done
}

// fillGoka fills a goka View, with its defaults: LevelDB, one store for each
// partition.
func fillGoka(ctx context.Context, j job) (table, error) {
	if err := os.MkdirAll(j.Dir, 0o750); err != nil {
		return nil, err
	}
	quiet := log.New(io.Discard, "", 0)
	view, err := goka.NewView(j.Brokers, goka.Table(j.Topic), new(gokacodec.Bytes), goka.WithViewLogger(quiet),
		goka.WithViewStorageBuilder(storage.DefaultBuilder(filepath.Join(j.Dir, "views"))))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	t := &gokaTable{view: view, cancel: cancel, done: make(chan error, 1)}
	go func() { t.done <- view.Run(ctx) }()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !view.Recovered() {
		select {
		case err := <-t.done:
			cancel()
			return nil, fmt.Errorf("goka's view has ended: %w", err)
		case <-tick.C:
		}
	}
	return t, nil
}
