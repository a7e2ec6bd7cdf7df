// Command quickstart joins readings with the devices that sent them, on a Kafka
// broker that runs in this process.
package main

import (
	"context"
	"io"
	"log"
	"os"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/globaltable"
	"github.com/globaltable/enrich/join"
	"github.com/globaltable/enrich/stream"
)

// Device says what a reading means. It is the value of topic devices, as JSON.
type Device struct {
	Room  string
	Limit float64 // degrees C
}

// Reading is the value of topic readings.
type Reading struct {
	Device  string
	Celsius float64
}

// Enriched is what the join writes to topic enriched.
type Enriched struct {
	Room    string
	Celsius float64
	TooHot  bool
}

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// run shows the whole way: two devices and three readings go in, what comes
// out is printed.
func run(ctx context.Context, out io.Writer) error {
	broker, err := startBroker(ctx)
	if err != nil {
		return err
	}
	defer broker.Close()
	if err := enrich(ctx, broker.ListenAddrs()); err != nil {
		return err
	}
	return printTopic(ctx, out, broker.ListenAddrs(), "enriched", 2)
}

// enrich joins the readings that are there, and ends.
func enrich(ctx context.Context, brokers []string) error {
	devices, err := globaltable.Open("devices", codec.String(), codec.JSON[Device](),
		globaltable.Brokers(brokers...), globaltable.InMemory())
	if err != nil {
		return err
	}
	defer func() { _ = devices.Close() }()
	go func() { _ = devices.Run(ctx) }() // follows the topic until Close; stream.Run tells if it fails

	readings := stream.From("readings", codec.String(), codec.JSON[Reading]())
	enriched := join.Inner(readings, devices,
		func(r stream.Record[string, Reading]) (string, bool) { return r.Value.Device, r.Value.Device != "" },
		func(r stream.Record[string, Reading], d globaltable.Entry[string, Device]) (Enriched, error) {
			return Enriched{Room: d.Value.Room, Celsius: r.Value.Celsius, TooHot: r.Value.Celsius > d.Value.Limit}, nil
		})
	return stream.Run(ctx, stream.To(enriched, "enriched", codec.String(), codec.JSON[Enriched]()),
		stream.Brokers(brokers...), stream.Group("enricher"), stream.StopAtEnd()) // waits for the table, then consumes
}
