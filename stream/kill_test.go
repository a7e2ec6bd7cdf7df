package stream

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// killEnv makes the test binary a worker: its value is a killConfig.
const killEnv = "ENRICH_STREAM_KILL_TEST"

type killConfig struct {
	Brokers            []string
	Group, In, Out, ID string
	StopAtEnd          bool
}

// killWorker is the process that is killed.
func killWorker() int {
	var c killConfig
	if err := json.Unmarshal([]byte(os.Getenv(killEnv)), &c); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		// It must not outlive the test that started it.
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	opts := []Opt{
		Brokers(c.Brokers...), Group(c.Group), InstanceID(c.ID), CommitInterval(5 * time.Millisecond), MaxInFlight(500),
		Logger(slog.New(slog.NewTextHandler(os.Stderr, nil))), Kafka(kgo.HeartbeatInterval(50 * time.Millisecond)),
	}
	if c.StopAtEnd {
		opts = append(opts, StopAtEnd())
	}
	if err := Run(ctx, toStrs(strs(c.In), c.Out), opts...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// process is a running killWorker.
type killProcess struct {
	t   *testing.T
	cmd *exec.Cmd
}

func startKillWorker(t *testing.T, c killConfig) *killProcess {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	b, err := json.Marshal(c)
	require.NoError(t, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), killEnv+"="+string(b))
	cmd.Stderr = &testWriter{t: t}
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = stdin.Close()
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return &killProcess{t, cmd}
}

// kill is kill -9.
func (p *killProcess) kill() {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Kill())
	require.Error(p.t, p.cmd.Wait())
}

func TestKillWithAnOutputHeldBackLosesNothing(t *testing.T) {
	e := onFake(t)
	in, out := e.topic("in", 1), e.topic("out", 2)
	hold := e.holdProduce(out, 1)
	var heartbeats atomic.Int32
	e.fake.ControlKey(kmsg.Heartbeat.Int16(), func(kmsg.Request) (kmsg.Response, error, bool) {
		e.fake.KeepControl()
		heartbeats.Add(1)
		return nil, nil, false
	})
	free, held := keysFor(0, 40), keysFor(1, 10)
	want := make(map[string]bool)
	for i, k := range free {
		if i >= 10 && i < 20 {
			e.put(in, 0, held[i-10], "held")
			want[held[i-10]] = true
		}
		e.put(in, 0, k, "free")
		want[k] = true
	}
	c := killConfig{Brokers: e.broker.Addrs(), Group: e.group(), In: in, Out: out, ID: "worker"}
	first := startKillWorker(t, c)
	receive(t, hold.holding)
	require.Eventually(t, func() bool {
		return e.committed(e.group(), in, 0) >= 10 && e.fake.PartitionInfo(out, 0).HighWatermark == 40
	}, patience, 10*time.Millisecond)
	// Everything but the held outputs is acknowledged. Leave it the time of
	// many commits to do the wrong thing.
	seen := heartbeats.Load()
	require.Eventually(t, func() bool { return heartbeats.Load() >= seen+5 }, patience, 10*time.Millisecond)
	require.EqualValues(t, 10, e.committed(e.group(), in, 0))
	first.kill()
	hold.drop() // what was held is never written

	c.StopAtEnd = true
	require.NoError(t, startKillWorker(t, c).cmd.Wait())
	got := make(map[string]bool)
	for _, r := range e.read(out) {
		got[string(r.Key)] = true
	}
	require.Equal(t, want, got)
}

func TestKillAtRandomMomentsLosesNothing(t *testing.T) {
	each(t, func(t *testing.T, e *env) {
		const partitions, n, rounds = 3, 20_000, 4
		in, out := e.topic("in", partitions), e.topic("out", 2)
		for p := range int32(partitions) {
			var rs []*kgo.Record
			for i := range n {
				rs = append(rs, &kgo.Record{Topic: in, Partition: p, Key: fmt.Appendf(nil, "%d-%d", p, i), Value: []byte("v")})
			}
			require.NoError(t, e.client.ProduceSync(e.ctx(), rs...).FirstErr())
		}
		sum := func() (all int64) {
			for p := range int32(partitions) {
				all += max(0, e.committed(e.group(), in, p))
			}
			return all
		}
		c := killConfig{Brokers: e.broker.Addrs(), Group: e.group(), In: in, Out: out, ID: "worker"}
		for range rounds {
			before := sum()
			goal := before + 1 + rand.Int64N(partitions*n/(2*rounds))
			worker := startKillWorker(t, c)
			require.Eventually(t, func() bool { return sum() >= goal }, patience, time.Millisecond)
			worker.kill()
		}
		c.StopAtEnd = true
		require.NoError(t, startKillWorker(t, c).cmd.Wait())
		got := make(map[string]int)
		for _, r := range e.read(out) {
			got[string(r.Key)]++
		}
		require.Len(t, got, partitions*n, "every key is there")
		for p := range int32(partitions) {
			require.EqualValues(t, n, e.committed(e.group(), in, p))
		}
	})
}
