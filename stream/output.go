package stream

import (
	"errors"
	"sync/atomic"
	"unsafe"

	"github.com/twmb/franz-go/pkg/kgo"
)

// output is a record on its way to Kafka.
type output struct {
	rec   kgo.Record // the first: see acknowledged
	in    *input
	from  *partition
	acked *atomic.Int64 // counts it
}

// outputs are allocated many at a time.
type outputs struct{ free []output }

const outputsAtOnce = 64

// next returns an output with an empty record. Until take is called it is the next
// one again.
func (os *outputs) next() *output {
	if len(os.free) == 0 {
		os.free = make([]output, outputsAtOnce)
	}
	os.free[0] = output{}
	return &os.free[0]
}

// take says that the next output is in use.
func (os *outputs) take() { os.free = os.free[1:] }

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
	p.w.client.Produce(p.w.base, &o.rec, acknowledged)
	return nil
}

// acknowledged is called by the client with the record of an output. That it finds
// the output by itself saves a closure for each.
func acknowledged(rec *kgo.Record, err error) {
	o := (*output)(unsafe.Pointer(rec)) //nolint:gosec // a pointer to a struct is one to its first field
	p := o.from
	switch {
	case err == nil:
		o.acked.Add(1)
		o.in.release()
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
