package store

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/objstorage/remote"
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
	// Cache is the block cache, out of which Pebble also takes its memtables.
	// All generations use it, and it may be shared by several tables.
	Cache *pebble.Cache
	// CacheBytes is the size of the block cache that each generation gets
	// without Cache; default 64 MiB.
	CacheBytes int64
	// MemTableBytes is the size of one memtable; default 16 MiB.
	MemTableBytes int64
	// Logger gets what Pebble has to say; by default nobody does.
	Logger *slog.Logger
	// Tune may change Pebble's options before they are used, once for each
	// generation that is made or opened. What the store relies on is set after
	// it: file system, format, comparer, merger, logger, and all that keeps
	// files elsewhere. A listener hears everything beside the store's own; it
	// must not call the store. Options that do not go together are an error of
	// Root's methods.
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

// pebbleFormat belongs to formatVersion: a release that raises the one has to
// raise the other, so that an older release refuses the directory.
const pebbleFormat = pebble.FormatValueSeparation

// pebbleOptions returns the options for one generation.
func (o *Options) pebbleOptions(fail *failure, behind *backlog, compactions *scheduler, moved func()) (*pebble.Options, error) {
	p := &pebble.Options{
		Cache:        o.Cache,
		CacheSize:    o.CacheBytes,
		MemTableSize: uint64(o.MemTableBytes),
		// Two memtables may wait for their flush while a third is filled.
		MemTableStopWritesThreshold: 3,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       40,
		LBaseMaxBytes:               64 << 20,
		MaxOpenFiles:                1000,
	}
	for i := range p.Levels {
		l := &p.Levels[i]
		l.FilterPolicy = bloom.FilterPolicy(10)
		// One block for a file's whole index: a lookup reads one block less.
		l.IndexBlockSize = 1 << 20
		l.Compression = func() *sstable.CompressionProfile { return sstable.FastestCompression }
		p.TargetFileSizes[i] = 8 << 20
	}
	if o.Cache != nil {
		p.CacheSize = 0
	}
	if o.Tune != nil {
		o.Tune(p)
	}
	if p.CacheSize != 0 && p.Cache == o.Cache {
		// Pebble does not look at a size beside a cache: who sets one wants it.
		p.Cache = nil
	}
	p.FS = &failFS{FS: o.FS, fail: fail}
	p.Lock = nil
	p.DisableWAL = true
	p.WALDir = ""
	p.WALFailover = nil
	p.WALRecoveryDirs = nil
	p.FormatMajorVersion = pebbleFormat
	p.Comparer = pebble.DefaultComparer
	p.Merger = pebble.DefaultMerger
	p.KeySchema = ""
	p.KeySchemas = nil
	p.ReadOnly = false
	p.ErrorIfExists = false
	p.ErrorIfNotExists = false
	p.ErrorIfNotPristine = false
	p.Experimental.CompactionScheduler = compactions
	p.Experimental.RemoteStorage = nil
	p.Experimental.CreateOnShared = remote.CreateOnSharedNone
	logger := &pebbleLogger{log: o.Logger, fail: fail}
	p.Logger = logger
	p.LoggerAndTracer = nil
	listener := o.listener(fail, behind, moved)
	if p.EventListener != nil {
		listener = pebble.TeeEventListener(listener, *p.EventListener)
	}
	// By default Pebble ends the process on a damaged file.
	listener.EnsureDefaults(logger)
	p.EventListener = &listener
	p.EnsureDefaults()
	if err := p.Validate(); err != nil {
		return nil, fmt.Errorf("store: pebble's options do not go together: %s", strings.TrimSpace(err.Error()))
	}
	behind.takeOver(p)
	return p, nil
}

// listener returns what the store itself has to hear of Pebble.
func (o *Options) listener(fail *failure, behind *backlog, moved func()) pebble.EventListener {
	return pebble.EventListener{
		// Pebble tries again. A write never gets here, see failFS.
		BackgroundError: func(err error) { o.Logger.Warn("store: background error", "err", err) },
		DataCorruption: func(i pebble.DataCorruptionInfo) {
			o.Logger.Error("store: damaged file", "path", i.Path, "err", i.Details)
			fail.set(fmt.Errorf("%w: %s: %w", ErrCorrupt, i.Path, i.Details))
		},
		FlushEnd:      func(pebble.FlushInfo) { behind.touch(); moved() },
		CompactionEnd: func(pebble.CompactionInfo) { behind.touch(); moved() },
	}
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
