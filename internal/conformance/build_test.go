package conformance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/globaltable"
	"github.com/globaltable/enrich/internal/kafkatest"
	"github.com/globaltable/enrich/join"
	"github.com/globaltable/enrich/stream"
)

const readOnly = "A table, an entry and a snapshot have no methods that write: a program that calls one does not compile."

func contextRows() []row {
	const gpc = "GlobalProcessorContextImplTest."
	const none = "There is no processor context in which records are forwarded, punctuated or timed."
	rows := []row{
		{ID: "GPC01", Kafka: gpc + "shouldReturnGlobalOrNullStore", Verdict: other, Ours: "A key that is not there is no error, and a table is a variable.", Test: absentIsNoError, Red: missesAreFound()},
		{ID: "GPC02", Kafka: gpc + "shouldForwardToSingleChild", Verdict: skip, Ours: none},
		{ID: "GPC03", Kafka: gpc + "shouldFailToForwardUsingToParameter", Verdict: skip, Ours: none},
		{ID: "GPC04", Kafka: gpc + "shouldNotFailOnNoOpCommit", Verdict: skip, Ours: none},
		{ID: "GPC05", Kafka: gpc + "shouldNotAllowToSchedulePunctuations", Verdict: skip, Ours: none},
	}
	stores := []string{"KeyValue", "TimestampedKeyValue", "Window", "TimestampedWindow", "Session"}
	for i, what := range []string{"Init", "Close"} {
		for k, s := range stores {
			rows = append(rows, row{
				ID: fmt.Sprintf("GPC%02d", 6+i*len(stores)+k), Kafka: gpc + "shouldNotAllow" + what + "For" + s + "Store", Verdict: other,
				Ours: "The functions of joins and transforms are given entries, which cannot open, run or close a table.",
				Test: userCodeGetsEntries, TypeLevel: "the functions' types have no table in them",
			})
		}
	}
	rows = append(rows, row{ID: "GPC16", Kafka: gpc + "shouldThrowOnCurrentStreamTime", Verdict: skip, Ours: none})
	for i, s := range stores {
		rows = append(rows, row{
			ID: fmt.Sprintf("PC%d", i+1), Kafka: "ProcessorContextImplTest.global" + s + "StoreShouldBeReadOnly", Verdict: match,
			Ours: "Tables, snapshots and entries can be read, and have no method that writes.", Test: nothingWrites, TypeLevel: readOnly,
		})
	}
	return rows
}

func absentIsNoError(t *testing.T) {
	w := fake(t, 1)
	w.put("a=1", "gone=1", "gone")
	r := w.ready(memory())
	for _, key := range []string{"gone", "never there", ""} {
		v, ok, err := r.Get(key)
		require.NoError(t, err)
		require.False(t, ok)
		require.Empty(t, v)
		e, ok, err := r.GetEntry(key)
		require.NoError(t, err)
		require.False(t, ok)
		require.Equal(t, entry{Key: key}, e)
	}
	w.holds(r)
}

func methods(v any) (names []string) {
	typ := reflect.TypeOf(v)
	for m := range typ.Methods() {
		names = append(names, m.Name)
	}
	return names
}

// What user code is given has no table in it.
func userCodeGetsEntries(t *testing.T) {
	require.Empty(t, methods(entry{}), "an entry is data")
	require.Empty(t, methods(&entry{}))
	typ := reflect.TypeFor[entry]()
	for i := range typ.NumField() {
		require.NotContains(t, typ.Field(i).Type.String(), "Table", typ.Field(i).Name)
	}
	for _, fn := range []any{join.Inner[string, string, string, string, string], join.Left[string, string, string, string, string]} {
		joiner := reflect.TypeOf(fn).In(3)
		require.Equal(t, []string{reflect.TypeFor[reading]().String(), reflect.TypeFor[entry]().String()}, []string{joiner.In(0).String(), joiner.In(1).String()})
	}
	// To close a snapshot closes nothing else.
	w := fake(t, 1)
	w.put("a=1")
	r := w.ready(memory())
	s, err := r.Snapshot()
	require.NoError(t, err)
	s.Close()
	s.Close()
	w.holds(r)
}

// All methods that there are, so that one which is new is looked at.
func nothingWrites(t *testing.T) {
	require.Equal(t, []string{
		"AcceptShrink", "AppendMany", "Close", "Get", "GetEntry", "GetMany", "Lag", "Name", "Positions", "Ready",
		"Revision", "Run", "Snapshot", "Stats", "Status", "Topic", "WaitFor", "WaitReady",
	}, methods(&table{}))
	require.Equal(t, []string{"All", "Close", "Get", "GetEntry", "Positions", "Prefix", "Range"}, methods(&globaltable.Snapshot[string, string]{}))
	// And reads pass.
	w := fake(t, 1)
	w.put("a=1")
	w.holds(w.ready(memory()))
}

func queryRows() []row {
	const gp = "GlobalStateStoreProviderTest."
	const md = "Every worker has all rows: nobody asks another host."
	return []row{
		{ID: "GP1", Kafka: gp + "shouldReturnSingleItemListIfStoreExists", Verdict: other, Ours: "A table that is ready answers.", Test: allTablesBecomeReady, Red: neverServed()},
		{ID: "GP2", Kafka: gp + "shouldReturnEmptyItemListIfStoreDoesntExist", Verdict: other, Ours: "What is not there is found false, and no error.", Test: absentIsNoError, Red: missesAreFound()},
		{ID: "GP3", Kafka: gp + "shouldThrowExceptionIfStoreIsntOpen", Verdict: other, Ours: "A closed table returns ErrClosed, also for rows that it had kept in memory.", Test: closedTablesSaySo, Red: closedAnswersFromMemory()},
		{ID: "GP4", Kafka: gp + "shouldReturnKeyValueStore", Verdict: other, Ours: "Get gives the value alone.", Test: viewsOfARow, Red: valuesAreChanged()},
		{ID: "GP5", Kafka: gp + "shouldReturnTimestampedKeyValueStore", Verdict: other, Ours: "GetEntry gives the value with its timestamp.", Test: viewsOfARow, Red: timesAreLost()},
		{ID: "GP6", Kafka: gp + "shouldNotReturnKeyValueStoreAsTimestampedStore", Verdict: other, Ours: "There is one kind of table: each row has a timestamp, never a made-up one.", Test: viewsOfARow, Red: timesAreLost()},
		{ID: "GP7", Kafka: gp + "shouldReturnTimestampedKeyValueStoreAsKeyValueStore", Verdict: other, Ours: "Who needs no timestamp does not see it.", Test: viewsOfARow, Red: valuesAreChanged()},
		{ID: "GP8", Kafka: gp + "shouldReturnWindowStore", Verdict: other, Ours: "There are no window stores: keys that have a time in them are read in the time's order, by Range.", Test: windowsAreRanges, Red: rangesAreReversed()},
		{ID: "GP9", Kafka: gp + "shouldNotReturnWindowStoreAsTimestampedStore", Verdict: other, Ours: "The time of a window is in its key, that of its record in the entry.", Test: windowsAreRanges, Red: timesAreLost()},
		{ID: "GP10", Kafka: gp + "shouldReturnTimestampedWindowStoreAsWindowStore", Verdict: other, Ours: "The same rows, with or without their records' times.", Test: windowsAreRanges, Red: valuesAreChanged()},
		{ID: "GP11", Kafka: gp + "shouldReturnSessionStore", Verdict: other, Ours: "There are no session stores: the rows of one prefix are read by Prefix.", Test: sessionsArePrefixes, Red: prefixesAreStarts()},
		{ID: "QS1", Kafka: "QueryableStoreProviderTest.shouldFindGlobalStores", Verdict: match, Ours: "A table has its topic's name, which is what a stream that waits for it, and errors, call it.", Test: tablesHaveNames, Red: namesAreEmpty()},
		{ID: "MD1", Kafka: "StreamsMetadataStateTest.shouldHaveGlobalStoreInAllMetadata", Verdict: skip, Ours: md},
		{ID: "MD2", Kafka: "StreamsMetadataStateTest.shouldGetQueryMetadataForGlobalStoreWithKey", Verdict: skip, Ours: md},
		{ID: "MD3", Kafka: "StreamsMetadataStateTest.shouldGetQueryMetadataForGlobalStoreWithKeyAndPartitioner", Verdict: skip, Ours: md},
		{ID: "MD4", Kafka: "StreamsMetadataStateTest.shouldGetAnyHostForGlobalStoreByKeyIfMyHostUnknown", Verdict: skip, Ours: md},
		{ID: "MD5", Kafka: "StreamsMetadataStateTest.shouldGetAnyHostForGlobalStoreByKeyAndPartitionerIfMyHostUnknown", Verdict: skip, Ours: md},
	}
}

func closedTablesSaySo(t *testing.T) {
	w := fake(t, 1)
	w.put("a=1")
	r := w.ready(memory())
	for range 3 { // it is kept decoded
		_, ok, err := r.Get("a")
		require.NoError(t, err)
		require.True(t, ok)
	}
	require.NoError(t, r.Close())
	_, _, err := r.Get("a")
	require.ErrorIs(t, err, globaltable.ErrClosed)
	_, err = r.Snapshot()
	require.ErrorIs(t, err, globaltable.ErrClosed)
}

func viewsOfARow(t *testing.T) {
	w := fake(t, 1)
	w.broker.Produce(t, &kgo.Record{Topic: w.topic, Key: []byte("a"), Value: []byte("1"), Timestamp: second(5)})
	r := w.ready(memory())
	v, ok, err := r.Get("a")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "1", v)
	e, ok, err := r.GetEntry("a")
	require.NoError(t, err)
	require.True(t, ok)
	require.True(t, e.Timestamp.Equal(second(5)), "%v", e.Timestamp)
	require.Equal(t, "1", e.Value)
}

func windowsAreRanges(t *testing.T) {
	w := fake(t, 2)
	num := codec.Uint64()
	for i := range uint64(6) {
		key, err := num.Encode(nil, i*1000, codec.Meta{})
		require.NoError(t, err)
		w.broker.Produce(t, &kgo.Record{Topic: w.topic, Key: key, Value: fmt.Append(nil, i), Timestamp: second(int(i))})
	}
	tb, err := globaltable.Open(w.topic, num, codec.String(), w.opts(memory())...)
	require.NoError(t, err)
	runAny(t, tb)
	snap, err := tb.Snapshot()
	require.NoError(t, err)
	defer snap.Close()
	var got []string
	for e, err := range snap.Range(1000, 4000) {
		require.NoError(t, err)
		got = append(got, fmt.Sprintf("%d=%s", e.Key, e.Value))
		require.True(t, e.Timestamp.Equal(second(int(e.Key/1000))))
	}
	require.Equal(t, []string{"1000=1", "2000=2", "3000=3"}, got)
}

func sessionsArePrefixes(t *testing.T) {
	w := fake(t, 2)
	w.put("ann/1=a", "ann/2=b", "bob/1=c", "ann=d", "anna/1=e")
	r := w.ready(memory())
	snap, err := r.Snapshot()
	require.NoError(t, err)
	defer snap.Close()
	require.Equal(t, []string{"ann/1", "ann/2"}, keysOf(t, snap.Prefix([]byte("ann/"))))
}

func tablesHaveNames(t *testing.T) {
	w := fake(t, 1)
	r := w.ready(memory())
	require.Equal(t, w.topic, r.Topic())
	require.Equal(t, "table "+w.topic, r.Name())
	require.Equal(t, w.topic, r.Stats().Topic)
	var dep stream.Dependency = r.table
	require.Contains(t, dep.Name(), w.topic)
	require.NoError(t, r.Close())
	require.ErrorIs(t, dep.WaitReady(t.Context()), globaltable.ErrClosed)
}

func buildRows() []row {
	const tb, sb, ib, cf, ks = "InternalTopologyBuilderTest.", "StreamsBuilderTest.", "InternalStreamsBuilderTest.", "StreamsConfigTest.", "KafkaStreamsTest."
	const versioned, topology = "There are no versioned stores.", "There is no topology to describe."
	const ttd = "TopologyTestDriverTest."
	return []row{
		{ID: "TB1", Kafka: tb + "testAddGlobalStoreWithBadSupplier", Verdict: other, Ours: "One table is run once: to run it again is ErrRunTwice.", Test: nothingIsThereTwice, Red: change("globaltable/engine.go", "\tcase e.began:", "\tcase e.began && false:")},
		{ID: "TB2", Kafka: tb + "testPatternSourceTopicsWithGlobalTopics", Verdict: other, Ours: "A stream's group reads the topics of its sources, and never a table's.", Test: tablesTopicsAreNotTheGroups, Red: groupReadsEverything()},
		{ID: "TB3", Kafka: tb + "testNameSourceTopicsWithGlobalTopics", Verdict: other, Ours: "The same: its offsets and assignments name none.", Test: tablesTopicsAreNotTheGroups, Red: groupReadsEverything()},
		{ID: "TB4", Kafka: tb + "shouldNotAllowToAddStoresWithSameNameWhenFirstStoreIsGlobal", Verdict: other, Ours: "A directory that a table has open is refused to the next.", Test: nothingIsThereTwice, Red: locksAreNotTold()},
		{ID: "TB5", Kafka: tb + "shouldNotAllowToAddStoresWithSameNameWhenSecondStoreIsGlobal", Verdict: other, Ours: "In whatever order they are opened.", Test: directoriesAreLocked, Red: locksAreNotTold()},
		{ID: "TB6", Kafka: tb + "shouldNotAllowToAddGlobalStoresWithSameName", Verdict: other, Ours: "A directory of another topic's table is refused.", Test: foreignTablesAreRefused, Red: anyTopicFits()},
		{ID: "TB7", Kafka: tb + "shouldNotAllowToAddGlobalStore… (source name equals processor name)", Verdict: other, Ours: "A join that is named has to have a name; what it drops and fails is under it.", Test: joinsHaveNames, Red: stagesHaveNoName()},
		{ID: "TB8", Kafka: tb + "shouldConnectGlobalStateStoreToInputTopic", Verdict: other, Ours: "A table holds what the topic has that it was opened with.", Test: recordsGoToTheirTable(0), Red: nothingIsPut()},
		{ID: "SB1", Kafka: sb + "shouldAddGlobalStore", Verdict: other, Ours: "What is written to the topic is read from the table.", Test: partitionsMove(0), Red: nothingIsPut()},
		{ID: "SB2", Kafka: sb + "shouldUseSerdesDefinedInMaterializedToConsumeGlobalTable", Verdict: other, Ours: "The table's codecs decode keys and values, and are told topic and half.", Test: codecsAreUsed, Red: codecsAreToldTheWrongHalf()},
		{ID: "SB3", Kafka: sb + "shouldThrowOnVersionedStoreSupplierForGlobalTable", Verdict: skip, Ours: versioned},
		{ID: "SB4", Kafka: sb + "shouldUseSpecifiedNameForGlobalTableSourceProcessor", Verdict: other, Ours: "A table is called after its topic, for streams that wait for it and in errors.", Test: tablesHaveNames, Red: namesAreEmpty()},
		{ID: "SB5", Kafka: sb + "shouldUseSpecifiedName… of a join with a global table", Verdict: other, Ours: "join.Name is the stage of a join's errors, and what its drops are counted under.", Test: joinsHaveNames, Red: stagesHaveNoName()},
		{ID: "SB6", Kafka: sb + "shouldUseSpecifiedName… of a left join with a global table", Verdict: other, Ours: "The same for a left join.", Test: joinsHaveNames, Red: stagesHaveNoName()},
		{ID: "IB1", Kafka: ib + "shouldBuildGlobalTableWithNonQueryableStoreName", Verdict: other, Ours: "A table that is only joined is read by its join.", Test: everyStreamSeesEveryTable, Red: neverServed()},
		{ID: "IB2", Kafka: ib + "shouldBuildGlobalTableWithQueryaIbleStoreName", Verdict: other, Ours: "Every table can be queried, whatever else reads it.", Test: queriesAreAnswered, Red: rangesAreReversed()},
		{ID: "IB3", Kafka: ib + "shouldBuildSimpleGlobalTableTopology", Verdict: other, Ours: "A table runs without a stream.", Test: aTableAloneIsReady, Red: readyIsNotPublished()},
		{ID: "IB4", Kafka: ib + "shouldThrowOnVersionedStoreSupplierForGlobalTable", Verdict: skip, Ours: versioned},
		{ID: "IB5", Kafka: ib + "shouldBuildGlobalTopologyWithAllGlobalTables", Verdict: other, Ours: "A process has as many tables as it opens; each runs for itself.", Test: allTablesBecomeReady, Red: neverServed()},
		{ID: "IB6", Kafka: ib + "shouldAddGlobalTablesToEachGroup", Verdict: other, Ours: "Every stream may join every table, several in one chain too.", Test: everyStreamSeesEveryTable, Red: neverServed()},
		{ID: "TP1", Kafka: "TopologyTest: source name equals processor name", Verdict: skip, Ours: topology},
		{ID: "TP2", Kafka: "TopologyTest: description of one global store", Verdict: skip, Ours: topology},
		{ID: "TP3", Kafka: "TopologyTest: description of two global stores", Verdict: skip, Ours: topology},
		{ID: "CF1", Kafka: cf + "testGetGlobalConsumerConfigs", Verdict: other, Ours: "A table has no group, even if the user's kgo options name one.", Test: tablesHaveNoGroup, Red: rolesAreKept()},
		{ID: "CF2", Kafka: cf + "shouldSupportPrefixedGlobalConsumerConfigs", Verdict: other, Ours: "kgo options are given to one table, and add up over several calls of Kafka.", Test: optionsAddUp, Red: change("globaltable/options.go", "c.kafka = append(c.kafka, opts...)", "c.kafka = opts")},
		{ID: "CF3", Kafka: cf + "testGetGlobalConsumerConfigsWithGlobalConsumerOverridenPrefix", Verdict: other, Ours: "Of two kgo options that set the same thing the later one counts.", Test: laterOptionsCount, Red: change("globaltable/options.go", "c.kafka = append(c.kafka, opts...)", "c.kafka = append(append([]kgo.Opt{}, opts...), c.kafka...)")},
		{ID: "CF4", Kafka: cf + "shouldBeSupportNonPrefixedGlobalConsumerConfigs", Verdict: other, Ours: "What the table needs overrules them: Brokers counts, and not kgo.SeedBrokers.", Test: brokersOverrule, Red: change("globaltable/run.go", "append(slices.Clone(e.cfg.kafka), kgo.SeedBrokers(e.cfg.brokers...))", "slices.Concat([]kgo.Opt{kgo.SeedBrokers(e.cfg.brokers...)}, e.cfg.kafka)")},
		{ID: "CF5", Kafka: cf + "auto-commit is forced off", Verdict: other, Ours: "A table commits nothing to Kafka, whatever the user's kgo options say.", Test: tablesHaveNoGroup, Red: rolesAreKept()},
		{ID: "CF6", Kafka: cf + "group.protocol is forced to classic", Verdict: other, Ours: "It joins no group, of any protocol.", Test: tablesHaveNoGroup, Red: rolesAreKept()},
		{ID: "CF7", Kafka: cf + "shouldSupportPrefixedPropertiesThatAreNotPartOfGlobalConsumerConfig", Verdict: other, Ours: "No topic is created, even with kgo.AllowAutoTopicCreation.", Test: topicsAreNotCreated, Red: change("internal/feed/topic.go", "req := kmsg.NewPtrMetadataRequest()", "req := kmsg.NewPtrMetadataRequest()\n\treq.AllowAutoTopicCreation = true")},
		{ID: "KS1", Kafka: ks + "testStateGlobalThreadClose", Verdict: better, Ours: "A table that fails says so to its readers, with what it failed of, and ends the streams that join it; the process, and other tables, go on.", Test: failuresAreTold, Red: failedTablesAnswer()},
		{ID: "KS2", Kafka: ks + "shouldNotSetGlobalRestoreListenerAfterStarting", Verdict: match, Ours: "Hooks are options of Open: there is nothing that sets one later.", Test: hooksAreOptions, TypeLevel: "a table has no method that takes a hook"},
		{ID: "KS3", Kafka: ks + "shouldNotCreateStreamThreadsForGlobalOnlyTopology", Verdict: skip, Ours: "There are no stream threads."},
		{ID: "KS4", Kafka: ks + "shouldTransitToRunningWithGlobalOnlyTopology", Verdict: match, Ours: "A table alone becomes ready.", Test: aTableAloneIsReady, Red: readyIsNotPublished()},
		{ID: "KS5", Kafka: ks + "shouldThrowTimeoutExceptionWhenGlobalConsumerFutureDoesNotComplete", Verdict: skip, Ours: "There are no telemetry ids of the client."},
		{ID: "TTD1", Kafka: ttd + "shouldPopulateGlobalStore", Verdict: later, Ours: "Not yet: with the test kit."},
		{ID: "TTD2", Kafka: ttd + "shouldFeedStoreFromGlobalKTable", Verdict: later, Ours: "Not yet: with the test kit."},
		{ID: "TTD3", Kafka: ttd + "shouldCaptureGlobalTopicNameIfWrittenInto", Verdict: later, Ours: "Not yet: with the test kit."},
		{ID: "TTD4", Kafka: ttd + "shouldApplyGlobalUpdatesCorrectlyInRecursiveTopologies", Verdict: later, Ours: "Not yet: with the test kit."},
	}
}

// assigned keeps what a group gives to a worker.
type assigned struct{ topics chan string }

// OnAssigned implements [stream.HookAssigned].
func (a *assigned) OnAssigned(partitions map[string][]int32) {
	for topic := range partitions {
		a.topics <- topic
	}
}

func tablesTopicsAreNotTheGroups(t *testing.T) {
	j := newJoin(t, 1, 1)
	j.rows.put("a=1")
	j.reads("a")
	tb := j.table()
	a := &assigned{topics: make(chan string, 100)}
	j.mustRun(join.Inner(j.source(), tb.table, byValue, show), stream.Hooks(a))
	close(a.topics)
	for topic := range a.topics {
		require.Equal(t, j.in.topic, topic)
	}
	offsets, err := j.in.broker.Admin(t).FetchOffsets(ctxOf(t), j.group)
	require.NoError(t, err)
	require.NotEmpty(t, offsets)
	offsets.Each(func(o kadm.OffsetResponse) { require.Equal(t, j.in.topic, o.Topic) })
}

func joinsHaveNames(t *testing.T) {
	eachKind(func(t *testing.T, kind string) {
		j := newJoin(t, 1, 1)
		j.rows.put("a=1")
		j.reads("a", "none")
		j.read("k", nil, second(9))
		tb := j.table().table
		failing := func(r reading, e entry) (string, error) {
			if r.Value == "a" {
				return "", errors.New("confused")
			}
			return show(r, e)
		}
		stats := j.mustRun(kinds[kind](j.source(), tb, byValue, failing, join.Name("rooms")), stream.OnBadRecord(stream.Skip))
		want := map[string]int64{"rooms/" + join.DropNullValue: 1}
		if kind == "inner" {
			want["rooms/"+join.DropNoMatch] = 1
		}
		require.Equal(t, want, stats.Dropped)
		j.group += "-again"
		_, err := j.runToEnd(kinds[kind](j.source(), tb, byValue, failing, join.Name("rooms")))
		var bad *stream.RecordError
		require.ErrorAs(t, err, &bad)
		require.Equal(t, "rooms", bad.Stage)
		_, err = stream.New(j.sink(kinds[kind](j.source(), tb, byValue, show, join.Name(""))), j.opts()...)
		require.ErrorContains(t, err, "needs a name")
	})(t)
}

// picky is a codec of texts that says what it was told.
type picky struct {
	codec.Codec[string]
	topic string
	part  codec.Part
}

// Decode implements codec.Codec.
func (p picky) Decode(b []byte, m codec.Meta) (string, error) {
	if m.Topic != p.topic || m.Part != p.part {
		return "", fmt.Errorf("asked about the %s of %s", m.Part, m.Topic)
	}
	s, err := p.Codec.Decode(b, m)
	return p.part.String() + ":" + s, err
}

func codecsAreUsed(t *testing.T) {
	w := fake(t, 1)
	w.put("a=1", "b=2")
	tb, err := globaltable.Open(w.topic, codec.Codec[string](picky{codec.String(), w.topic, codec.Key}), codec.Codec[string](picky{codec.String(), w.topic, codec.Value}), w.opts(memory())...)
	require.NoError(t, err)
	runAny(t, tb)
	v, ok, err := tb.Get("a")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "value:1", v)
	rows, err := rowsOf(tb)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"key:a": "value:1", "key:b": "value:2"}, rows)
}

func tablesHaveNoGroup(t *testing.T) {
	w := fake(t, 1)
	group := w.count(kmsg.JoinGroup, kmsg.SyncGroup, kmsg.Heartbeat, kmsg.OffsetCommit, kmsg.OffsetFetch, kmsg.ConsumerGroupHeartbeat, kmsg.FindCoordinator)
	w.put("a=1")
	r := w.ready(memory(), globaltable.Kafka(kgo.ConsumerGroup("mine"), kgo.ConsumeTopics(w.topic)))
	r.sees(w.put("b=2"))
	w.holds(r)
	r.stop()
	require.Zero(t, group.n.Load())
	groups, err := w.broker.Admin(t).ListGroups(ctxOf(t))
	require.NoError(t, err)
	require.Empty(t, groups)
}

// dials counts connections.
func dials(n *atomic.Int64) kgo.Opt {
	return kgo.Dialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
		n.Add(1)
		return new(net.Dialer).DialContext(ctx, network, addr)
	})
}

func optionsAddUp(t *testing.T) {
	w := fake(t, 1)
	var mine, others atomic.Int64
	w.ready(memory(), globaltable.Kafka(dials(&mine)), globaltable.Kafka(kgo.ClientID("one")))
	require.Positive(t, mine.Load())
	before := mine.Load()
	w.ready(memory(), globaltable.Kafka(dials(&others)))
	require.Positive(t, others.Load())
	require.Equal(t, before, mine.Load(), "another table has its own")
}

func laterOptionsCount(t *testing.T) {
	w := fake(t, 1)
	var first, last atomic.Int64
	w.ready(memory(), globaltable.Kafka(dials(&first)), globaltable.Kafka(dials(&last)))
	require.Zero(t, first.Load())
	require.Positive(t, last.Load())
}

func brokersOverrule(t *testing.T) {
	w := fake(t, 1)
	w.put("a=1")
	w.holds(w.ready(memory(), globaltable.Kafka(kgo.SeedBrokers(nowhere))))
}

func topicsAreNotCreated(t *testing.T) {
	w := newWorld(t, kafkatest.Fake(t, kfake.AllowAutoTopicCreation()), 1, kafkatest.Compacted())
	w.deleteTopic()
	asked := w.count(kmsg.Metadata)
	r := w.open(memory(), globaltable.Kafka(kgo.AllowAutoTopicCreation()))
	r.until("it was asked for", func() bool {
		return errors.Is(r.Status().Err, globaltable.ErrTopicAbsent) && asked.n.Load() > 3
	})
	topics, err := w.broker.Admin(t).ListTopics(ctxOf(t))
	require.NoError(t, err)
	require.NotContains(t, topics.Names(), w.topic)
}

func failuresAreTold(t *testing.T) {
	j := newJoin(t, 1, 1)
	well := j.rows.beside()
	j.rows.put("a=1")
	well.put("b=2")
	disk := &fullDisk{}
	tb, other := j.rows.ready(on(disk.on(newCrashable()), shortFlush())...), well.ready(memory())
	w := start(t, j.sink(join.Inner(j.source(), tb.table, byValue, show)), j.opts()...)
	j.reads("a")
	w.outputs(1)
	disk.full.Store(true)
	j.rows.put("a=2")
	var refused *globaltable.WriteError
	require.ErrorAs(t, tb.runErr(), &refused)
	_, _, err := tb.Get("a")
	var failed *globaltable.RunError
	require.ErrorAs(t, err, &failed)
	require.ErrorAs(t, err, &refused)
	require.Equal(t, globaltable.Failed, tb.Status().State)
	j.reads("a")
	require.ErrorAs(t, w.wait(), &failed, "the stream cannot go on without it")
	other.sees(well.put("b=3"))
	well.holds(other)
	_ = tb.Close() // its error is for another row
	disk.full.Store(false)
}

func hooksAreOptions(t *testing.T) {
	typ := reflect.TypeFor[*table]()
	for m := range typ.Methods() {
		for i := range m.Type.NumIn() {
			in := m.Type.In(i).String()
			require.False(t, slices.Contains([]string{"globaltable.Hook", "globaltable.Opt"}, in), m.Name)
		}
	}
	w := fake(t, 1)
	r := w.ready(memory())
	require.Equal(t, []string{"bootstrapped"}, r.events.list(func() []string { return r.events.readies }), "they are there from the beginning")
}
