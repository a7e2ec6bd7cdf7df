package stream

import "fmt"

// flushAt bounds what an operator that multiplies records collects before it
// hands them on.
const flushAt = 4096

// DropFiltered is the reason under which [Filter] counts what it removes.
const DropFiltered = "filtered"

// Map replaces each record by what fn returns.
//
// fn sees null values (NullValue is set) like any other record. [WithValue]
// and [WithKey] keep the rest of a record. fn is called in order within a
// partition, and for several partitions at once. An error or a panic goes to
// the policy set by [OnBadRecord], at stage "map".
func Map[K, V, K2, V2 any](s *Stream[K, V], fn func(Record[K, V]) (Record[K2, V2], error)) *Stream[K2, V2] {
	return chain(s, "map", fn == nil, func(r *Record[K, V], _ *partition, in *input, out *batch[K2, V2]) error {
		m, err := fn(*r)
		if err != nil {
			return err
		}
		inherit(&m, r)
		out.add(m, in)
		return nil
	})
}

// Filter keeps the records for which fn returns true. The others are counted
// as dropped, with the reason [DropFiltered].
//
// fn sees null values, and is called as [Map] says. Errors and panics are of
// stage "filter".
func Filter[K, V any](s *Stream[K, V], fn func(Record[K, V]) (bool, error)) *Stream[K, V] {
	return chain(s, "filter", fn == nil, func(r *Record[K, V], p *partition, in *input, out *batch[K, V]) error {
		keep, err := fn(*r)
		switch {
		case err != nil:
			return err
		case keep:
			out.add(*r, in)
		default:
			p.drop(in, DropFiltered)
			in.release()
		}
		return nil
	})
}

// FlatMap replaces each record by any number of records, in the order in which
// fn returns them. A record for which fn returns none is done.
//
// fn sees null values, and is called as [Map] says. Errors and panics are of
// stage "flatmap". The input's offset is committed only when all records made
// from it are acknowledged.
func FlatMap[K, V, K2, V2 any](s *Stream[K, V], fn func(Record[K, V]) ([]Record[K2, V2], error)) *Stream[K2, V2] {
	return chain(s, "flatmap", fn == nil, func(r *Record[K, V], _ *partition, in *input, out *batch[K2, V2]) error {
		many, err := fn(*r)
		if err != nil {
			return err
		}
		for i := range many {
			inherit(&many[i], r)
			in.retain()
			out.add(many[i], in)
		}
		in.release()
		return nil
	})
}

// chain appends an operator that works record by record. one takes its
// record's reference over when it returns nil.
func chain[K, V, K2, V2 any](s *Stream[K, V], stage string, noFn bool,
	one func(r *Record[K, V], p *partition, in *input, out *batch[K2, V2]) error,
) *Stream[K2, V2] {
	if s == nil || noFn {
		return &Stream[K2, V2]{plan: plan{err: fmt.Errorf("stream: %s needs a stream and a function", stage)}}
	}
	return &Stream[K2, V2]{plan: s.plan, open: func(p *partition, next handler[K2, V2]) rawHandler {
		out := new(batch[K2, V2])
		flush := func() error { return pass(out, next) }
		return s.open(p, func(b batch[K, V]) error {
			return p.each(stage, b.ins, func(i int) error {
				if len(out.recs) >= flushAt {
					if err := flush(); err != nil {
						return &notOwn{err}
					}
				}
				return one(&b.recs[i], p, b.ins[i], out)
			}, flush)
		})
	}}
}
