package join

import (
	"context"
	"fmt"
	"runtime/debug"

	"github.com/globaltable/enrich/stream"
)

// keyed is a stream's value with the key of the row that it is joined with.
type keyed[V, TK any] struct {
	value V
	key   TK
	ok    bool // there is a key
}

// output is what *stream.Output does.
type output[K, V any] interface {
	Emit(i int, r stream.Record[K, V])
	Drop(i int, reason string)
	Fail(i int, err error)
}

// mapper is the first stage of a join: it finds the keys. Nothing in it is ever
// tried again, so that the key function sees each record once.
type mapper[K, V, TK any] struct {
	cfg config
	key func(stream.Record[K, V]) (TK, bool)
}

// Process implements stream.Processor.
func (m *mapper[K, V, TK]) Process(ctx context.Context, in []stream.Record[K, V], out *stream.Output[K, keyed[V, TK]]) error {
	return m.process(ctx, in, out)
}

func (m *mapper[K, V, TK]) process(ctx context.Context, in []stream.Record[K, V], out output[K, keyed[V, TK]]) error {
	nullValue, noKey := m.cfg.reason(DropNullValue), m.cfg.reason(DropNoKey)
	for i := range in {
		if err := ctx.Err(); err != nil {
			return err
		}
		r := &in[i]
		if r.NullValue {
			out.Drop(i, nullValue)
			continue
		}
		key, ok, err := m.call(r)
		switch {
		case err != nil:
			out.Fail(i, err)
		case !ok && !m.cfg.left:
			out.Drop(i, noKey)
		default:
			out.Emit(i, stream.WithValue(*r, keyed[V, TK]{value: r.Value, key: key, ok: ok}))
		}
	}
	return nil
}

func (m *mapper[K, V, TK]) call(r *stream.Record[K, V]) (key TK, ok bool, err error) {
	defer recovered(m.cfg.stage(), &err)
	key, ok = m.key(*r)
	return key, ok, nil
}

// recovered, when deferred, turns a panic of a user's function into an error of
// the one record that it was called for.
func recovered(stage string, err *error) {
	if v := recover(); v != nil {
		*err = &stream.PanicError{Stage: stage, Value: fmt.Sprint(v), Stack: debug.Stack()}
	}
}
