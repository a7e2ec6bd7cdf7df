package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// A Bulk loads many rows fast. It collects them in chunks, which are sorted and
// written as sorted tables by several workers and then taken into the generation
// in the order in which they were submitted. Each table carries the state that
// it brings the generation to, so that what is there after a crash is a prefix
// of what was submitted, with the positions of that prefix.
//
// Between NewBulk and Close nothing else may be applied; Flush and SetIdentity
// do no harm. Compactions are held back meanwhile. Closing the generation ends
// the load: what was not taken in by then is not, and ErrClosed is returned.
// Close has to be called all the same.
//
// All methods are for one goroutine at a time.
type Bulk struct {
	g    *Generation
	o    BulkOptions
	cur  *chunk
	free chan *chunk
	work chan *chunk
	seq  uint64 // chunks submitted so far
	wg   sync.WaitGroup

	closing chan struct{} // closed by Close
	closed  bool

	runs int // sorted tables that overlap; for the worker whose turn it is

	mu      sync.Mutex
	turn    uint64     // chunks taken in or given up: the next one's place
	err     error      // what ended it; all chunks behind are given up
	changed *sync.Cond // turn has changed
}

// BulkOptions say what a bulk load may use.
type BulkOptions struct {
	// ChunkBytes is the size of a chunk; default 8 MiB. A chunk takes more
	// where its last rows are large.
	ChunkBytes int
	// Chunks is how many there are, the one that is being filled included;
	// default one more than Workers.
	Chunks int
	// Workers sort and write; default 2.
	Workers int
	// Applied is called after each chunk that was taken in, in order, by one
	// goroutine at a time, with what it held. No lock of the store is held.
	// It must not call methods of the Bulk.
	Applied func(BulkApplied)

	// compactFrom is how many sorted tables that overlap may come together
	// while compactions are held back, and waitFrom how many there may be
	// before the load waits for compactions.
	compactFrom, waitFrom int
}

// Every table that overlaps is one more to be opened and asked by a scan.
const (
	bulkCompactFrom = 800
	bulkWaitFrom    = 2 * bulkCompactFrom
)

// BulkApplied describes a chunk that was taken into the generation.
type BulkApplied struct {
	State *State
	// Rows counts puts and deletions, before duplicates were dropped.
	Rows, Bytes int
	Took        time.Duration
}

// bulkPrefix begins the names of tables that are not part of the store yet.
const bulkPrefix = "bulk-"

// keepFactor is how many times its size a chunk's memory may have grown to and
// be kept.
const keepFactor = 4

var errLoading = errors.New("store: a bulk load is going on already")

func (o *BulkOptions) setDefaults() {
	if o.ChunkBytes <= 0 {
		o.ChunkBytes = 8 << 20
	}
	if o.Workers <= 0 {
		o.Workers = 2
	}
	if o.Chunks <= 0 {
		o.Chunks = o.Workers + 1
	}
	if o.Applied == nil {
		o.Applied = func(BulkApplied) {}
	}
	if o.compactFrom == 0 {
		o.compactFrom, o.waitFrom = bulkCompactFrom, bulkWaitFrom
	}
}

// NewBulk begins a bulk load. What was applied before is made durable first;
// errors are those of Flush. A generation has one bulk load at a time.
func (g *Generation) NewBulk(o BulkOptions) (*Bulk, error) {
	o.setDefaults()
	if !g.loading.CompareAndSwap(false, true) {
		return nil, errLoading
	}
	if err := g.Flush(); err != nil {
		g.loading.Store(false)
		return nil, err
	}
	g.scheduler.hold()
	b := &Bulk{
		g: g, o: o,
		free: make(chan *chunk, o.Chunks), work: make(chan *chunk, o.Chunks), closing: make(chan struct{}),
	}
	b.changed = sync.NewCond(&b.mu)
	for range o.Chunks {
		b.free <- &chunk{}
	}
	b.cur = <-b.free
	for range o.Workers {
		b.wg.Go(b.worker)
	}
	return b, nil
}

// Put sets a key's row. It copies what it is given.
func (b *Bulk) Put(key []byte, r *Row) { b.cur.put(key, r) }

// Delete deletes a key's row.
func (b *Bulk) Delete(key []byte) { b.cur.delete(key) }

// Len returns how many puts and deletions were collected since Submit.
func (b *Bulk) Len() int { return len(b.cur.refs) }

// Full reports that it is time to call Submit.
func (b *Bulk) Full() bool { return b.cur.bytes() >= b.o.ChunkBytes }

// Submit hands over what was collected, with the state that it leads to. It
// waits until there is room to collect more. Its error is one of a chunk
// submitted before, see Wait: nothing is taken in any more then. s must not be
// changed afterwards.
func (b *Bulk) Submit(s *State) error {
	if b.closed {
		return ErrClosed
	}
	b.cur.state, b.cur.seq = s, b.seq
	b.seq++
	b.work <- b.cur // there is room for all chunks
	b.cur = <-b.free
	b.cur.reset(keepFactor * b.o.ChunkBytes)
	return b.failed()
}

// Wait waits until all that was submitted is in the generation, durably, or
// until a chunk could not be taken in. It returns Err once the generation has
// failed, ErrClosed once it is closed, or an error of reading a table back; an
// error is final.
func (b *Bulk) Wait() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.turn < b.seq && b.err == nil {
		b.changed.Wait()
	}
	return b.err
}

// Close ends the load. What was submitted is still taken in; what was collected
// since is dropped. Errors are those of Wait. It may be called more than once.
func (b *Bulk) Close() error {
	if b.closed {
		return b.failed()
	}
	b.closed = true
	close(b.closing)
	close(b.work)
	b.wg.Wait()
	b.cur, b.free = &chunk{}, nil
	if b.g.use.enter() {
		b.g.backlog.pardon(sublevels(b.g.db))
		// Those that were not taken in, and those that could not be deleted
		// while they were open. What stays is deleted at the next open.
		_ = removeLeftOvers(b.g.options.FS, b.g.dir)
		b.g.use.leave()
	}
	b.g.scheduler.release()
	b.g.loading.Store(false)
	return b.failed()
}

func (b *Bulk) failed() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

func (b *Bulk) worker() {
	var scratch []ref
	buf := bufio.NewWriterSize(nil, tableBuffer)
	for c := range b.work {
		began := time.Now()
		done := BulkApplied{State: c.state, Rows: len(c.refs), Bytes: c.bytes()}
		name, err := "", errors.Join(c.err, b.failed())
		if err == nil {
			scratch = c.sort(scratch)
			name, err = b.write(c, buf)
		}
		if earlier := b.await(c.seq); earlier != nil {
			err = earlier
		}
		if err == nil {
			err = b.ingest(name, c)
		}
		if err == nil {
			done.Took = time.Since(began)
			b.o.Applied(done)
		}
		b.pass(err)
		b.free <- c
	}
}

// await waits until it is a chunk's turn. It returns what ended the load.
func (b *Bulk) await(seq uint64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.turn != seq {
		b.changed.Wait()
	}
	return b.err
}

// pass gives the turn to the next chunk.
func (b *Bulk) pass(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
	}
	b.turn++
	b.changed.Broadcast()
}

// write writes a chunk as a sorted table and returns the file's name. Where the
// file system has refused a write, nothing tells of it before ingest.
func (b *Bulk) write(c *chunk, buf *bufio.Writer) (name string, err error) {
	g := b.g
	if !g.use.enter() {
		return "", ErrClosed
	}
	defer g.use.leave()
	fs := g.options.FS
	// Should an earlier one of that name be there still, it may be linked.
	name = fs.PathJoin(g.dir, fmt.Sprintf("%s%06d", bulkPrefix, g.tables.Add(1)))
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return "", fmt.Errorf("store: cannot write %s: %w", name, err)
	}
	o := g.options.MakeWriterOptions(0, g.db.TableFormat())
	// It is merged soon, and compressed then. Compressing it twice takes longer
	// than writing it in full.
	o.Compression = sstable.NoCompression
	w := sstable.NewRawWriter(newTableFile(f, buf), o)
	err = errors.Join(writeTable(w, c), w.Close())
	if err != nil {
		return "", fmt.Errorf("store: cannot write %s: %w", name, err)
	}
	return name, nil
}

// writeTable writes a sorted chunk and its state, which has the lowest key.
func writeTable(w sstable.RawWriter, c *chunk) error {
	set := func(key, value []byte, kind pebble.InternalKeyKind) error {
		return w.Add(pebble.MakeInternalKey(key, 0, kind), value, false)
	}
	err := set(stateKey, appendState(nil, c.state), pebble.InternalKeyKindSet)
	for i := range c.refs {
		if err != nil {
			return err
		}
		r := &c.refs[i]
		if row, ok := c.row(r); ok {
			err = set(c.key(r), row, pebble.InternalKeyKindSet)
		} else {
			err = set(c.key(r), nil, pebble.InternalKeyKindDelete)
		}
	}
	return err
}

// ingest takes a table into the generation.
func (b *Bulk) ingest(name string, c *chunk) error {
	g := b.g
	if !g.use.enter() {
		return ErrClosed
	}
	defer g.use.leave()
	if err := b.room(); err != nil {
		return ingestError(name, err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	// Every table overlaps with what is in memory. It would wait there for the
	// flush, visible but not durable.
	done, err := g.beginFlush()
	if err == nil {
		err = g.awaitFlush(done)
	}
	if err != nil {
		g.dirty = true
		return ingestError(name, err)
	}
	err = g.db.Ingest(context.Background(), []string{name})
	if err == nil {
		// Readers see it, also if a write has failed.
		g.cursors.moved()
		if tell := g.changing.Load(); tell != nil {
			for i := range c.refs {
				(*tell)(c.key(&c.refs[i])[1:])
			}
		}
		g.publish(c.state)
		g.cursors.sweep()
	}
	if f := g.fail.get(); f != nil {
		err = f
	}
	if err != nil {
		return ingestError(name, err)
	}
	b.count()
	return nil
}

func ingestError(name string, err error) error {
	return fmt.Errorf("store: cannot take in %s: %w", name, err)
}

// count counts the tables that overlap, and lets compactions run where they are
// too many.
func (b *Bulk) count() {
	b.runs = sublevels(b.g.db)
	b.g.scheduler.setOverdue(b.runs > b.o.compactFrom)
}

// room waits for compactions while far too many tables overlap. The few chunks
// that are left at the end do not wait.
func (b *Bulk) room() error {
	for b.runs > b.o.waitFrom {
		select {
		case <-b.g.backlog.moved:
		case <-b.g.fail.ch:
			return b.g.fail.get()
		case <-b.g.stop:
			return ErrClosed
		case <-b.closing:
			return nil
		}
		b.count()
	}
	return nil
}

// removeLeftOvers deletes tables that were not taken in, or are known by another
// name since.
func removeLeftOvers(fs vfs.FS, dir string) error {
	names, err := fs.List(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		if strings.HasPrefix(name, bulkPrefix) {
			errs = append(errs, fs.Remove(fs.PathJoin(dir, name)))
		}
	}
	return errors.Join(errs...)
}

// sublevels returns how many sorted tables of level 0 overlap.
func sublevels(db *pebble.DB) int { return int(db.Metrics().Levels[0].Sublevels) }
