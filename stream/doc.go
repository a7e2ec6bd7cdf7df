// Package stream reads a Kafka topic as typed records, passes them through
// functions, and writes what comes out to another topic or to wherever a
// function puts it: a consumer with partitions, order, outputs, commits and a
// policy for errors.
//
//	readings := stream.From("readings", codec.String(), codec.JSON[Reading]())
//	hot := stream.Filter(readings, func(r stream.Record[string, Reading]) (bool, error) {
//		return r.Value.Celsius > 30, nil
//	})
//	err := stream.Run(ctx, stream.To(hot, "hot", codec.String(), codec.JSON[Reading]()),
//		stream.Brokers("localhost:9092"), stream.Group("heat-watch"))
//
// # Lifecycle
//
// A [Stream] is a description; a [Sink] ends it; a [Worker], made by [New] or
// by [Run], is one member of a consumer group that executes it. A worker runs
// once:
//
//	new ──Run──> waiting for dependencies ──> waiting for topics ──> running ──> stopping ──> stopped
//	                       │                          │                              │
//	                       └───── ctx ends, or an error that waiting does not cure ──┘
//
// Each assigned partition has a goroutine and a bounded queue of its own:
//
//	poll ──> queue of partition 0 ──> operators ──> produce ──┐ acknowledged
//	    └──> queue of partition 1 ──> operators ──> produce ──┤
//	                                                          v
//	              commit, per partition, below the first record that is not done
//
// # Guarantees
//
// Each names the tests that prove it. "At least once" holds if brokers keep what
// they have acknowledged.
//
//   - At least once. The offset committed for a partition is that of the first
//     record whose outputs are not all acknowledged, or that failed; what is after
//     it may be done, and is done again after a crash.
//     (TestCommitStaysBelowAnOutputThatIsHeldBack, TestKillWithAnOutputHeldBackLosesNothing,
//     TestKillAtRandomMomentsLosesNothing)
//   - A clean stop, and a rebalance between workers that are alive, repeat nothing.
//     (TestCleanStopRedoesNothing, TestTwoWorkersShareAStream, TestRevokeFinishesAndCommitsFirst)
//   - Order. Records of one partition pass every operator in order, one at a time;
//     outputs with one key stay in the order of their partition. Partitions work
//     in parallel, and one that waits does not hold the others up.
//     (TestOrderWithinAPartitionAndParallelPartitions, TestOutputsKeepTheInputsOrder,
//     TestRetryableErrorsHoldOnlyTheirPartition, TestInFlightIsBounded)
//   - Nothing is consumed, and the group is not joined, before every [Dependency]
//     is ready. (TestDependenciesHoldTheStream)
//   - Memory is bounded per partition: a slow output slows the input.
//     (TestInFlightIsBounded, TestFlatMapOfManyRecordsKeepsOrder)
//   - No record is skipped in silence. Bad records follow [OnBadRecord] and are
//     counted; drops are counted by reason; an offset that Kafka no longer has is a
//     [*DataLossError] and never a rewind. (TestBadRecordPolicies,
//     TestCommittedOffsetBelowTheLogIsDataLoss, TestCommittedOffsetAboveTheLogIsDataLoss,
//     TestTruncationSeenByItsEpochIsDataLoss, TestRecreatedTopicIsDataLoss)
//   - An error marked by codec.Retryable is never a bad record.
//     (TestRetryableErrorsHoldOnlyTheirPartition)
//   - A null key or value stays null, an empty one stays empty; timestamp and
//     headers are kept. (TestOutputKeepsNullsTimestampAndHeaders)
//   - Only committed records are read, unless [UncommittedReads] says otherwise, and
//     [StopAtEnd] ends behind any tail: transaction markers, aborted transactions,
//     records that were compacted away or deleted. (TestStopAtEnd,
//     TestStopAtEndDoesNotWaitForAnOpenTransaction, TestStopAtEndPassesAnEmptiedTail)
//   - A stop ends with the record in hand and within [ShutdownTimeout]; brokers that
//     are away neither end a run nor keep it from stopping. (TestStopWaitsForOneRecordOnly,
//     TestStopGivesUpAtTheTimeout, TestUnreachableBrokersDoNotDelayAStop)
//
// # Caveats
//
//   - At least once means that a crash, or a stop that times out, repeats records.
//     Make what a [ForEach] function does safe to repeat.
//   - If an input makes several outputs and fails in between under [Fail], the
//     outputs made already are written, and written again by the next run.
//   - A function that ignores its context for longer than [ShutdownTimeout] keeps
//     its goroutine after Run has returned.
//   - [MaxInFlight] counts records. Very large ones need a smaller bound, and
//     smaller fetches: [FetchBytes]. A compressed batch counts as it is sent.
//   - Small values that codec.String and codec.Bytes decode are cut from blocks of
//     1 KiB: who keeps one keeps its block. Keys have memory of their own.
//   - A topic that was deleted and created again while no worker ran cannot be told
//     from the old one if the group's offsets survived and are within the new log.
//   - Kafka refuses outputs by the batch: the record that a [*ProduceError] names may
//     be a neighbour of the one that is too large.
//   - What [StopAtEnd] reaches is the end as it was when Run started; partitions added
//     since are not waited for.
package stream
