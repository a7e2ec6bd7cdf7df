package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/lovoo/goka"
	gokacodec "github.com/lovoo/goka/codec"
	"github.com/lovoo/goka/storage"
)

type gokaTable struct {
	view   *goka.View
	cancel context.CancelFunc
	done   chan error
}

func (t *gokaTable) get(key string) (bool, error) {
	v, err := t.view.Get(key)
	return v != nil, err
}

func (t *gokaTable) serial(key string) (uint64, error) {
	v, err := t.view.Get(key)
	if err != nil {
		return 0, err
	}
	b, _ := v.([]byte)
	if n, ok := serialOf(b); ok {
		return n, nil
	}
	return 0, errNoSerial
}

func (t *gokaTable) count() (int, error) {
	it, err := t.view.Iterator()
	if err != nil {
		return 0, err
	}
	defer it.Release()
	n := 0
	for it.Next() {
		n++
	}
	return n, it.Err()
}

func (t *gokaTable) close() error {
	t.cancel()
	return <-t.done
}

// fillGoka fills a goka View, with its defaults: LevelDB, one store for each
// partition. Values are not decoded.
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
	err = every(ctx, 2*time.Millisecond, func() (bool, error) {
		select {
		case err := <-t.done:
			return false, fmt.Errorf("goka's view has ended: %w", err)
		default:
			return view.Recovered(), nil
		}
	})
	if err != nil {
		cancel()
		return nil, err
	}
	return t, nil
}
