package stream

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"
)

// output is a record on its way to Kafka. Its memory is used again once it is
// acknowledged.
type output struct {
	rec   kgo.Record
	in    *input
	from  *partition
	acked *atomic.Int64 // counts it

	promise func(*kgo.Record, error) // done, made once
}

// outputs holds outputs that can be used.
type outputs struct{ free sync.Pool }

// get returns an output with an empty record.
func (os *outputs) get() *output {
	if o, ok := os.free.Get().(*output); ok {
		return o
	}
	o := new(output)
	o.promise = o.done
	return o
}

// put takes an output that nobody uses any more.
func (os *outputs) put(o *output) {
	o.rec, o.in, o.from, o.acked = kgo.Record{}, nil, nil, nil
	os.free.Put(o)
}

// produce sends an output. It takes over the caller's reference on in. While
// too many outputs are unacknowledged it waits. Its errors are notOwn.
func (p *partition) produce(in *input, o *output) error {
	if err := p.send(in, o, &p.w.count.outputs); err != nil {
		return &notOwn{err}
	}
	return nil
}

func (p *partition) send(in *input, o *output, acked *atomic.Int64) error {
	limit := int64(p.w.cfg.maxInFlight)
	if p.unacked.Load() >= limit && !p.wait(p.ctx, func() bool { return p.unacked.Load() <= limit/2 }) {
		return errAbandoned
	}
	in.began = true
	o.in, o.from, o.acked = in, p, acked
	p.unacked.Add(1)
	p.w.client.Produce(p.w.base, &o.rec, o.promise)
	return nil
}

// done is called by the client, which does not touch the record afterwards.
func (o *output) done(_ *kgo.Record, err error) {
	p := o.from
	switch {
	case err == nil:
		o.acked.Add(1)
		o.in.release()
		p.w.out.put(o)
	case !errors.Is(err, kgo.ErrClientClosed):
		p.w.fail(&ProduceError{
			Topic: o.rec.Topic, Err: err,
			FromTopic: p.topic, FromPartition: p.id, FromOffset: o.in.rec.Offset,
		})
	}
	p.unacked.Add(-1)
	if p.waiting.Load() {
		wake(p.room)
	}
}
