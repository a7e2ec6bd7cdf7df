package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/globaltable"
	"github.com/globaltable/enrich/join"
	"github.com/globaltable/enrich/stream"
)

// stopTimeout bounds how long a stop waits for brokers that are away.
const stopTimeout = 3 * time.Second

// pipeline does all that needs Kafka: the topics, the load, the join. It
// returns when the readings are at their end or ctx ends; then with the error
// of ctx or none. caughtUp says that the files were loaded to the end.
func (a *app) pipeline(ctx context.Context) (caughtUp bool, err error) {
	a.setPhase("topics")
	if err := a.cluster.ensureTopics(ctx, specs(a.cfg)); err != nil {
		return false, err
	}
	at, err := a.cluster.find(ctx, a.cfg.readingsTopic)
	if err != nil {
		return false, err
	}
	if err := a.state.belongTo(at, a.cfg.state); err != nil {
		return false, err
	}
	if err := a.loadDevices(ctx); err != nil {
		return false, err
	}
	table, err := a.openTable()
	if err != nil {
		return false, err
	}
	status := func() string { return table.Status().State.String() }
	a.table.Store(&status)
	running, stop := context.WithCancel(ctx)
	ran := make(chan error, 1)
	go func() { ran <- table.Run(running) }()
	defer func() {
		stop()
		if rerr := <-ran; err == nil {
			err = rerr // otherwise it is what err is about, or less
		}
		err = errors.Join(err, table.Close())
		if _, ok := errors.AsType[*globaltable.NotCompactedError](err); ok {
			err = fmt.Errorf("%w: give -accept-uncompacted", err)
		}
	}()
	// Not ready means that the readings would have to wait anyway; and what is
	// wrong with the table is said before a long load.
	a.setPhase("reading the devices")
	if err := table.WaitReady(ctx); err != nil {
		return false, err
	}
	if err := a.loadReadings(ctx, at.topicID); err != nil {
		return false, err
	}
	a.setPhase("joining")
	return true, stream.Run(ctx, a.sink(table), a.streamOpts()...)
}

func (a *app) loadDevices(ctx context.Context) error {
	if len(a.in.devices) == 0 {
		return nil
	}
	at, err := a.cluster.find(ctx, a.cfg.devicesTopic)
	if err != nil {
		return err
	}
	// Once per state: what others have changed in the topic since stays.
	id := a.in.devicesID + " " + at.topicID
	if a.state.loaded(id) {
		return nil
	}
	a.setPhase("loading devices")
	if err := a.load.devices(ctx, a.cfg.devicesTopic, a.in.devices); err != nil {
		return err
	}
	return a.state.setLoaded(id)
}

func (a *app) loadReadings(ctx context.Context, topicID string) error {
	if len(a.in.readings) == 0 {
		return nil
	}
	id := a.in.readingsID + " " + topicID
	if a.state.loaded(id) {
		a.load.done.Store(int64(len(a.in.readings)))
		return nil
	}
	a.setPhase("loading readings")
	if keeps, limited := a.cluster.retention(ctx, a.cfg.readingsTopic); limited && time.Since(a.in.readings[0].Time) > keeps {
		a.con.note("topic %s keeps records for %v (retention.ms), and the files begin with a reading of %s: the brokers may delete it at any time",
			a.cfg.readingsTopic, keeps, clock(a.in.readings[0].Time))
	}
	if err := a.load.readings(ctx, a.cfg.readingsTopic, a.in.readingsID, a.in.readings); err != nil {
		return err
	}
	return a.state.setLoaded(id)
}

func (a *app) openTable() (*globaltable.Table[string, deviceRow], error) {
	opts := []globaltable.Opt{
		globaltable.Brokers(a.brokers...), globaltable.Dir(a.dirs.devices()),
		globaltable.Kafka(a.opts...), globaltable.Logger(noteLog(a.con)),
	}
	if a.cfg.acceptUncompacted {
		opts = append(opts, globaltable.AcceptUncompacted())
	}
	return globaltable.Open(a.cfg.devicesTopic, codec.String(), newDeviceCodec(), opts...)
}

// parsed is a reading, or what is wrong with a record.
type parsed struct {
	reading Reading
	bad     string
}

// sink joins each reading with its device and gives it to the alert state.
//
// What cannot be used is marked and flows on: every record comes to the state
// in the order of its partition, so that one offset per partition says exactly
// which ones were counted.
func (a *app) sink(table *globaltable.Table[string, deviceRow]) stream.Sink {
	raw := stream.From(a.cfg.readingsTopic, codec.Bytes(), codec.Bytes())
	readings := stream.Map(raw, func(r stream.Record[[]byte, []byte]) (stream.Record[[]byte, parsed], error) {
		return stream.WithValue(r, a.parse(r)), nil
	})
	joined := join.Left(readings, table,
		func(r stream.Record[[]byte, parsed]) (string, bool) { return r.Value.reading.Device, r.Value.bad == "" },
		func(r stream.Record[[]byte, parsed], e globaltable.Entry[string, deviceRow]) (outcome, error) {
			o := outcome{partition: r.Partition, offset: r.Offset, reading: r.Value.reading, bad: r.Value.bad, found: e.Found, device: e.Value.Device}
			if o.bad == "" && e.Value.bad != "" {
				o.bad = dropDevice
				a.drops.note(a.con, dropDevice, "a reading of device %q: %s", o.reading.Device, e.Value.bad)
			}
			return o, nil
		})
	domain := a.compose.domain()
	return stream.ForEach(joined, func(_ context.Context, r stream.Record[[]byte, outcome]) error {
		return a.state.apply(r.Value, domain)
	})
}

func (a *app) parse(r stream.Record[[]byte, []byte]) parsed {
	err := errors.New("it has no value")
	var reading Reading
	if !r.NullValue {
		reading, err = decodeReading(r.Value)
	}
	if err != nil {
		a.drops.note(a.con, dropReading, "%s/%d offset %d: %v", r.Topic, r.Partition, r.Offset, err)
		return parsed{bad: dropReading}
	}
	return parsed{reading: reading}
}

func (a *app) streamOpts() []stream.Opt {
	opts := []stream.Opt{
		stream.Brokers(a.brokers...), stream.Group(a.state.group()), stream.Kafka(a.opts...),
		stream.BeforeCommit(func(context.Context) error { return a.state.flush() }),
		stream.ShutdownTimeout(stopTimeout), stream.Logger(noteLog(a.con)),
	}
	if !a.dirs.temporary {
		// One process at a time uses a state, so a name that stays lets a new one
		// take over from one that was killed without waiting for its session to
		// end.
		opts = append(opts, stream.InstanceID("roomalert"))
	}
	if !a.cfg.follow {
		opts = append(opts, stream.StopAtEnd())
	}
	return opts
}
