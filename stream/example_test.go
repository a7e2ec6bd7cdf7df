package stream_test

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/stream"
)

// broker starts an in-process broker whose topic "in" holds some records, all
// with the key "k" and in one partition.
func broker(values ...string) (addrs []string, stop func()) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "in", "out", "dead"))
	if err != nil {
		panic(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...))
	if err != nil {
		panic(err)
	}
	defer client.Close()
	for _, v := range values {
		r := &kgo.Record{Topic: "in", Key: []byte("k"), Value: []byte(v)}
		if err := client.ProduceSync(context.Background(), r).FirstErr(); err != nil {
			panic(err)
		}
	}
	return cluster.ListenAddrs(), cluster.Close
}

// show prints the values of a topic, with some headers.
func show(addrs []string, topic string, n int, headers ...string) {
	client, err := kgo.NewClient(kgo.SeedBrokers(addrs...), kgo.ConsumeTopics(topic))
	if err != nil {
		panic(err)
	}
	defer client.Close()
	for n > 0 {
		client.PollFetches(context.Background()).EachRecord(func(r *kgo.Record) {
			n--
			fmt.Printf("%s: %s", topic, r.Value)
			for _, h := range r.Headers {
				for _, want := range headers {
					if h.Key == want {
						fmt.Printf(" %s=%s", h.Key, h.Value)
					}
				}
			}
			fmt.Println()
		})
	}
}

func printRecord(_ context.Context, r stream.Record[string, string]) error {
	fmt.Println(r.Offset, r.Key, r.Value)
	return nil
}

// A whole program: read, change, write.
func Example() {
	addrs, stop := broker("21.5", "30.25", "19")
	defer stop()

	readings := stream.From("in", codec.String(), codec.JSON[float64]())
	hot := stream.Filter(readings, func(r stream.Record[string, float64]) (bool, error) {
		return r.Value > 20, nil
	})
	texts := stream.Map(hot, func(r stream.Record[string, float64]) (stream.Record[string, string], error) {
		return stream.WithValue(r, fmt.Sprintf("%.1f degrees", r.Value)), nil
	})
	err := stream.Run(context.Background(), stream.To(texts, "out", codec.String(), codec.String()),
		stream.Brokers(addrs...), stream.Group("example"), stream.StopAtEnd())
	fmt.Println(err)
	show(addrs, "out", 2)
	// Output:
	// <nil>
	// out: 21.5 degrees
	// out: 30.2 degrees
}

func ExampleFlatMap() {
	addrs, stop := broker("a b", "c")
	defer stop()

	words := stream.FlatMap(stream.From("in", codec.String(), codec.String()),
		func(r stream.Record[string, string]) ([]stream.Record[string, string], error) {
			var out []stream.Record[string, string]
			for _, w := range strings.Fields(r.Value) {
				out = append(out, stream.WithKey(stream.WithValue(r, strings.ToUpper(w)), w))
			}
			return out, nil
		})
	err := stream.Run(context.Background(), stream.ForEach(words, printRecord),
		stream.Brokers(addrs...), stream.Group("example"), stream.StopAtEnd())
	fmt.Println(err)
	// Output:
	// 0 a A
	// 0 b B
	// 1 c C
	// <nil>
}

func ExampleNew() {
	addrs, stop := broker("one", "two")
	defer stop()

	w, err := stream.New(stream.ForEach(stream.From("in", codec.String(), codec.String()), printRecord),
		stream.Brokers(addrs...), stream.Group("example"), stream.StopAtEnd())
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := w.Run(context.Background()); err != nil {
		fmt.Println(err)
		return
	}
	stats := w.Stats()
	fmt.Println(stats.State, stats.Records, stats.Partitions[0].Committed)
	// Output:
	// 0 k one
	// 1 k two
	// stopped 2 2
}

// New says everything that is wrong at once.
func ExampleNew_mistakes() {
	_, err := stream.New(stream.ForEach(stream.From("", codec.String(), codec.String()), printRecord))
	fmt.Println(err)
	// Output:
	// stream: no brokers: give Brokers(...)
	// stream: no group: give Group(...)
	// stream: From needs a topic
}

func ExampleDeadLetter() {
	addrs, stop := broker("1", "two", "3")
	defer stop()

	numbers := stream.From("in", codec.String(), codec.JSON[int]())
	sum := 0
	err := stream.Run(context.Background(),
		stream.ForEach(numbers, func(_ context.Context, r stream.Record[string, int]) error {
			sum += r.Value
			return nil
		}),
		stream.Brokers(addrs...), stream.Group("example"), stream.StopAtEnd(),
		stream.OnBadRecord(stream.DeadLetter("dead")))
	fmt.Println(err, sum)
	show(addrs, "dead", 1, stream.HeaderTopic, stream.HeaderOffset, stream.HeaderStage)
	// Output:
	// <nil> 4
	// dead: two enrich.dead-letter.topic=in enrich.dead-letter.offset=1 enrich.dead-letter.stage=decode
}

// Without a policy the first bad record ends the run, and says which it was.
func ExampleRecordError() {
	addrs, stop := broker("1", "two", "3")
	defer stop()

	err := stream.Run(context.Background(),
		stream.ForEach(stream.From("in", codec.String(), codec.JSON[int]()),
			func(context.Context, stream.Record[string, int]) error { return nil }),
		stream.Brokers(addrs...), stream.Group("example"))
	var bad *stream.RecordError
	if errors.As(err, &bad) {
		fmt.Println(bad.Stage, bad.Topic, bad.Partition, bad.Offset)
	}
	// Output:
	// decode in 0 1
}

// names looks up all records of a call at once, as a join does.
type names map[string]string

func (n names) Process(_ context.Context, in []stream.Record[string, string], out *stream.Output[string, string]) error {
	for i, r := range in {
		if name, ok := n[r.Value]; ok {
			out.Emit(i, stream.WithValue(r, name))
		} else {
			out.Drop(i, "unknown")
		}
	}
	return nil
}

func ExampleProcess() {
	addrs, stop := broker("de", "xx", "fr")
	defer stop()

	countries := stream.Process(stream.From("in", codec.String(), codec.String()), "names",
		stream.Processor[string, string, string, string](names{"de": "Germany", "fr": "France"}))
	w, err := stream.New(stream.ForEach(countries, printRecord),
		stream.Brokers(addrs...), stream.Group("example"), stream.StopAtEnd())
	if err != nil {
		fmt.Println(err)
		return
	}
	err = w.Run(context.Background())
	fmt.Println(err, w.Stats().Dropped)
	// Output:
	// 0 k Germany
	// 2 k France
	// <nil> map[unknown:1]
}

// Own state is made durable before the offsets that it stands for.
func ExampleBeforeCommit() {
	addrs, stop := broker("1", "2", "3")
	defer stop()

	sum, saved := 0, 0
	err := stream.Run(context.Background(),
		stream.ForEach(stream.From("in", codec.String(), codec.JSON[int]()),
			func(_ context.Context, r stream.Record[string, int]) error {
				sum += r.Value
				return nil
			}),
		stream.Brokers(addrs...), stream.Group("example"), stream.StopAtEnd(),
		stream.BeforeCommit(func(context.Context) error {
			saved = sum
			return nil
		}))
	fmt.Println(err, saved)
	// Output:
	// <nil> 6
}
