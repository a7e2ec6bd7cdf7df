package join

import (
	"context"
	"errors"
	"sync"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/globaltable"
	"github.com/globaltable/enrich/stream"
)

// lookup is what a join needs of a table.
type lookup[TK, TV any] interface {
	AppendMany(dst []globaltable.Result[TK, TV], keys []TK) ([]globaltable.Result[TK, TV], error)
	Revision() globaltable.Revision
}

// asked is the memory of lookups. It is used again, and what was found stays
// valid while the table rests.
type asked[TK, TV any] struct {
	keys  []TK
	memo  memo
	at    []int32 // of each key in found; nil if they are in the same order
	found []globaltable.Result[TK, TV]
	// revision is the table's from before found was looked up.
	revision globaltable.Revision
}

// rowsKept is how many rows are kept from one lookup to the next: so few that
// they stay in the processor's cache.
const rowsKept = 4096

func (a *asked[TK, TV]) forget() {
	a.memo.forget()
	a.found, a.at = a.found[:0], nil
}

// row returns the row of the i-th key.
func (a *asked[TK, TV]) row(i int) *globaltable.Result[TK, TV] {
	if a.at != nil {
		i = int(a.at[i])
	}
	return &a.found[i]
}

// joiner is the second stage of a join: it looks the keys of a poll up, all at
// once, and makes the outputs.
type joiner[K, V, TK, TV, Out any] struct {
	cfg   config
	table lookup[TK, TV]
	join  func(stream.Record[K, V], globaltable.Entry[TK, TV]) (Out, error)
	spare sync.Pool // of *asked[TK, TV]
}

// Process implements stream.Processor.
func (j *joiner[K, V, TK, TV, Out]) Process(ctx context.Context, in []stream.Record[K, keyed[V, TK]], out *stream.Output[K, Out]) error {
	return j.process(ctx, in, out)
}

func (j *joiner[K, V, TK, TV, Out]) process(ctx context.Context, in []stream.Record[K, keyed[V, TK]], out output[K, Out]) error {
	a, ok := j.spare.Get().(*asked[TK, TV])
	if !ok {
		a = new(asked[TK, TV])
	}
	defer j.spare.Put(a)
	if err := j.lookUp(a, in); err != nil {
		return err
	}
	noMatch := j.cfg.reason(DropNoMatch)
	next := 0 // of those with a key
	var none globaltable.Result[TK, TV]
	for i := range in {
		if err := ctx.Err(); err != nil {
			return err
		}
		r := &in[i]
		row := &none
		if r.Value.ok {
			row = a.row(next)
			next++
		}
		if row.Err == nil && !row.Found && !j.cfg.left {
			out.Drop(i, noMatch)
			continue
		}
		v, err := j.call(r, row)
		switch {
		case err == nil:
			out.Emit(i, stream.WithValue(*r, v))
		case codec.IsRetryable(err):
			// This record and those after it come again; calling the
			// function for them now would be for nothing.
			out.Fail(i, err)
			return nil
		default:
			out.Fail(i, err)
		}
	}
	return nil
}

// lookUp finds the rows of the records that have a key, in their order.
func (j *joiner[K, V, TK, TV, Out]) lookUp(a *asked[TK, TV], in []stream.Record[K, keyed[V, TK]]) error {
	a.keys = a.keys[:0]
	for i := range in {
		if v := &in[i].Value; v.ok {
			a.keys = append(a.keys, v.key)
		}
	}
	if len(a.keys) == 0 {
		return nil
	}
	now := j.table.Revision()
	if now != a.revision || now == (globaltable.Revision{}) || a.at == nil || len(a.found) > rowsKept {
		a.forget()
	}
	a.revision = now
	var fresh []TK
	if fresh, a.at = distinct(&a.memo, a.keys); len(fresh) == 0 {
		return nil
	}
	from := len(a.found)
	var err error
	if a.found, err = j.table.AppendMany(a.found, fresh); err != nil {
		a.forget()
		return waitOrEnd(err)
	}
	for i := range a.found[from:] {
		if a.found[from+i].Err != nil {
			a.revision = globaltable.Revision{} // it may be another one next time
		}
	}
	return nil
}

// waitOrEnd marks the error of a table that will answer later: the partition
// waits for that. All others end the run. A failed table stays failed, whatever
// it failed of.
func waitOrEnd(err error) error {
	if _, failed := errors.AsType[*globaltable.RunError](err); !failed && errors.Is(err, globaltable.ErrNotReady) {
		return codec.Retryable(err)
	}
	return err
}

func (j *joiner[K, V, TK, TV, Out]) call(r *stream.Record[K, keyed[V, TK]], row *globaltable.Result[TK, TV]) (v Out, err error) {
	if row.Err != nil {
		return v, row.Err
	}
	defer recovered(j.cfg.stage(), &err)
	return j.join(stream.WithValue(*r, r.Value.value), row.Entry)
}
