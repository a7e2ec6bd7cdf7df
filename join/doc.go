// Package join joins streams with tables: each record of a stream meets the row
// of a replicated table that it names, in the same process.
//
//	enriched := join.Inner(readings, devices,
//		func(r stream.Record[string, Reading]) (string, bool) { return r.Value.Device, r.Value.Device != "" },
//		func(r stream.Record[string, Reading], d globaltable.Entry[string, Device]) (Enriched, error) {
//			return Enriched{Room: d.Value.Room, Celsius: r.Value.Celsius}, nil
//		})
//
// The table is whole on every worker, so the two topics need not have the same
// keys, the same number of partitions or the same partitioner. A join is an
// operator like any other: its result can be mapped, filtered, written, and
// joined again.
//
// # Rules
//
// [Inner] and [Left] differ in what has no match:
//
//	record                               Inner                    Left
//	value null                           dropped, "null-value"    dropped, "null-value"
//	key null, key function has a key     joined                   joined
//	key function returns false           dropped, "no-key"        joined with Found false
//	no row of that key                   dropped, "no-match"      joined with Found false
//	row or key with a codec's error      bad record               bad record
//	table not ready                      waits                    waits
//	table failed or closed               ends stream.Run          ends stream.Run
//
// They are those of joins with a global table in Kafka Streams 4.1 and later.
// Every drop is counted, in the Dropped of stream.Stats. What becomes of a bad
// record is for stream.OnBadRecord to say; its stage is "join", or what [Name]
// says.
//
// # Guarantees
//
// Each names the tests that prove it.
//
//   - A record meets its row whatever the numbers of partitions and the
//     partitioners are. (TestJ1_PartitionsNeedNotMatch)
//   - A miss is counted or seen, and only a row that is not there is one: not a
//     table that is not ready, not a row that cannot be decoded.
//     (TestJ4_MatchFound, TestNullRules, TestNotReadyIsNeverAMiss,
//     TestErrorsOfOneRecordFollowThePolicy)
//   - Nothing is read before every joined table is ready, and nothing is committed
//     past a record that a failed table could not be asked about.
//     (TestStreamWaitsForEveryTable, TestTableThatFailsAtItsStartEndsTheStream,
//     TestTableThatFailsInMidStreamEndsTheStream)
//   - The key function is called once for each record that a worker reads, and the
//     join function is not called again for a record whose output went on.
//     (TestNotReadyIsNeverAMiss, TestRetryableJoinErrorsWait)
//   - Errors and panics of either function, and of a codec an error, concern their
//     own record; one marked by codec.Retryable makes the partition wait at that
//     record. (TestErrorsOfOneRecordFollowThePolicy, TestRetryableCodecErrorsWait,
//     TestRetryableJoinErrorsWait)
//   - The output has the key, the timestamp and the headers of the stream's
//     record, and the order of its partition. (TestOutputKeepsWhatIsTheStreams,
//     TestOrderWithinAPartition, TestJ8J9_OutOfOrderTimestampsAreKept)
//   - A change of the table makes no output; records that come later meet the new
//     row. (TestJ3_TableUpdatesEmitNothing, TestJ5_DeletedRowsStopMatching)
//   - The records of one poll are looked up at once, by the thousand, and each row
//     that these name is read and decoded once. A key that many of them have is
//     looked up once if it is a string, and not again by the next polls while the
//     table rests. (TestOneLookupForAPollAndOneForAKey,
//     TestRowsAreKeptWhileTheTableRests)
//
// # Caveats
//
//   - Stream and table have no order in time. A record meets the row as it is when
//     it is looked up: at least as new as the table's position then, and neither as
//     of the record's timestamp nor the same when the record is read again. To see
//     a row that was just written, wait for it with [globaltable.Table.WaitFor]
//     before the record is produced.
//   - Records of one poll need not see the table at one position.
//   - The row's value may be shared with other records and readers. Do not change
//     what it refers to.
//   - A stop waits for the records of the poll in hand, unless it takes longer than
//     stream.ShutdownTimeout: a slow join function wants a smaller
//     stream.MaxInFlight.
//   - A table that fails is noticed when the next record is looked up in it. One
//     whose Run was ended by its context goes on answering with what it has: end
//     the stream first, or both by one context, and close the table after the
//     stream.
package join
