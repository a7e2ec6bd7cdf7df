package globaltable

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/internal/store"
)

// Table is a local replica of all partitions of a compacted topic. Make it with
// [Open]. All methods may be called from any goroutine.
type Table[K, V any] struct {
	e     *engine
	key   codec.Codec[K]
	value codec.Codec[V]
	size  func(V) int // nil for the size of what is encoded
	plain bool        // K is string, and its bytes are the encoded key
}

// Open opens the table of a topic, whose keys and values the two codecs decode.
// It needs [Brokers], and [Dir] or [InMemory]. It locks the directory and
// connects to nothing: [Table.Run] does.
//
// The error says which option is wrong, or it wraps [ErrLocked], a
// [*WrongTableError], a [*NotATableError] or a [*NewerFormatError]; what is in
// the directory was not touched then.
func Open[K, V any](topic string, key codec.Codec[K], value codec.Codec[V], opts ...Opt) (*Table[K, V], error) {
	cfg := newConfig(opts)
	err := cfg.validate()
	if topic == "" {
		err = errors.Join(err, errors.New("globaltable: Open needs a topic"))
	}
	if key == nil || value == nil {
		err = errors.Join(err, errors.New("globaltable: Open needs a key codec and a value codec"))
	}
	shape, terr := shaperOf(topic, key, value, &cfg.transform)
	if shape == nil && cfg.badRecords != 0 && key != nil && value != nil {
		shape = checkerOf(topic, key, value)
	}
	size, serr := sizerOf[V](cfg.valueSize)
	if err := errors.Join(err, terr, serr); err != nil {
		return nil, err
	}
	e := newEngine(topic, cfg, shape, func(bytes int64) forgetter { return newRowCache[V](bytes) })
	if err := e.open(); err != nil {
		return nil, fmt.Errorf("globaltable: cannot open table %s: %w", topic, err)
	}
	warnOfTemporary(&cfg)
	return &Table[K, V]{e: e, key: key, value: value, size: size, plain: any(key) == any(codec.String())}, nil
}

// lockPoll is how often a locked directory is tried again.
const lockPoll = 50 * time.Millisecond

// warnOfTemporary logs if the rows are where the system may delete them.
func warnOfTemporary(cfg *config) {
	if cfg.dir == "" || cfg.fs != nil {
		return
	}
	if below, err := relative(cfg.dir, os.TempDir()); err == nil && filepath.IsLocal(below) {
		cfg.logger.Warn("the table's directory lies in the system's temporary directory: what is deleted there is read from Kafka again", "dir", cfg.dir, "temporary", os.TempDir())
	}
}

// relative is where a path lies below a directory.
func relative(path, dir string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	return filepath.Rel(dir, abs)
}

func openRoot(topic string, cfg *config, s *share) (*store.Root, error) {
	o := store.Options{
		FS: cfg.fs, Dir: cfg.dir, Topic: topic, Logger: cfg.logger, Tune: cfg.pebble,
		Cache: s.blocks(), MemTableBytes: s.memtable(),
	}
	if cfg.memory {
		o.FS, o.Dir = vfs.NewMem(), "/table"
	}
	ctx, cancel := context.WithTimeout(context.Background(), cfg.lockWait)
	defer cancel()
	for {
		root, err := store.OpenRoot(o)
		if !errors.Is(err, store.ErrLocked) || !sleep(ctx, lockPoll) {
			return root, err
		}
	}
}

// Remove deletes the files of a closed table in dir, and dir itself if nothing
// else is in it. Files that are not the table's are left alone. It returns an
// error that wraps [ErrLocked] if the table is open, and a [*NotATableError] if
// there is none. A directory that does not exist is no error.
func Remove(dir string) error {
	if err := store.Remove(nil, dir); err != nil {
		return fmt.Errorf("globaltable: cannot remove the table in %s: %w", dir, err)
	}
	return nil
}

// Name returns "table " and the topic. With [Table.WaitReady] it makes a table
// something that a stream can wait for.
func (t *Table[K, V]) Name() string { return "table " + t.e.topic }

// Topic returns the topic's name.
func (t *Table[K, V]) Topic() string { return t.e.topic }

// Run replicates the topic until ctx ends, and returns nil then. It can be
// called once.
//
// It ends with an error for what waiting does not cure: a [*NotCompactedError],
// a [*WriteError] of the store, access denied by the cluster, [ErrClosed] if the
// table is closed. Brokers that are away and a topic that is absent never end
// it: it waits, and [Table.Status] says for what.
//
// The table goes on answering after Run has returned nil, until [Table.Close].
func (t *Table[K, V]) Run(ctx context.Context) error { return t.e.run(ctx) }

// Close ends Run, makes what was applied durable, and closes the store. Reads
// return [ErrClosed] from then on. It may be called more than once; later calls
// return nil.
func (t *Table[K, V]) Close() error { return t.e.close() }

// Status returns what the table is doing.
func (t *Table[K, V]) Status() Status { return t.e.currentStatus() }

// Ready returns a channel that is closed when the table becomes ready for the
// first time: it has all that the topic held when Run began to read it, and is
// sure of it.
func (t *Table[K, V]) Ready() <-chan struct{} { return t.e.ready }

// WaitReady waits until the table is ready. It returns a [*RunError] if Run has
// failed, [ErrClosed] if the table was closed, an error that wraps
// [ErrNotReady] if Run has ended before, and an error that wraps ctx's and names
// what the table waits for if ctx ends before.
func (t *Table[K, V]) WaitReady(ctx context.Context) error { return t.e.waitReady(ctx) }

// WaitFor waits until everything before the position is visible to [Table.Get]:
//
//	err := client.ProduceSync(ctx, record).FirstErr()
//	...
//	err = table.WaitFor(ctx, globaltable.After(record)) // now Get sees it, or what came later
//
// A position whose Topic or TopicID is not the table's gives a [*PositionError],
// and so does one of a topic that is deleted and created again meanwhile.
// Otherwise the errors are those of [Table.WaitReady].
func (t *Table[K, V]) WaitFor(ctx context.Context, p Position) error { return t.e.waitFor(ctx, p) }

// Positions returns, for each partition that was read, the position that the
// answers stand for: every visible record below it is in the rows. It is empty
// while the table has no rows to answer with.
func (t *Table[K, V]) Positions() []Position { return t.e.positions() }

// Lag returns how far the answers are behind the topic.
func (t *Table[K, V]) Lag() Lag { return t.e.lag() }

// Stats returns the table's figures.
func (t *Table[K, V]) Stats() Stats { return t.e.stats() }
