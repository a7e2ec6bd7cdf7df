package kafkatest

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
)

func TestProperties(t *testing.T) {
	var text bytes.Buffer
	require.NoError(t, propertiesTemplate.Execute(&text, properties{
		ID: 2, Port: 1002, ControllerPort: 2002, Voters: "1@127.0.0.1:2001,2@127.0.0.1:2002",
		DataDir: "/data", Replicas: 3, MinISR: 2,
	}))
	have := map[string]string{}
	for line := range strings.Lines(text.String()) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		require.True(t, ok, line)
		require.NotContains(t, have, name, "set twice")
		have[name] = value
	}
	require.Equal(t, "2", have["node.id"])
	require.Equal(t, "PLAINTEXT://127.0.0.1:1002,CONTROLLER://127.0.0.1:2002", have["listeners"])
	require.Equal(t, "1@127.0.0.1:2001,2@127.0.0.1:2002", have["controller.quorum.voters"])
	require.Equal(t, "3", have["transaction.state.log.replication.factor"])
	require.Equal(t, "2", have["transaction.state.log.min.isr"])
	require.Equal(t, "/data", have["log.dirs"])
	require.Equal(t, "false", have["auto.create.topics.enable"])
}

func TestFreePorts(t *testing.T) {
	ports, err := freePorts(6)
	require.NoError(t, err)
	require.Len(t, ports, 6)
	seen := map[int]bool{}
	for _, port := range ports {
		require.False(t, seen[port], "port %d twice", port)
		seen[port] = true
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		require.NoError(t, err)
		require.NoError(t, l.Close())
	}
	_, err = freePorts(100000)
	require.ErrorContains(t, err, "free ports")
}

func TestAwaitBrokers(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(2))
	require.NoError(t, err)
	defer c.Close()
	addr := c.ListenAddrs()[0]
	require.NoError(t, awaitBrokers(t.Context(), addr, nil))
	require.NoError(t, awaitBrokers(t.Context(), addr, []int32{0, 1}))

	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	require.Error(t, awaitBrokers(ctx, addr, []int32{0, 1, 2}), "a broker that is not listed is waited for")
}

// fakeJava returns a node whose java is a shell script.
func fakeJava(t *testing.T, script string) *node {
	t.Helper()
	if !lockExcludes {
		t.Skip("needs a shell")
	}
	dir := t.TempDir()
	java := filepath.Join(dir, "java")
	require.NoError(t, os.WriteFile(java, []byte("#!/bin/sh\n"+script+"\n"), 0o755))
	g, err := newGuard(filepath.Join(dir, "nothing"))
	require.NoError(t, err)
	n := &node{
		dir: filepath.Join(dir, "node"), java: java, jars: dir, heap: "1m", guard: g,
		props: properties{ID: 1, Port: 1, ControllerPort: 2},
	}
	t.Cleanup(func() {
		require.NoError(t, n.kill())
		require.NoError(t, g.close())
	})
	return n
}

func TestNodeFormatFailureShowsOutput(t *testing.T) {
	n := fakeJava(t, "echo no such option >&2; exit 3")
	err := n.format("id")
	require.ErrorContains(t, err, "no such option")
	require.ErrorContains(t, err, "exit status 3")
	require.NotErrorIs(t, err, errUnavailable)
}

func TestNodeOldJavaIsUnavailable(t *testing.T) {
	n := fakeJava(t, "echo java.lang.UnsupportedClassVersionError: kafka/Kafka >&2; exit 1")
	require.ErrorIs(t, n.format("id"), errUnavailable)
}

func TestNodeThatEndsIsNotWaitedFor(t *testing.T) {
	n := fakeJava(t, "echo 'Address already in use' >&2; exit 1")
	require.Error(t, n.format("id"))
	require.NoError(t, n.start())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := n.awaitReady(ctx, []int32{1})
	require.ErrorIs(t, err, errExited)
	require.True(t, portTaken(err), "the output is part of the error: %v", err)
	require.NoError(t, ctx.Err())
	require.False(t, n.running())
}

func TestNodeStopIsOrderly(t *testing.T) {
	n := fakeJava(t, `trap 'echo bye; exit 0' TERM; echo up
while :; do sleep 0.05; done`)
	require.NoError(t, os.MkdirAll(n.dir, 0o755))
	require.NoError(t, n.start())
	require.Eventually(t, func() bool { return strings.Contains(n.tail(), "up") }, 10*time.Second, 10*time.Millisecond)
	require.True(t, n.running())
	require.NoError(t, n.stop())
	require.False(t, n.running())
	require.Contains(t, n.tail(), "bye")
	require.NoError(t, n.stop(), "stopping again does nothing")
	require.NoError(t, n.kill())
}

func TestNodeTailWithoutOutput(t *testing.T) {
	n := &node{dir: t.TempDir()}
	require.Contains(t, n.tail(), "output.log")
	require.False(t, n.running())
}
