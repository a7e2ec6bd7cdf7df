package scenario

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/globaltable"
	"github.com/globaltable/enrich/internal/kafkatest"
	"github.com/globaltable/enrich/join"
	"github.com/globaltable/enrich/stream"
)

// joining does a command to a stream of readings, each of which has the key of a
// row as its own.
func (w *world) joining(d *datadriven.TestData) (string, bool) {
	switch d.Cmd {
	case "stream":
		w.readings = w.broker.CreateTopic(w.t, "readings", int32(number(w.t, d, "partitions", 1)), -1, map[string]string{"retention.ms": "-1"})
		w.group = kafkatest.Unique("scenario")
	case "send":
		var rs []*kgo.Record
		for line := range strings.SplitSeq(strings.TrimSpace(d.Input), "\n") {
			k, v, _ := strings.Cut(line, "=")
			rs = append(rs, &kgo.Record{Topic: w.readings, Key: unquoted(k), Value: []byte(v)})
		}
		if p := number(w.t, d, "p", -1); p >= 0 {
			w.broker.ProduceTo(w.t, int32(p), rs...)
		} else {
			w.broker.Produce(w.t, rs...)
		}
	case "lose-readings":
		w.deleteBefore(w.readings, 0, int64(number(w.t, d, "before", 0)))
	case "join":
		return w.join(d.HasArg("left")), true
	default:
		return "", false
	}
	return "", true
}

// join joins the readings that were sent and not joined yet, and lists what came
// out, and the error if there is one.
func (w *world) join(left bool) string {
	var mu sync.Mutex
	var out []string
	kind := join.Inner[string, string, string, string, string]
	if left {
		kind = join.Left[string, string, string, string, string]
	}
	joined := kind(stream.From(w.readings, codec.String(), codec.String()), w.table.Table,
		func(r stream.Record[string, string]) (string, bool) { return r.Key, !r.NullKey },
		func(r stream.Record[string, string], e globaltable.Entry[string, string]) (string, error) {
			if !e.Found {
				return "no row", nil
			}
			return e.Value, nil
		})
	sink := stream.ForEach(joined, func(_ context.Context, r stream.Record[string, string]) error {
		mu.Lock()
		defer mu.Unlock()
		out = append(out, r.Key+": "+r.Value)
		return nil
	})
	worker, err := stream.New(sink, stream.Brokers(w.broker.Addrs()...), stream.Kafka(w.broker.Opts()...),
		stream.Kafka(kgo.HeartbeatInterval(100*time.Millisecond), kgo.FetchMaxWait(200*time.Millisecond)),
		stream.Group(w.group), stream.CommitInterval(20*time.Millisecond), stream.StopAtEnd(), stream.Logger(slog.New(slog.DiscardHandler)))
	require.NoError(w.t, err)
	err = worker.Run(w.ctx())
	slices.Sort(out)
	if len(out) == 0 {
		out = append(out, "nothing")
	}
	if err != nil {
		out = append(out, "error: "+w.plain(err))
	}
	dropped := int64(0)
	for _, n := range worker.Stats().Dropped {
		dropped += n
	}
	if dropped > 0 {
		out = append(out, fmt.Sprintf("%d dropped", dropped))
	}
	return strings.Join(out, "\n") + "\n"
}

// whichFile is a write that failed. Which of them it was is chance.
var whichFile = regexp.MustCompile(`store: [a-z-]+ [^ ]+: `)

// plain is an error's text with the names of this run left out.
func (w *world) plain(err error) string {
	text := whichFile.ReplaceAllString(err.Error(), "store: FILE: ")
	for name, stands := range map[string]string{w.topic: "TOPIC", w.readings: "READINGS", w.group: "GROUP", w.dir: "DIR"} {
		if name != "" {
			text = strings.ReplaceAll(text, name, stands)
		}
	}
	return text
}
