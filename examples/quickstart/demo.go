package main

import (
	"context"
	"fmt"
	"io"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// startBroker starts a broker whose topics hold two devices and three readings,
// one of them of a device that is not known.
func startBroker(ctx context.Context) (broker *kfake.Cluster, err error) {
	broker, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "readings", "enriched"))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			broker.Close()
		}
	}()
	if err := broker.CreateTopic("devices", 3, map[string]string{"cleanup.policy": "compact"}); err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(broker.ListenAddrs()...))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	var records []*kgo.Record
	for _, r := range [][3]string{
		{"devices", "d1", `{"Room":"Room 204","Limit":30}`},
		{"devices", "d2", `{"Room":"Room 311","Limit":26}`},
		{"readings", "d1", `{"Device":"d1","Celsius":27.5}`},
		{"readings", "d2", `{"Device":"d2","Celsius":27.5}`},
		{"readings", "d3", `{"Device":"d3","Celsius":21}`},
	} {
		records = append(records, &kgo.Record{Topic: r[0], Key: []byte(r[1]), Value: []byte(r[2])})
	}
	return broker, client.ProduceSync(ctx, records...).FirstErr()
}

// printTopic prints the first n records of a topic.
func printTopic(ctx context.Context, out io.Writer, brokers []string, topic string, n int) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic))
	if err != nil {
		return err
	}
	defer client.Close()
	for n > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		for it := fetches.RecordIter(); !it.Done() && n > 0; n-- {
			r := it.Next()
			if _, err := fmt.Fprintf(out, "%s %s\n", r.Key, r.Value); err != nil {
				return err
			}
		}
	}
	return nil
}
