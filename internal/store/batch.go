package store

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/batchrepr"
)

// A Batch collects rows to put and keys to delete, for one Apply. It copies
// what it is given. It is for one goroutine.
type Batch struct {
	b    *pebble.Batch
	rows int
	buf  []byte
}

// NewBatch returns an empty batch for this generation. One that is not applied
// must be closed.
func (g *Generation) NewBatch() *Batch { return &Batch{b: g.db.NewBatch()} }

// NewBatchSize is NewBatch with room for about that many bytes, see Bytes: a
// large batch then does not grow by doubling, with a copy each time.
func (g *Generation) NewBatchSize(bytes int) *Batch {
	return &Batch{b: g.db.NewBatchWithSize(max(bytes, 0))}
}

// Put sets a key's row.
func (b *Batch) Put(key []byte, r *Row) {
	b.rows++
	b.buf = appendRow(b.buf[:0], r)
	op := b.b.SetDeferred(1+len(key), len(b.buf))
	op.Key[0] = kindRow
	copy(op.Key[1:], key)
	copy(op.Value, b.buf)
	_ = op.Finish() // it reports nothing for a batch without an index
}

// Delete deletes a key's row.
func (b *Batch) Delete(key []byte) {
	b.rows++
	op := b.b.DeleteDeferred(1 + len(key))
	op.Key[0] = kindRow
	copy(op.Key[1:], key)
	_ = op.Finish()
}

// Len returns how many puts and deletes the batch holds.
func (b *Batch) Len() int { return b.rows }

// Bytes returns about how much memory the batch takes.
func (b *Batch) Bytes() int { return b.b.Len() }

// Close frees a batch that is not applied. It may be called more than once, and
// after Apply.
func (b *Batch) Close() {
	if b.b != nil {
		// A second close would free memory that another batch may have by then.
		_ = b.b.Close()
		b.b = nil
	}
}

// Apply puts the batch's rows and the state that they bring the generation to
// in one atomic step. The batch is used up, whatever Apply returns; a nil batch
// changes the state only. s must not be changed afterwards.
//
// It waits while compactions are too far behind. It returns Err once the
// generation has failed, and ErrClosed. Nothing of the batch will be durable
// then; where the failure came while it was written, readers may see it, with
// its state.
func (g *Generation) Apply(b *Batch, s *State) error {
	if b != nil {
		defer b.Close()
	}
	if !g.use.enter() {
		return ErrClosed
	}
	defer g.use.leave()
	if b == nil {
		b = g.NewBatch()
		defer b.Close()
	}
	if err := g.backlog.wait(g.db, g.fail, g.stop); err != nil {
		return applyError(err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.fail.get(); err != nil {
		return applyError(err)
	}
	// A batch cannot fail to take a record; only its size is bounded, at 4 GiB.
	b.buf = appendState(b.buf[:0], s)
	if err := b.b.Set(stateKey, b.buf, nil); err != nil {
		return applyError(err)
	}
	written := b.b.Repr() // Pebble takes it away from a large batch
	if err := g.db.Apply(b.b, pebble.NoSync); err != nil {
		return applyError(err)
	}
	g.dirty = true
	g.cursors.moved()
	g.tellChanges(written)
	g.publish(s)
	g.cursors.sweep()
	if err := g.fail.get(); err != nil {
		return applyError(err)
	}
	return nil
}

// tellChanges tells of every row that a batch has changed. The lock is held.
func (g *Generation) tellChanges(written []byte) {
	tell := g.changing.Load()
	if tell == nil {
		return
	}
	for r := batchrepr.Read(written); ; {
		_, stored, _, ok, err := r.Next()
		if !ok || err != nil { // it was applied: it is sound
			return
		}
		if key, ok := userKey(stored); ok {
			(*tell)(key)
		}
	}
}

func applyError(err error) error { return fmt.Errorf("store: cannot apply: %w", err) }
