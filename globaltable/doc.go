// Package globaltable replicates a compacted Kafka topic, all partitions of it,
// into a local store, and answers lookups from there without a network hop.
//
//	devices, err := globaltable.Open("devices", codec.String(), codec.JSON[Device](),
//		globaltable.Brokers("localhost:9092"), globaltable.Dir("state/devices"))
//	...
//	go devices.Run(ctx)          // follows the topic until ctx ends
//	err = devices.WaitReady(ctx) // it has all that the topic held
//	d, ok, err := devices.Get("dev-17")
//
// Since every worker holds the whole table, a stream that is joined with it may
// have any number of partitions and any partitioner; see package join.
//
// # Lifecycle
//
//	Open ──Run──> starting ──> bootstrapping ──> ready <──> stale (brokers away, topic gone)
//	                 │               │             │
//	                 │               └──> verifying / rebuilding ──> ready
//	                 └── topic or brokers are not there: it waits, Status says for what
//
//	Run returns: stopped (ctx ended; it goes on answering) or failed (it does not)
//	Close:       closed
//
// What a table does with the rows it finds in its directory:
//
//	found                                                      done
//	nothing                                                    bootstrap from the log's start
//	rows of this topic                                         resume from their positions
//	another topic id or cluster id                             rebuild: TopicRecreated, ClusterChanged
//	the log ends below the position, or its epochs diverge     rebuild: LogTruncated
//	isolation or transform differ                              rebuild: IsolationChanged, TransformChanged
//	files that cannot be read                                  rebuild: StoreDamaged
//	away for longer than tombstones are kept                   verify: TombstonesExpired
//	the log starts above the position                          verify: BelowLogStart
//	the last time at the end lies in the future                verify: ClockMovedBack
//	another topic's table, foreign files, a newer format       refused by Open, untouched
//
// A rebuild writes a second generation beside the first and swaps when it is
// complete; a table that was ready answers from the first until then. A
// verification reads the log once more, beside following it, and deletes the
// rows whose record is not in it any more. At start neither a table that has to
// be rebuilt nor one that has to be verified is ready before that is done.
//
// # Guarantees
//
// Each names the tests that prove it.
//
//   - For a position p of each partition the rows are the fold of that
//     partition's visible records below p: put, or delete for a null value. Only
//     committed records are visible, unless [ReadUncommitted] is given.
//     (TestBootstrapThenFollow, TestBootstrapEnds, TestOpenTransactionAtTheEnd)
//   - Bootstrap ends behind any tail: transaction markers, aborted or open
//     transactions, records compacted away or deleted, an empty topic.
//     (TestBootstrapEnds)
//   - Rows and positions move in one atomic step. After kill -9 the store holds
//     an earlier moment, knows which, and goes on from there.
//     (TestKill9ResumesExactly, TestRestartResumes, TestStopInTheMiddleOfABootstrap)
//   - A key that was deleted does not come back, and one whose deletion was
//     missed goes. (TestDeletedWhileDownAndTombstoneCompactedAway, TestVerifyBesideUpdates)
//   - Rows of a topic that was deleted and created again never mix with the new
//     one's. (TestTopicRecreatedWhileDown, TestTopicRecreatedWhileRunning)
//   - Absent, not ready and failed are three different answers: ok=false, an
//     error that wraps [ErrNotReady], a [*RunError]. (TestAbsentIsNoError,
//     TestGetBeforeReadyIsNotAbsent, TestNotCompacted)
//   - After WaitFor(p) a read sees at least what lies before p; a position that
//     will never come is an error and no hang. (TestWaitForReadsYourOwnWrite,
//     TestWaitForWhatNeverComes, TestRecreatedTopicFailsItsWaiters)
//   - No reader sees a value older than a position it read before, nor a part of
//     a batch, also where rows are kept decoded. (TestReadersBesideEverything,
//     TestKeptRowsBesideUpdates, TestLoadAgainstInvalidate, TestOnChange)
//   - Rows that are far fewer do not take the place of the old ones by themselves:
//     see [ShrinkGuard]. (TestShrinkGuardKeepsTheOldRows, TestAcceptShrink)
//   - How old an answer may be is yours to say: [MaxStaleness], [AllowStale].
//     (TestMaxStaleness, TestMaxStalenessAfterTheRun,
//     TestAllowStaleAnswersWithoutBrokers)
//   - What is kept in memory is bounded by a [Budget], which tables can share.
//     (TestTablesShareABudget, TestRowCacheIsBounded)
//   - A lookup of a row that is kept decoded makes no garbage.
//     (TestHotLookupMakesNoGarbage)
//   - A record too large for the budget ends Run, and nothing behind it was
//     applied. (TestRowThatIsTooLarge)
//   - A write that the file system refuses ends Run; no position has moved past
//     it. (TestFullDiskEndsRunAndLosesNothing, TestRebuildMeetsAFullDisk)
//   - Cancelling Run's context ends it within a second, in bootstrap too.
//     (TestCancelEndsRunWithinASecond)
//   - Every record that does not become a row is counted, by reason.
//     (TestNullKeysAreDroppedAndCounted, TestTransformChangesFiltersAndRejects)
//   - What cannot be decoded is its reader's error, or no row, or the end of Run,
//     as [BadRecords] says, in bootstrap and live alike. What may be tried again is
//     never bad. (TestBadRecordsAreSkipped, TestBadRecordFailsRun,
//     TestBadRecordsWaitForWhatIsAway)
//
// # Memory and speed
//
// A row is decoded when it is first read and then kept, as far as the budget lets
// it, until its key changes; so is the knowledge that a key has no row. Reading a
// kept row takes no lock. Other rows are read from the store: the files' filters
// answer for most keys that have none. [Table.GetMany] reads what is not kept on
// all cores at once. After a bulk load the store merges what was written, which
// takes some seconds for some million rows; [Stats] says so in Merging. Lookups of
// rows that are not kept take several times as long meanwhile, and the files two to
// three times the space.
//
// # Caveats
//
//   - Kafka orders records within a partition only. A key that has records in two
//     partitions has the value of the record that was applied last;
//     [Stats].SpreadKeys counts such keys, in a sample.
//   - There is no order in time between two topics: a stream's record may be read
//     before or after a change of the table that was made at the same time.
//   - Rows and values may be shared between readers: do not change what a decoded
//     value refers to.
//   - A topic whose delete.retention.ms is below 10 s forgets deletions faster than
//     a reader can be sure to see them; [Stats] says so in TombstonesUnprovable.
//   - The position that [After] returns names no topic id. Where a topic was deleted
//     and created again a moment ago, and the table has not seen that yet, the old
//     rows may meet the position of a new record.
//   - A key is its encoded bytes: use a codec that has one encoding for one key.
//   - A [Snapshot] keeps the store from freeing space until it is closed.
package globaltable
