package store

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// A Batch collects rows to put and keys to delete, for one Apply. It copies
// what it is given. It is for one goroutine.
type Batch struct {
	b    *pebble.Batch
	rows int
	key  []byte
	buf  []byte
}

// NewBatch returns an empty batch for this generation. One that is not applied
// must be closed.
func (g *Generation) NewBatch() *Batch { return &Batch{b: g.db.NewBatch()} }

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

// Close frees a batch that is not applied.
func (b *Batch) Close() { _ = b.b.Close() }

// Apply puts the batch's rows and the state that they bring the generation to
// in one atomic step. The batch is used up, whatever Apply returns; a nil batch
// changes the state only. After an error nothing of it is visible or will be
// durable. s must not be changed afterwards.
func (g *Generation) Apply(b *Batch, s *State) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.enter() {
		if b != nil {
			b.Close()
		}
		return ErrClosed
	}
	defer g.leave()
	if b == nil {
		b = g.NewBatch()
	}
	defer b.Close()
	if err := g.fail.get(); err != nil {
		return err
	}
	// A batch cannot fail to take a record; only its size is bounded, at 4 GiB.
	b.buf = appendState(b.buf[:0], s)
	if err := b.b.Set(stateKey, b.buf, nil); err != nil {
		return fmt.Errorf("store: cannot write positions: %w", err)
	}
	err := g.db.Apply(b.b, pebble.NoSync)
	if err = errors.Join(err, g.fail.get()); err != nil {
		return fmt.Errorf("store: cannot apply: %w", err)
	}
	g.dirty = true
	g.state.Store(s)
	return nil
}
