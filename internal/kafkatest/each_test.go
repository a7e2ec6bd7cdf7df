package kafkatest

import (
	"context"
	"errors"
	"flag"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestEachRunsBoth(t *testing.T) {
	var names []string
	Each(t, func(t *testing.T, b *Broker) {
		names = append(names, b.Name())
		topic := b.CreateTopic(t, "copy", 2, 1, nil)
		b.ProduceTo(t, 1, &kgo.Record{Topic: topic, Value: []byte("v")})

		cl := b.Client(t, kgo.ConsumeTopics(topic))
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		records := cl.PollFetches(ctx).Records()
		require.Len(t, records, 1)
		require.Equal(t, "v", string(records[0].Value))
	})
	if strings.Contains(flag.Lookup("test.run").Value.String(), "/") {
		return // only one of them was asked for
	}
	require.Equal(t, "kfake", names[0])
	require.Equal(t, []string{"kfake", "kafka"}[:len(names)], names)
}

func TestRealIsShared(t *testing.T) {
	require.Same(t, Real(t), Real(t))
	require.True(t, Real(t).Real())
}

func TestFakeIsNotShared(t *testing.T) {
	a, b := Fake(t), Fake(t, kfake.NumBrokers(1))
	require.Len(t, a.Addrs(), 3)
	require.Len(t, b.Addrs(), 1)
	require.NotContains(t, a.Addrs(), b.Addrs()[0])
}

func TestFakeWithBadOptionsEndsTheTest(t *testing.T) {
	r := &recorder{TB: t}
	require.False(t, r.run(func() {
		Fake(r, kfake.ListenFn(func(string, string) (net.Listener, error) { return nil, errors.New("no network") }))
	}))
	require.Contains(t, r.failed, "no network")
}

func TestFakeVirtualLetsTimePass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := FakeVirtual(t)
		topic := b.CreateTopic(t, "virtual", 1, 1, nil)
		cl := b.Client(t, kgo.ConsumeTopics(topic))
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		require.Empty(t, cl.PollFetches(ctx).Records())
		require.GreaterOrEqual(t, time.Since(start), time.Hour)

		b.Produce(t, &kgo.Record{Topic: topic, Value: []byte("v")})
		require.Len(t, cl.PollFetches(t.Context()).Records(), 1)
	})
}

func TestSharedUsesTheBrokerNamed(t *testing.T) {
	fake := Fake(t)
	t.Setenv(envBrokers, " "+fake.Addrs()[0]+",, "+fake.Addrs()[1])
	var s sharedBroker
	b, err := s.get()
	require.NoError(t, err)
	require.Equal(t, fake.Addrs()[:2], b.Addrs())
	require.True(t, b.Real())
	again, err := s.get()
	require.NoError(t, err)
	require.Same(t, b, again)

	require.NoError(t, s.stop())
	_, err = s.get()
	require.ErrorContains(t, err, "over")
	require.NoError(t, b.Client(t).Ping(t.Context()), "somebody else's broker is left alone")
	require.NoError(t, s.stop())
}

func TestSharedBrokerThatDoesNotStartStaysSo(t *testing.T) {
	t.Setenv(envBrokers, "")
	t.Setenv("PATH", t.TempDir())
	var s sharedBroker
	_, err := s.get()
	require.ErrorIs(t, err, errUnavailable)
	_, again := s.get()
	require.Equal(t, err, again, "not tried again")
	require.NoError(t, s.stop())
}

func TestSplitAddrs(t *testing.T) {
	require.Empty(t, splitAddrs(""))
	require.Empty(t, splitAddrs(" , "))
	require.Equal(t, []string{"a:1", "b:2"}, splitAddrs("a:1, b:2,"))
}
