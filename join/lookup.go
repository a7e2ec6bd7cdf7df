package join

import (
	"context"
	"errors"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/globaltable"
	"github.com/globaltable/enrich/stream"
)

// lookup is what a join needs of a table.
type lookup[TK, TV any] interface {
	GetMany(keys []TK) ([]globaltable.Result[TK, TV], error)
}

// joiner is the second stage of a join: it looks the keys of a poll up, all at
// once, and makes the outputs.
type joiner[K, V, TK, TV, Out any] struct {
	cfg   config
	table lookup[TK, TV]
	join  func(stream.Record[K, V], globaltable.Entry[TK, TV]) (Out, error)
}

// Process implements stream.Processor.
func (j *joiner[K, V, TK, TV, Out]) Process(ctx context.Context, in []stream.Record[K, keyed[V, TK]], out *stream.Output[K, Out]) error {
	return j.process(ctx, in, out)
}

func (j *joiner[K, V, TK, TV, Out]) process(ctx context.Context, in []stream.Record[K, keyed[V, TK]], out output[K, Out]) error {
	found, err := j.lookUp(in)
	if err != nil {
		return err
	}
	noMatch := j.cfg.reason(DropNoMatch)
	next := 0 // in found
	for i := range in {
		if err := ctx.Err(); err != nil {
			return err
		}
		r := &in[i]
		var row globaltable.Result[TK, TV]
		if r.Value.ok {
			row = found[next]
			next++
		}
		if row.Err == nil && !row.Found && !j.cfg.left {
			out.Drop(i, noMatch)
			continue
		}
		v, err := j.call(r, &row)
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

// lookUp returns the rows of the records that have a key, in their order.
func (j *joiner[K, V, TK, TV, Out]) lookUp(in []stream.Record[K, keyed[V, TK]]) ([]globaltable.Result[TK, TV], error) {
	keys := make([]TK, 0, len(in))
	for i := range in {
		if v := &in[i].Value; v.ok {
			keys = append(keys, v.key)
		}
	}
	if len(keys) == 0 {
		return nil, nil
	}
	found, err := j.table.GetMany(keys)
	if err != nil {
		return nil, waitOrEnd(err)
	}
	return found, nil
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
