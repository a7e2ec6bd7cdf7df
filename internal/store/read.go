package store

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// A View is one key's row while it may be looked at. Close it.
type View struct {
	Row
	closer io.Closer
	g      *Generation
}

// Close gives the row's memory back. Row must not be used afterwards. It may be
// called more than once, and on a View without a row. A generation is not closed
// before all its Views are.
func (v *View) Close() {
	if v.closer != nil {
		_ = v.closer.Close()
		v.closer = nil
		v.g.use.leave()
	}
}

// Get looks a key up. ok is false if it has no row. An error wraps ErrCorrupt if
// the row's file is damaged; ErrClosed is returned once the generation is closed.
func (g *Generation) Get(key []byte) (v View, ok bool, err error) {
	if !g.use.enter() {
		return v, false, ErrClosed
	}
	c, err := g.cursors.get(key)
	if err != nil {
		defer g.use.leave()
		return v, false, g.readError(err)
	}
	v.closer, v.g = c, g
	if v.Row, ok, err = c.seek(key); err != nil {
		v.Close()
		return View{}, false, g.readError(err)
	}
	// The log start is taken after the row was read: a row that it lets
	// through was there when the read began.
	if !ok || g.state.Load().Gone(v.Partition, v.Offset) {
		v.Close()
		return View{}, false, nil
	}
	return v, true, nil
}

// readError tells damaged files from a generation that has failed, whose newest
// files may be incomplete.
func (g *Generation) readError(err error) error {
	if f := g.fail.get(); f != nil {
		return f
	}
	switch {
	case errors.Is(err, ErrCorrupt):
		return err
	case pebble.IsCorruptionError(err):
		return corrupt(err)
	}
	return fmt.Errorf("store: cannot read: %w", err)
}

// manyStep is how many keys of GetMany are looked up at a time by one goroutine.
const manyStep = 16

// GetMany looks up keys that are sorted and distinct, and calls fn for each; ok
// is false for a key without a row. Many keys are spread over the cores: then fn
// is called by several goroutines at a time and not in order. row's memory is
// valid during the call only. Each row is as new as a Get at the time of GetMany's
// call gives. An error of fn ends it and is returned as it is; other errors are
// those of Get.
func (g *Generation) GetMany(keys [][]byte, fn func(i int, row *Row, ok bool) error) error {
	if !g.use.enter() {
		return ErrClosed
	}
	defer g.use.leave()
	var next atomic.Int64
	var failed atomic.Bool
	work := func() error {
		from := int(next.Add(manyStep)) - manyStep
		if from >= len(keys) {
			return nil
		}
		c, err := g.cursors.get(keys[from])
		if err != nil {
			return g.readError(err)
		}
		defer g.cursors.put(c)
		s := g.state.Load()
		var row Row // one for all: fn has it be on the heap
		for ; from < len(keys) && !failed.Load(); from = int(next.Add(manyStep)) - manyStep {
			for i := from; i < min(from+manyStep, len(keys)); i++ {
				var ok bool
				row, ok, err = c.seek(keys[i])
				if err != nil {
					err = g.readError(err)
				} else {
					err = fn(i, &row, ok && !s.Gone(row.Partition, row.Offset))
				}
				if err != nil {
					failed.Store(true)
					return err
				}
			}
		}
		return nil
	}
	steps := (len(keys) + manyStep - 1) / manyStep
	if steps == 0 {
		return nil
	}
	helpers := min(runtime.GOMAXPROCS(0), steps) - 1
	if helpers == 0 {
		return work()
	}
	errs := make([]error, helpers+1)
	var wg sync.WaitGroup
	for i := range helpers {
		wg.Go(func() { errs[i] = work() })
	}
	errs[helpers] = work()
	wg.Wait()
	return cmp.Or(errs...)
}

// seekRow reads the row of one stored key.
func seekRow(it *pebble.Iterator, stored []byte) (row Row, ok bool, err error) {
	if !it.SeekPrefixGE(stored) || !bytes.Equal(it.Key(), stored) {
		return row, false, it.Error()
	}
	v, err := it.ValueAndErr()
	if err != nil {
		return row, false, err
	}
	row, err = parseRow(v)
	return row, err == nil, err
}
