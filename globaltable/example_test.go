package globaltable_test

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/globaltable"
)

type Device struct {
	Room  string  `json:"room"`
	Limit float64 `json:"limit_c"`
}

// cluster is an in-process broker with a compacted topic "devices".
type cluster struct {
	addrs  []string
	client *kgo.Client
	stop   func()
}

func newCluster() *cluster {
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		panic(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...))
	if err != nil {
		panic(err)
	}
	compact := "compact"
	if _, err := kadm.NewClient(client).CreateTopic(context.Background(), 3, 1, map[string]*string{"cleanup.policy": &compact}, "devices"); err != nil {
		panic(err)
	}
	return &cluster{c.ListenAddrs(), client, func() { client.Close(); c.Close() }}
}

// put writes one record; an empty value deletes the key.
func (c *cluster) put(key, value string) *kgo.Record {
	r := &kgo.Record{Topic: "devices", Key: []byte(key)}
	if value != "" {
		r.Value = []byte(value)
	}
	if err := c.client.ProduceSync(context.Background(), r).FirstErr(); err != nil {
		panic(err)
	}
	return r
}

// open opens the table of devices, in memory, and waits until it is ready.
func (c *cluster) open(opts ...globaltable.Opt) (t *globaltable.Table[string, Device], stop func()) {
	t, err := globaltable.Open("devices", codec.String(), codec.JSON[Device](),
		append([]globaltable.Opt{globaltable.Brokers(c.addrs...), globaltable.InMemory()}, opts...)...)
	if err != nil {
		panic(err)
	}
	go func() { _ = t.Run(context.Background()) }()
	if err := t.WaitReady(context.Background()); err != nil {
		panic(err)
	}
	return t, func() {
		if err := t.Close(); err != nil {
			panic(err)
		}
	}
}

func Example() {
	kafka := newCluster()
	defer kafka.stop()
	kafka.put("dev-17", `{"room":"4-17","limit_c":26.5}`)

	dir, _ := os.MkdirTemp("", "example")
	defer func() { _ = os.RemoveAll(dir) }()
	devices, err := globaltable.Open("devices", codec.String(), codec.JSON[Device](),
		globaltable.Brokers(kafka.addrs...), globaltable.Dir(dir))
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- devices.Run(ctx) }()
	if err := devices.WaitReady(ctx); err != nil {
		fmt.Println(err)
		return
	}
	d, ok, err := devices.Get("dev-17")
	fmt.Println(d.Room, d.Limit, ok, err)
	_, ok, err = devices.Get("dev-18")
	fmt.Println(ok, err)

	cancel()
	fmt.Println(<-done, devices.Close())
	// Output:
	// 4-17 26.5 true <nil>
	// false <nil>
	// <nil> <nil>
}

// A worker that changes the topic reads its own write.
func ExampleTable_WaitFor() {
	kafka := newCluster()
	defer kafka.stop()
	devices, stop := kafka.open()
	defer stop()

	record := kafka.put("dev-17", `{"room":"4-17","limit_c":30}`)
	err := devices.WaitFor(context.Background(), globaltable.After(record))
	d, _, _ := devices.Get("dev-17")
	fmt.Println(err, d.Limit)
	// Output: <nil> 30
}

func ExampleTable_GetEntry() {
	kafka := newCluster()
	defer kafka.stop()
	kafka.put("dev-17", `{"room":"4-17"}`)
	kafka.put("dev-17", `{"room":"5-01"}`)
	devices, stop := kafka.open()
	defer stop()

	e, ok, err := devices.GetEntry("dev-17")
	fmt.Println(e.Value.Room, "offset", e.Offset, ok, err)
	// Output: 5-01 offset 1 true <nil>
}

func ExampleTable_GetMany() {
	kafka := newCluster()
	defer kafka.stop()
	kafka.put("dev-17", `{"room":"4-17"}`)
	kafka.put("dev-18", `{"room":`) // not JSON
	devices, stop := kafka.open()
	defer stop()

	results, err := devices.GetMany([]string{"dev-17", "dev-18", "dev-19"})
	fmt.Println(err)
	for _, r := range results {
		fmt.Println(r.Key, r.Found, r.Value.Room, r.Err != nil)
	}
	// Output:
	// <nil>
	// dev-17 true 4-17 false
	// dev-18 false  true
	// dev-19 false  false
}

func ExampleTable_Snapshot() {
	kafka := newCluster()
	defer kafka.stop()
	kafka.put("dev-2", `{"room":"b"}`)
	kafka.put("dev-1", `{"room":"a"}`)
	kafka.put("hub-1", `{"room":"c"}`)
	devices, stop := kafka.open()
	defer stop()

	snap, err := devices.Snapshot()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer snap.Close()
	for e, err := range snap.Prefix([]byte("dev-")) {
		fmt.Println(e.Key, e.Value.Room, err)
	}
	// Output:
	// dev-1 a <nil>
	// dev-2 b <nil>
}

// A transform changes rows as they arrive, or keeps them out.
func ExampleTransform() {
	kafka := newCluster()
	defer kafka.stop()
	kafka.put("dev-17", `{"room":" 4-17 "}`)
	kafka.put("dev-18", `{"room":""}`)
	devices, stop := kafka.open(globaltable.Transform("trim-1",
		func(e globaltable.Entry[string, Device]) (Device, bool, error) {
			e.Value.Room = strings.TrimSpace(e.Value.Room)
			return e.Value, e.Value.Room != "", nil
		}))
	defer stop()

	d, ok, _ := devices.Get("dev-17")
	fmt.Printf("%q %v\n", d.Room, ok)
	_, ok, _ = devices.Get("dev-18")
	fmt.Println(ok, devices.Stats().Filtered)
	// Output:
	// "4-17" true
	// false 1
}

func ExampleRemove() {
	err := globaltable.Remove("a-directory-that-is-not-there")
	fmt.Println(err)
	// Output: <nil>
}

// What cannot be decoded gives its key no row, and is counted.
func ExampleBadRecords() {
	kafka := newCluster()
	defer kafka.stop()
	kafka.put("dev-17", `{"room":"4-17","limit_c":26.5}`)
	kafka.put("dev-18", `{"room":"4-18"`) // cut off
	devices, stop := kafka.open(globaltable.BadRecords(globaltable.Skip))
	defer stop()

	_, ok, err := devices.Get("dev-18")
	fmt.Println(ok, err)
	fmt.Println(devices.Stats().Rejected, "rejected")
	// Output:
	// false <nil>
	// 1 rejected
}

// Who wrote a row stands in its record's headers.
func ExampleHeaders() {
	kafka := newCluster()
	defer kafka.stop()
	kafka.client.ProduceSync(context.Background(), &kgo.Record{
		Topic: "devices", Key: []byte("dev-17"), Value: []byte(`{"room":"4-17"}`),
		Headers: []kgo.RecordHeader{{Key: "by", Value: []byte("facility-app")}},
	})
	devices, stop := kafka.open(globaltable.Headers())
	defer stop()

	entry, _, err := devices.GetEntry("dev-17")
	for _, h := range entry.Headers {
		fmt.Printf("%s=%s\n", h.Key, h.Value)
	}
	fmt.Println(entry.Value.Room, err)
	// Output:
	// by=facility-app
	// 4-17 <nil>
}
