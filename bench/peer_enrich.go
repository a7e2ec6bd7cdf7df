package main

import (
	"context"
	"errors"
	"strconv"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/globaltable"
)

// An enrichTable is a table of this project; its values are bytes or decoded.
type enrichTable[V any] struct {
	*globaltable.Table[string, V]
	done     chan error
	serialOf func(V) (uint64, bool)
	settling *settling
}

func (t *enrichTable[V]) settle(ctx context.Context) error { return t.settling.wait(ctx) }

func (t *enrichTable[V]) get(key string) (bool, error) {
	_, ok, err := t.Get(key)
	return ok, err
}

func (t *enrichTable[V]) serial(key string) (uint64, error) {
	v, ok, err := t.Get(key)
	if err != nil {
		return 0, err
	}
	if n, has := t.serialOf(v); ok && has {
		return n, nil
	}
	return 0, errNoSerial
}

func (t *enrichTable[V]) count() (n int, err error) {
	s, err := t.Snapshot()
	if err != nil {
		return 0, err
	}
	defer s.Close()
	for _, err := range s.All() {
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

func (t *enrichTable[V]) close() error {
	err := t.Close()
	if runErr := <-t.done; !errors.Is(runErr, globaltable.ErrClosed) {
		err = errors.Join(err, runErr)
	}
	return err
}

// runEnrich opens a table, runs it, and waits until it is ready.
func runEnrich[V any](ctx context.Context, j job, value codec.Codec[V], serialOf func(V) (uint64, bool), opts ...globaltable.Opt) (*enrichTable[V], error) {
	quiet := new(settling)
	opts = append(enrichOpts(j, quiet), opts...)
	if j.Transform {
		opts = append(opts, globaltable.Transform(j.Version, func(e globaltable.Entry[string, V]) (V, bool, error) { return e.Value, true, nil }))
	}
	tb, err := globaltable.Open(j.Topic, codec.String(), value, opts...)
	if err != nil {
		return nil, err
	}
	t := &enrichTable[V]{Table: tb, done: make(chan error, 1), serialOf: serialOf, settling: quiet}
	go func() { t.done <- tb.Run(ctx) }()
	if err := tb.WaitReady(ctx); err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

func runEnrichBytes(ctx context.Context, j job, opts ...globaltable.Opt) (*enrichTable[[]byte], error) {
	return runEnrich(ctx, j, codec.Bytes(), serialOf, opts...)
}

// fillEnrich fills a table of this project. With a transform, or where lookups
// decode, the rows are JSON that is decoded into a struct.
func fillEnrich(ctx context.Context, j job) (table, error) {
	if j.Decode || j.Transform {
		return runEnrich(ctx, j, codec.JSON[device](), func(d device) (uint64, bool) {
			n, err := strconv.ParseUint(d.Serial, 16, 64)
			return n, err == nil
		})
	}
	return runEnrichBytes(ctx, j)
}

// A batchReader looks up batches, one after the other, into the same memory.
type batchReader[V any] struct {
	t       *enrichTable[V]
	results []globaltable.Result[string, V]
}

func (t *enrichTable[V]) batches() batchLookup { return &batchReader[V]{t: t} }

func (b *batchReader[V]) getMany(keys []string) (found int, err error) {
	b.results, err = b.t.AppendMany(b.results[:0], keys)
	for i := range b.results {
		if b.results[i].Err != nil {
			return found, b.results[i].Err
		}
		if b.results[i].Found {
			found++
		}
	}
	return found, err
}
