package globaltable_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/globaltable"
	"github.com/globaltable/enrich/join"
	"github.com/globaltable/enrich/stream"
)

// worker is a join that runs.
type worker struct {
	*stream.Worker
	left   bool
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

// outcomes is what became of readings, by partition and offset.
type outcomes struct {
	mu    sync.Mutex
	of    map[string]string
	last  [16]int64 // offset of the last output of each partition, plus one
	wrong []string
}

func (o *outcomes) add(partition int32, offset int64, what string, output bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	place := strconv.Itoa(int(partition)) + "@" + strconv.FormatInt(offset, 10)
	if before, ok := o.of[place]; ok {
		o.wrong = append(o.wrong, fmt.Sprintf("%s came twice: %s, %s", place, before, what))
	}
	if output {
		if offset < o.last[partition] {
			o.wrong = append(o.wrong, fmt.Sprintf("%s came after offset %d", place, o.last[partition]-1))
		}
		o.last[partition] = offset + 1
	}
	o.of[place] = what
}

// OnDrop implements [stream.HookDrop].
func (o *outcomes) OnDrop(_ string, partition int32, offset int64, reason string) {
	o.add(partition, offset, "drop "+reason, false)
}

func (o *outcomes) n() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.of)
}

func (p *player) startJoin(left bool) {
	if p.worker != nil && p.worker.left == left {
		return
	}
	p.stopJoin()
	key := func(r stream.Record[string, string]) (string, bool) { return strings.CutPrefix(r.Value, "key ") }
	show := func(_ stream.Record[string, string], e globaltable.Entry[string, string]) (string, error) {
		if !e.Found {
			return "left none", nil
		}
		return showJoined(left, e.Key, rowOf(e)), nil
	}
	source := stream.From(p.in, codec.String(), codec.String())
	kind := join.Inner[string, string, string, string, string]
	if left {
		kind = join.Left[string, string, string, string, string]
	}
	sink := stream.ForEach(kind(source, p.table.Table, key, show), func(_ context.Context, r stream.Record[string, string]) error {
		p.got.add(r.Partition, r.Offset, r.Value, true)
		return nil
	})
	wk, err := stream.New(sink, stream.Brokers(p.b.Addrs()...), stream.Group(p.group), stream.CommitInterval(50*time.Millisecond), stream.Hooks(p.got),
		stream.Logger(p.log.logger()), stream.Kafka(p.b.Opts()...), stream.Kafka(kgo.FetchMaxWait(50*time.Millisecond), kgo.MetadataMinAge(10*time.Millisecond)))
	require.NoError(p.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	w := &worker{Worker: wk, left: left, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		w.err = wk.Run(ctx)
	}()
	p.worker = w
}

func (p *player) stopJoin() {
	if w := p.worker; w != nil {
		w.cancel()
		<-w.done
		p.worker = nil
		require.NoError(p.t, w.err)
		p.compareJoined()
	}
}

// read sends readings when the table has everything, so that it is defined what
// becomes of them.
func (p *player) read(left bool, rs []rec) {
	p.caughtUp()
	p.startJoin(left)
	rows := p.m.rows(p.with)
	var out []*kgo.Record
	for i, r := range rs {
		v := "key " + r.key
		if r.nullKey {
			v = "none"
		}
		out = append(out, &kgo.Record{Topic: p.in, Partition: r.partition, Key: fmt.Append(nil, "reading", i), Value: []byte(v)})
	}
	require.NoError(p.t, p.cl.ProduceSync(p.ctx(), out...).FirstErr())
	for i, r := range rs {
		p.sent = append(p.sent, fmt.Sprintf("%d@%d %s", out[i].Partition, out[i].Offset, joined(left, r, rows)))
	}
	p.until("the readings are joined", func() bool {
		select {
		case <-p.worker.done:
			p.t.Fatalf("the join has ended: %v", p.worker.err)
		default:
		}
		return p.got.n() >= len(p.sent)
	})
	p.compareJoined()
	p.seen.add("joined readings", len(rs))
}

func (p *player) compareJoined() {
	p.t.Helper()
	p.got.mu.Lock()
	defer p.got.mu.Unlock()
	var got []string
	for place, what := range p.got.of {
		got = append(got, place+" "+what)
	}
	slices.Sort(got)
	want := slices.Sorted(slices.Values(p.sent))
	require.Empty(p.t, p.got.wrong)
	if !slices.Equal(want, got) {
		p.t.Fatalf("joined readings differ\nwant only: %q\ngot only: %q", without(want, got), without(got, want))
	}
}

// without returns what is in a and not in b.
func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}
