package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// A Bulk loads many rows fast. It collects them in chunks, which are sorted and
// written as sorted tables by several workers and then taken into the generation
// in the order in which they were submitted. Each table carries the state that
// it brings the generation to, so that what is there after a crash is a prefix
// of what was submitted, with the positions of that prefix.
//
// Between NewBulk and Close nothing else may be applied. Compactions are held
// back meanwhile. All methods are for one goroutine at a time.
type Bulk struct {
	g    *Generation
	o    BulkOptions
	cur  *chunk
	free chan *chunk
	work chan *chunk
	seq  uint64
	wg   sync.WaitGroup

	mu      sync.Mutex
	turn    uint64 // the next chunk to be taken in
	err     error  // what ended it
	changed *sync.Cond
}

// BulkOptions say what a bulk load may use.
type BulkOptions struct {
	// ChunkBytes is the size of a chunk; default 8 MiB.
	ChunkBytes int
	// Chunks is how many there are, the one that is being filled included;
	// default one more than Workers.
	Chunks int
	// Workers sort and write; default 2.
	Workers int
	// Applied is called after each chunk, in order, by one goroutine at a
	// time, with what it held.
	Applied func(BulkApplied)
}

// BulkApplied describes a chunk that was taken into the generation.
type BulkApplied struct {
	State *State
	// Rows counts puts and deletions, before duplicates were dropped.
	Rows, Bytes int
	Took        time.Duration
}

// maxRuns is how many sorted tables that overlap may come together while
// compactions are held back.
const maxRuns = 160

// bulkPrefix begins the names of tables that are not part of the store yet.
const bulkPrefix = "bulk-"

// NewBulk begins a bulk load. What was applied before is made durable first.
func (g *Generation) NewBulk(o BulkOptions) (*Bulk, error) {
	if o.ChunkBytes == 0 {
		o.ChunkBytes = 8 << 20
	}
	o.ChunkBytes = min(o.ChunkBytes, maxChunk)
	if o.Workers == 0 {
		o.Workers = 2
	}
	if o.Chunks == 0 {
		o.Chunks = o.Workers + 1
	}
	if o.Applied == nil {
		o.Applied = func(BulkApplied) {}
	}
	// A table that overlaps what is in memory waits for its flush: that would
	// let the durable order depend on Pebble's queue.
	if err := g.Flush(); err != nil {
		return nil, err
	}
	g.scheduler.hold()
	b := &Bulk{g: g, o: o, free: make(chan *chunk, o.Chunks), work: make(chan *chunk, o.Chunks)}
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

// Put sets a key's row.
func (b *Bulk) Put(key []byte, r *Row) { b.cur.put(key, r) }

// Delete deletes a key's row.
func (b *Bulk) Delete(key []byte) { b.cur.delete(key) }

// Len returns how many puts and deletions were collected since Submit.
func (b *Bulk) Len() int { return len(b.cur.refs) }

// Full reports that it is time to call Submit.
func (b *Bulk) Full() bool { return b.cur.bytes() >= b.o.ChunkBytes }

// Submit hands over what was collected, with the state that it leads to. It
// waits until there is room to collect more. Its error is one of a chunk
// submitted before: nothing is taken in any more then. s must not be changed
// afterwards.
func (b *Bulk) Submit(s *State) error {
	b.cur.state, b.cur.seq = s, b.seq
	b.seq++
	b.work <- b.cur
	b.cur = <-b.free
	b.cur.reset()
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// Wait waits until all that was submitted is in the generation, durably.
func (b *Bulk) Wait() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.turn < b.seq && b.err == nil {
		b.changed.Wait()
	}
	return b.err
}

// Close ends the load. What was submitted is still taken in; what was collected
// since is dropped.
func (b *Bulk) Close() error {
	close(b.work)
	b.wg.Wait()
	b.g.scheduler.overdue.Store(false)
	b.g.scheduler.release()
	b.g.backlog.touch()
	return b.err
}

func (b *Bulk) worker() {
	for c := range b.work {
		began := time.Now()
		rows, bytes := len(c.refs), c.bytes()
		c.sort()
		name, err := b.write(c)
		b.mu.Lock()
		for b.turn != c.seq {
			b.changed.Wait()
		}
		if b.err == nil && err == nil {
			err = b.ingest(name, c.state)
		}
		failed := b.err != nil || err != nil
		if b.err == nil {
			b.err = err
		}
		b.mu.Unlock()
		if !failed {
			b.o.Applied(BulkApplied{State: c.state, Rows: rows, Bytes: bytes, Took: time.Since(began)})
		}
		b.mu.Lock()
		b.turn++
		b.changed.Broadcast()
		b.mu.Unlock()
		b.free <- c
	}
}

// write writes a chunk as a sorted table and returns the file's name.
func (b *Bulk) write(c *chunk) (name string, err error) {
	g := b.g
	if !g.use.enter() {
		return "", ErrClosed
	}
	defer g.use.leave()
	fs := g.options.FS
	name = fs.PathJoin(g.dir, fmt.Sprintf("%s%06d", bulkPrefix, c.seq))
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return "", &WriteError{Op: "create", Path: name, Err: err}
	}
	w := sstable.NewWriter(objstorageprovider.NewFileWritable(f), g.options.MakeWriterOptions(0, g.db.TableFormat()))
	err = w.Set(stateKey, appendState(nil, c.state))
	for i := range c.refs {
		if err != nil {
			break
		}
		r := &c.refs[i]
		if row, ok := c.row(r); ok {
			err = w.Set(c.key(r), row)
		} else {
			err = w.Delete(c.key(r))
		}
	}
	err = errors.Join(err, w.Close())
	if f := g.fail.get(); f != nil {
		err = f
	}
	if err != nil {
		return "", fmt.Errorf("store: cannot write %s: %w", name, err)
	}
	return name, nil
}

// ingest takes a table into the generation.
func (b *Bulk) ingest(name string, s *State) error {
	g := b.g
	if !g.use.enter() {
		return ErrClosed
	}
	defer g.use.leave()
	err := g.db.Ingest(context.Background(), []string{name})
	if f := g.fail.get(); f != nil {
		err = f
	}
	if err != nil {
		return fmt.Errorf("store: cannot take in %s: %w", name, err)
	}
	g.state.Store(s)
	if late := runs(g.db) > maxRuns; g.scheduler.overdue.Swap(late) != late {
		g.scheduler.UpdateGetAllowedWithoutPermission()
	}
	return nil
}

// removeLeftOvers deletes tables that a crash kept from being taken in.
func removeLeftOvers(fs vfs.FS, dir string) error {
	names, err := fs.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, bulkPrefix) {
			if err := fs.Remove(fs.PathJoin(dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// runs returns how many sorted tables overlap.
func runs(db *pebble.DB) int { return int(db.Metrics().Levels[0].Sublevels) }
