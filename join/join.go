package join

import (
	"errors"
	"fmt"

	"github.com/globaltable/enrich/globaltable"
	"github.com/globaltable/enrich/stream"
)

// Inner joins each record of a stream with the row of the table that key names,
// and hands on what join makes of the two. Records without such a row have no
// output.
//
// key returns the key of the row, or false if the record has none: the record
// is dropped then, for the reason [DropNoKey]. A record whose key has no row is
// dropped for the reason [DropNoMatch], one whose value is null for
// [DropNullValue]; key is not asked about that. key is called once for each
// record, also if looking it up has to be tried again.
//
// join receives the record and the row's entry: its key, value, timestamp,
// partition and offset. The entry's value may be shared with other records and
// other readers: it is read only. The output has the record's key (null, if that
// is null), timestamp and headers, and what join returns as its value.
//
// Both functions are called in order within a partition, and for several
// partitions at once. They should be quick: a stop waits for the records of the
// poll in hand. An error of join, a panic of either, and a row that cannot be
// looked up (a [*globaltable.KeyError] or a [*globaltable.DecodeError]) go to
// the policy set by stream.OnBadRecord, for that record alone, at stage "join"
// or what [Name] says. An error marked by codec.Retryable makes the partition
// wait.
//
// stream.Run waits until the table is ready before it reads anything, and ends
// with the table's error if the table fails or is closed. It does not run the
// table: [globaltable.Table.Run] has to be called besides.
func Inner[K, V, TK, TV, Out any](
	s *stream.Stream[K, V],
	t *globaltable.Table[TK, TV],
	key func(stream.Record[K, V]) (TK, bool),
	join func(stream.Record[K, V], globaltable.Entry[TK, TV]) (Out, error),
	opts ...Opt,
) *stream.Stream[K, Out] {
	return tableJoin(s, t, false, key, join, opts)
}

// Left is [Inner] for which every record with a value has an output: where there
// is no row, join receives an entry that has Found false. Its Key is the key
// that was looked up, or the zero value if key returned false. A row that is
// there and cannot be decoded is an error, as for Inner, and not a missing row.
func Left[K, V, TK, TV, Out any](
	s *stream.Stream[K, V],
	t *globaltable.Table[TK, TV],
	key func(stream.Record[K, V]) (TK, bool),
	join func(stream.Record[K, V], globaltable.Entry[TK, TV]) (Out, error),
	opts ...Opt,
) *stream.Stream[K, Out] {
	return tableJoin(s, t, true, key, join, opts)
}

func tableJoin[K, V, TK, TV, Out any](
	s *stream.Stream[K, V],
	t *globaltable.Table[TK, TV],
	left bool,
	key func(stream.Record[K, V]) (TK, bool),
	join func(stream.Record[K, V], globaltable.Entry[TK, TV]) (Out, error),
	opts []Opt,
) *stream.Stream[K, Out] {
	cfg := newConfig(left, opts)
	err := cfg.validate()
	bad := func(what string) { err = errors.Join(err, fmt.Errorf("join: %s needs %s", cfg.kind(), what)) }
	if s == nil {
		bad("a stream")
	}
	if t == nil {
		bad("a table")
	}
	if key == nil {
		bad("a key function")
	}
	if join == nil {
		bad("a join function")
	}
	if err != nil {
		return stream.Invalid[K, V, K, Out](s, err)
	}
	return build(s, cfg, lookup[TK, TV](t), key, join, t)
}

// build makes the two stages of a join. The key function has a stage of its own,
// since a stage is what is tried again.
func build[K, V, TK, TV, Out any](
	s *stream.Stream[K, V],
	cfg config,
	table lookup[TK, TV],
	key func(stream.Record[K, V]) (TK, bool),
	join func(stream.Record[K, V], globaltable.Entry[TK, TV]) (Out, error),
	deps ...stream.Dependency,
) *stream.Stream[K, Out] {
	mapped := stream.Process(s, cfg.stage(), stream.Processor[K, V, K, keyed[V, TK]](&mapper[K, V, TK]{cfg: cfg, key: key}))
	return stream.Process(mapped, cfg.stage(), stream.Processor[K, keyed[V, TK], K, Out](&joiner[K, V, TK, TV, Out]{cfg: cfg, table: table, join: join}), deps...)
}
