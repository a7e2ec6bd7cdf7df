package store

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Options say where a table lives and what it may use.
type Options struct {
	// FS is the file system, by default the operating system's.
	FS vfs.FS
	// Dir is the table's directory.
	Dir string
	// Topic is the topic whose table this is.
	Topic string
	// CacheBytes is the size of the block cache, out of which Pebble also
	// takes its memtables; default 64 MiB.
	CacheBytes int64
	// MemTableBytes is the size of one memtable; default 16 MiB.
	MemTableBytes int64
	// Logger gets what Pebble has to say; by default nobody does.
	Logger *slog.Logger
	// Tune may change Pebble's options before they are used. What the store
	// relies on is set after it.
	Tune func(*pebble.Options)
}

func (o *Options) setDefaults() {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 64 << 20
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = 16 << 20
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// pebbleOptions returns the options for one generation.
func (o *Options) pebbleOptions(fail *failure) *pebble.Options {
	p := &pebble.Options{
		CacheSize:    o.CacheBytes,
		MemTableSize: uint64(o.MemTableBytes),
		// Two memtables may wait for their flush while a third is filled.
		MemTableStopWritesThreshold: 3,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       40,
		LBaseMaxBytes:               64 << 20,
		MaxOpenFiles:                500,
	}
	for i := range p.Levels {
		l := &p.Levels[i]
		l.FilterPolicy = bloom.FilterPolicy(10)
		l.Compression = func() *sstable.CompressionProfile { return sstable.FastestCompression }
		p.TargetFileSizes[i] = 8 << 20
	}
	if o.Tune != nil {
		o.Tune(p)
	}
	logger := &pebbleLogger{log: o.Logger, fail: fail}
	p.FS = &failFS{FS: o.FS, fail: fail}
	p.DisableWAL = true
	p.FormatMajorVersion = pebble.FormatNewest
	p.Comparer = pebble.DefaultComparer
	p.Merger = pebble.DefaultMerger
	p.ReadOnly = false
	p.Logger = logger
	listener := pebble.EventListener{
		BackgroundError: func(err error) { o.Logger.Warn("store: background error", "err", err) },
		DataCorruption: func(i pebble.DataCorruptionInfo) {
			o.Logger.Error("store: damaged file", "path", i.Path, "err", i.Details)
		},
		DiskSlow: func(i pebble.DiskSlowInfo) { o.Logger.Warn("store: slow disk", "info", i.String()) },
	}
	if p.EventListener != nil {
		// The user's listener hears everything too, but it cannot take the
		// place of ours: by default Pebble ends the process on a damaged file.
		user := *p.EventListener
		if user.DataCorruption == nil {
			user.DataCorruption = func(pebble.DataCorruptionInfo) {}
		}
		listener = pebble.TeeEventListener(listener, user)
	}
	listener.EnsureDefaults(logger)
	p.EventListener = &listener
	return p
}

// pebbleLogger passes Pebble's messages on. Pebble calls Fatalf where it
// cannot go on, and expects not to return; the store marks itself failed and
// is closed by its user instead.
type pebbleLogger struct {
	log  *slog.Logger
	fail *failure
}

func (l *pebbleLogger) Infof(format string, args ...any) {
	l.log.Debug("pebble: " + strings.TrimSpace(fmt.Sprintf(format, args...)))
}

func (l *pebbleLogger) Errorf(format string, args ...any) {
	l.log.Error("pebble: " + strings.TrimSpace(fmt.Sprintf(format, args...)))
}

func (l *pebbleLogger) Fatalf(format string, args ...any) {
	msg := strings.TrimSpace(fmt.Sprintf(format, args...))
	l.log.Error("pebble: " + msg)
	l.fail.set(&WriteError{Op: "write", Path: "the store", Err: fmt.Errorf("pebble: %s", msg)})
}
