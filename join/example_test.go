package join_test

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/globaltable"
	"github.com/globaltable/enrich/join"
	"github.com/globaltable/enrich/stream"
)

type device struct{ Room string }

// broker starts an in-process broker with two devices in the compacted topic
// "devices", of three partitions, and readings in the topic "readings", whose
// keys are devices and whose values are degrees.
func broker() (addrs []string, stop func()) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "readings"))
	if err != nil {
		panic(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...))
	if err != nil {
		panic(err)
	}
	defer client.Close()
	ctx, compact := context.Background(), "compact"
	if _, err := kadm.NewClient(client).CreateTopic(ctx, 3, 1, map[string]*string{"cleanup.policy": &compact}, "devices"); err != nil {
		panic(err)
	}
	for _, r := range []*kgo.Record{
		{Topic: "devices", Key: []byte("dev-1"), Value: []byte(`{"Room":"kitchen"}`)},
		{Topic: "devices", Key: []byte("dev-2"), Value: []byte(`{"Room":"attic"}`)},
		{Topic: "readings", Key: []byte("dev-1"), Value: []byte("21.5")},
		{Topic: "readings", Key: []byte("dev-9"), Value: []byte("19")},
		{Topic: "readings", Key: []byte("dev-2"), Value: []byte("30.25")},
		{Topic: "readings", Key: nil, Value: []byte("18")},
	} {
		if err := client.ProduceSync(ctx, r).FirstErr(); err != nil {
			panic(err)
		}
	}
	return cluster.ListenAddrs(), cluster.Close
}

// byKey takes the reading's key for the device. A reading without one has no
// device.
func byKey(r stream.Record[string, float64]) (string, bool) { return r.Key, !r.NullKey }

func printText(_ context.Context, r stream.Record[string, string]) error {
	fmt.Println(r.Value)
	return nil
}

func ExampleInner() {
	addrs, stop := broker()
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	devices, err := globaltable.Open("devices", codec.String(), codec.JSON[device](),
		globaltable.Brokers(addrs...), globaltable.InMemory())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer devices.Close()
	go devices.Run(ctx)

	readings := stream.From("readings", codec.String(), codec.JSON[float64]())
	texts := join.Inner(readings, devices, byKey,
		func(r stream.Record[string, float64], d globaltable.Entry[string, device]) (string, error) {
			return fmt.Sprintf("%s: %.1f degrees", d.Value.Room, r.Value), nil
		})
	w, err := stream.New(stream.ForEach(texts, printText),
		stream.Brokers(addrs...), stream.Group("example"), stream.StopAtEnd())
	if err != nil {
		fmt.Println(err)
		return
	}
	err = w.Run(ctx) // waits for the table
	dropped := w.Stats().Dropped
	fmt.Println(err, dropped[join.DropNoMatch], dropped[join.DropNoKey])
	// Output:
	// kitchen: 21.5 degrees
	// attic: 30.2 degrees
	// <nil> 1 1
}

func ExampleLeft() {
	addrs, stop := broker()
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	devices, err := globaltable.Open("devices", codec.String(), codec.JSON[device](),
		globaltable.Brokers(addrs...), globaltable.InMemory())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer devices.Close()
	go devices.Run(ctx)

	readings := stream.From("readings", codec.String(), codec.JSON[float64]())
	texts := join.Left(readings, devices, byKey,
		func(r stream.Record[string, float64], d globaltable.Entry[string, device]) (string, error) {
			if !d.Found {
				return fmt.Sprintf("unknown device %q: %.1f degrees", d.Key, r.Value), nil
			}
			return fmt.Sprintf("%s: %.1f degrees", d.Value.Room, r.Value), nil
		})
	err = stream.Run(ctx, stream.ForEach(texts, printText),
		stream.Brokers(addrs...), stream.Group("example"), stream.StopAtEnd())
	fmt.Println(err)
	// Output:
	// kitchen: 21.5 degrees
	// unknown device "dev-9": 19.0 degrees
	// attic: 30.2 degrees
	// unknown device "": 18.0 degrees
	// <nil>
}
