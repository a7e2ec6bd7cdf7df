package main

import (
	"context"
	"encoding/binary"
	"errors"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A plainPebble is a replica as one would write it by hand: records go to a
// Pebble store in batches, as they come, and lookups are Pebble's Get.
type plainPebble struct {
	db *pebble.DB
}

// pebbleBatch is how many bytes a batch has when it is written.
const pebbleBatch = 1 << 20

// fillPebble has the same cache, filters, and compression as a table of this
// project with the same budget.
func fillPebble(ctx context.Context, j job) (table, error) {
	cache := pebble.NewCache(j.Budget / 2)
	defer cache.Unref()
	o := &pebble.Options{
		Cache: cache, DisableWAL: true, MemTableSize: uint64(min(j.Budget/16, 16*mb)), Logger: quietLogger{},
		CompactionConcurrencyRange: func() (int, int) { return 1, 2 },
	}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		o.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.FastestCompression }
	}
	db, err := pebble.Open(j.Dir, o)
	if err != nil {
		return nil, err
	}
	t := &plainPebble{db: db}
	b := db.NewBatch()
	var failed error
	commit := func() {
		if failed == nil && b.Count() > 0 {
			failed = db.Apply(b, pebble.NoSync)
			b.Reset()
		}
	}
	_, err = readAll(ctx, j.Brokers, j.Topic, func(r *kgo.Record) {
		if r.Value == nil {
			_ = b.Delete(r.Key, nil) // a batch without an index does not fail
		} else {
			_ = b.Set(r.Key, r.Value, nil)
		}
		if b.Len() >= pebbleBatch {
			commit()
		}
	})
	commit()
	_ = b.Close() // an error of a batch that nothing waits for
	if err = errors.Join(err, failed, db.Flush()); err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

func (t *plainPebble) get(key string) (bool, error) {
	_, closer, err := t.db.Get([]byte(key))
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, closer.Close()
}

func (t *plainPebble) serial(key string) (uint64, error) {
	v, closer, err := t.db.Get([]byte(key))
	if err != nil {
		return 0, err
	}
	n, ok := serialOf(v)
	if err := closer.Close(); err != nil {
		return 0, err
	}
	if !ok {
		return 0, errNoSerial
	}
	return n, nil
}

func (t *plainPebble) count() (n int, err error) {
	it, err := t.db.NewIter(nil)
	if err != nil {
		return 0, err
	}
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	return n, it.Close()
}

// settle merges all files, so that a lookup reads of one only.
func (t *plainPebble) settle(ctx context.Context) error {
	return t.db.Compact(ctx, nil, binary.BigEndian.AppendUint64(nil, 1<<64-1), true)
}

func (t *plainPebble) close() error { return t.db.Close() }

// quietLogger drops what Pebble has to say.
type quietLogger struct{}

func (quietLogger) Infof(string, ...any)           {}
func (quietLogger) Errorf(string, ...any)          {}
func (quietLogger) Fatalf(format string, _ ...any) { panic(format) }
