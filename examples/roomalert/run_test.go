package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/internal/kafkatest"
)

// topics makes topics of a test's own, and returns the flags that name them and
// the broker.
func topics(t *testing.T, b *kafkatest.Broker, devices, readings int32) (flags []string, devicesTopic, readingsTopic string) {
	t.Helper()
	devicesTopic = b.CreateTopic(t, "devices", devices, 1, kafkatest.Compacted())
	readingsTopic = b.CreateTopic(t, "readings", readings, 1, forever())
	return []string{"-brokers", strings.Join(b.Addrs(), ","), "-devices-topic", devicesTopic, "-readings-topic", readingsTopic}, devicesTopic, readingsTopic
}

func with(flags []string, more ...string) []string { return slices.Concat(flags, more) }

func TestDemo(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	want := example(t)
	r := runProgram(t.Context())
	require.Equal(t, exitDone, r.code, r.stderr)
	require.Equal(t, want.last(), r.last())
	require.Len(t, r.subjects(), 2*len(want.episodes))
	require.Contains(t, r.stderr, "the broker runs in this process, on 127.0.0.1:")
	left, err := os.ReadDir(temp)
	require.NoError(t, err)
	require.Empty(t, left, "everything temporary is removed")
}

func TestEndToEnd(t *testing.T) {
	want := example(t)
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		for _, partitions := range []int32{1, 2, 5, 7} {
			t.Run(fmt.Sprint(partitions, " partitions"), func(t *testing.T) {
				server := startSMTPServer(t)
				flags, _, _ := topics(t, b, 3, partitions)
				flags = with(flags, with(exampleFiles(), "-smtp", server.addr)...)
				r := runProgram(t.Context(), flags...)
				require.Equal(t, exitDone, r.code, r.stderr)
				require.Equal(t, want.last(), r.last())
				require.Equal(t, want.ids(), slices.Sorted(slices.Values(server.ids())))

				// Another run, which knows nothing of the first, finds the readings
				// loaded.
				r = runProgram(t.Context(), flags...)
				require.Equal(t, exitDone, r.code, r.stderr)
				require.Equal(t, want.last(), r.last())
			})
		}
	})
}

func TestTopicsAreMadeAndGroupsForgotten(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		devices, readings := kafkatest.Unique("devices"), kafkatest.Unique("readings")
		adm := b.Admin(t)
		t.Cleanup(func() { _, _ = b.Admin(t).DeleteTopics(t.Context(), devices, readings) })
		before := groups(t, adm)
		r := runProgram(t.Context(), "-brokers", b.Addrs()[0], "-devices-topic", devices, "-readings-topic", readings,
			"-devices", write(t, "d.csv", devicesHeader+"\n"+goodRow), "-readings", write(t, "r.csv", "2017-09-18T09:00:49,dev-1,90,2\n"))
		require.Equal(t, exitDone, r.code, r.stderr)
		require.Equal(t, "readings=1 joined=1 unmatched=0 dropped=0 alerts=1 resolved=0 mails=1", r.last())

		list, err := adm.ListTopics(t.Context(), devices, readings)
		require.NoError(t, err)
		require.Len(t, list[devices].Partitions, devicePartitions)
		require.Len(t, list[readings].Partitions, readingPartitions)
		require.Equal(t, "compact", config1(t, adm, devices, "cleanup.policy"))
		require.Equal(t, "-1", config1(t, adm, readings, "retention.ms"))
		require.Equal(t, before, groups(t, adm))
	})
}

func groups(t *testing.T, adm *kadm.Client) []string {
	t.Helper()
	list, err := adm.ListGroups(t.Context())
	require.NoError(t, err)
	return list.Groups()
}

func config1(t *testing.T, adm *kadm.Client, topic, key string) string {
	t.Helper()
	all, err := adm.DescribeTopicConfigs(t.Context(), topic)
	require.NoError(t, err)
	one, err := all.On(topic, nil)
	require.NoError(t, err)
	for _, kv := range one.Configs {
		if kv.Key == key {
			return kv.MaybeValue()
		}
	}
	return ""
}

func TestStateIsResumedAndMailsNothingTwice(t *testing.T) {
	want := example(t)
	server := startSMTPServer(t)
	state := filepath.Join(t.TempDir(), "deep", "state")
	for range 3 {
		r := runProgram(t.Context(), "-state", state, "-smtp", server.addr)
		require.Equal(t, exitDone, r.code, r.stderr)
		require.Equal(t, want.last(), r.last())
	}
	require.Equal(t, want.ids(), slices.Sorted(slices.Values(server.ids())))
}

func TestTheTopicIsUsedAsItIsWithoutFiles(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		flags, devices, readings := topics(t, b, 2, 3)
		b.Produce(t,
			record(devices, "a", `{"device":"a","room":"R","site":"S","owner":"o@example.com","limit_c":20,"clear_c":15}`),
			record(devices, "broken", `{"device":"broken"}`),
			record(readings, "a", `{"device":"a","time":"2026-01-01T00:00:00Z","temp_f":90}`),
			record(readings, "a", `{"device":"a","time":"2025-01-01T00:00:00Z","temp_f":10}`), // late
			record(readings, "a", `{"device":"a","time":"2026-01-01T00:00:01Z","temp_f":50}`),
			record(readings, "a", `no json`),
			record(readings, "broken", `{"device":"broken","time":"2026-01-01T00:00:00Z","temp_f":90}`),
			record(readings, "b", `{"device":"b","time":"2026-01-01T00:00:00Z","temp_f":90}`),
			&kgo.Record{Topic: readings, Key: []byte("a")},
			&kgo.Record{Topic: readings, Value: []byte(`{"device":"a","time":"2020-01-01T00:00:01Z","temp_f":70}`)},
		)
		state := t.TempDir()
		for range 2 {
			r := runProgram(t.Context(), with(flags, "-state", state)...)
			require.Equal(t, exitDone, r.code, r.stderr)
			require.Equal(t, "readings=8 joined=4 unmatched=1 dropped=3 alerts=1 resolved=1 mails=2", r.last())
			require.Contains(t, r.stdout, "2 readings dropped: not a reading\n")
			require.Contains(t, r.stdout, "1 readings dropped: its device's row is not usable\n")
		}
	})
}

func record(topic, key, value string) *kgo.Record {
	return &kgo.Record{Topic: topic, Key: []byte(key), Value: []byte(value)}
}

func TestFollowGoesOnWithLiveReadings(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		server := startSMTPServer(t)
		flags, devices, readings := topics(t, b, 2, 3)
		state := t.TempDir()
		flags = with(flags, "-follow", "-smtp", server.addr, "-state", state,
			"-devices", write(t, "d.csv", devicesHeader+"\ndev-1,Room 1,Hotel,owner@example.com,30,28.5\n"),
			"-readings", write(t, "r.csv", "2017-09-18T09:00:49,dev-1,70,2\n"))
		p := startProgram(t, flags...)
		p.until("1 readings, 1 joined")
		b.Produce(t, record(readings, "dev-1", `{"device":"dev-1","time":"2026-01-01T00:00:00Z","temp_f":90}`))
		server.untilMails(1)

		// A new limit holds for the next reading: 32 °C is below 40.
		b.Produce(t, record(devices, "dev-1", `{"device":"dev-1","room":"Room 2","site":"Hotel","owner":"new@example.com","limit_c":50,"clear_c":40}`))
		for i := 1; len(server.caught()) < 2; i++ { // until the table has it
			b.Produce(t, record(readings, "dev-1", fmt.Sprintf(`{"device":"dev-1","time":"2026-01-01T00:00:%02dZ","temp_f":90}`, i)))
		}
		r := p.interrupt()
		require.Equal(t, exitDone, r.code, r.stderr)
		require.Contains(t, r.last(), "alerts=1 resolved=1 mails=2")
		last := server.caught()[1]
		require.Equal(t, []string{"new@example.com"}, last.to)
		require.Contains(t, last.subject(t), "Room 2")
	})
}

func TestKeepLeavesTheBrokerUp(t *testing.T) {
	want := example(t)
	p := startProgram(t, "-keep")
	p.until(want.last())
	_, rest, ok := strings.Cut(p.out.String(), "the broker stays up on ")
	require.True(t, ok)
	addr, _, _ := strings.Cut(rest, " ")
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr))
	require.NoError(t, err)
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListEndOffsets(t.Context(), "readings")
	require.NoError(t, err)
	require.Len(t, ends["readings"], readingPartitions)
	r := p.interrupt()
	require.Equal(t, exitDone, r.code, r.stderr)
	require.Equal(t, want.last(), r.last())
}

func TestUncompactedDevicesTopic(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		flags, _, _ := topics(t, b, 1, 1)
		plain := b.CreateTopic(t, "plain", 1, 1, nil)
		flags = with(flags, "-devices-topic", plain, "-devices", write(t, "d.csv", devicesHeader+"\n"+goodRow),
			"-readings", write(t, "r.csv", "2017-09-18T09:00:49,dev-1,90,2\n"))
		r := runProgram(t.Context(), flags...)
		require.Equal(t, exitFailed, r.code)
		require.Contains(t, r.stderr, "topic "+plain+" has cleanup.policy=delete")
		require.Contains(t, r.stderr, "give -accept-uncompacted")
		require.Contains(t, r.last(), "readings=0")

		r = runProgram(t.Context(), with(flags, "-accept-uncompacted")...)
		require.Equal(t, exitDone, r.code, r.stderr)
		require.Equal(t, "readings=1 joined=1 unmatched=0 dropped=0 alerts=1 resolved=0 mails=1", r.last())
	})
}

func TestStateOfAnotherTopicIsRefused(t *testing.T) {
	state := t.TempDir()
	files := []string{"-state", state, "-devices", write(t, "d.csv", devicesHeader+"\n"+goodRow), "-readings", write(t, "r.csv", "2017-09-18T09:00:49,dev-1,90,2\n")}
	b := kafkatest.Fake(t)
	flags, _, readings := topics(t, b, 1, 1)
	r := runProgram(t.Context(), with(flags, files...)...)
	require.Equal(t, exitDone, r.code, r.stderr)

	adm := b.Admin(t)
	_, err := adm.DeleteTopic(t.Context(), readings)
	require.NoError(t, err)
	_, err = adm.CreateTopic(t.Context(), 1, 1, nil, readings)
	require.NoError(t, err)
	r = runProgram(t.Context(), with(flags, files...)...)
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.stderr, "the topic was deleted and created again since")
	require.Contains(t, r.stderr, "Give another -state, or remove "+state+" to start anew")

	r = runProgram(t.Context(), files...) // the in-process broker
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.stderr, "is about topic "+readings+", not readings")
}

func TestOldReadingsAreWarnedOf(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		flags, _, _ := topics(t, b, 1, 1)
		short := b.CreateTopic(t, "short", 1, 1, map[string]string{"retention.ms": "86400000"})
		r := runProgram(t.Context(), with(flags, "-readings-topic", short, "-readings", write(t, "r.csv", "2017-09-18T09:00:49,dev-1,90,2\n"))...)
		require.Equal(t, exitDone, r.code, r.stderr)
		require.Contains(t, r.stderr, "topic "+short+" keeps records for 24h0m0s (retention.ms), and the files begin with a reading of 2017-09-18 09:00:49 UTC")
	})
}
