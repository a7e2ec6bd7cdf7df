package conformance

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/globaltable"
)

// fullDisk is a file system that has no space left while full is set.
type fullDisk struct{ full atomic.Bool }

// MaybeError implements errorfs.Injector.
func (d *fullDisk) MaybeError(op errorfs.Op) error {
	if !d.full.Load() {
		return nil
	}
	switch op.Kind {
	case errorfs.OpCreate, errorfs.OpFileWrite, errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo, errorfs.OpFilePreallocate:
		return syscall.ENOSPC
	}
	return nil
}

// String implements errorfs.Injector.
func (d *fullDisk) String() string { return "full disk" }

func (d *fullDisk) on(fs vfs.FS) vfs.FS { return errorfs.Wrap(fs, d) }

// A hold keeps a table from applying the record of one key, and those behind it,
// until it is released.
type hold struct {
	key   string
	asked atomic.Int64 // how often the record was tried
	seen  atomic.Int64 // how many records were tried
	over  atomic.Bool
}

var errHeld = errors.New("held by the test")

func (h *hold) opt() globaltable.Opt {
	return globaltable.Transform("held", func(e entry) (string, bool, error) {
		h.seen.Add(1)
		if e.Key == h.key {
			h.asked.Add(1)
			if !h.over.Load() {
				return "", false, codec.Retryable(errHeld)
			}
		}
		return e.Value, true, nil
	})
}

// A refusal makes the brokers of the fake answer requests of one kind with an
// error, while more of them are left.
type refusal struct {
	left  atomic.Int64
	asked atomic.Int64
}

// The kinds of requests that are refused.
var (
	listOffsets = kmsg.ListOffsets.Int16
	metadata    = kmsg.Metadata.Int16
	fetch       = kmsg.Fetch.Int16
)

// refuse begins to refuse the requests that are about the world's topic.
func (w *world) refuse(kind func() int16, why *kerr.Error, times int64) *refusal {
	r := &refusal{}
	r.left.Store(times)
	c := w.broker.Fake()
	c.ControlKey(kind(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		resp := req.ResponseKind()
		if !refused(req, resp, why.Code) || r.left.Load() <= 0 {
			return nil, nil, false
		}
		r.left.Add(-1)
		r.asked.Add(1)
		return resp, nil, true
	})
	return r
}

// refused makes an answer that refuses all that was asked. It reports false for a
// question that is not about one topic.
func refused(kreq kmsg.Request, kresp kmsg.Response, code int16) bool {
	switch req := kreq.(type) {
	case *kmsg.MetadataRequest:
		if len(req.Topics) != 1 {
			return false
		}
		t := kmsg.NewMetadataResponseTopic()
		t.Topic, t.ErrorCode = req.Topics[0].Topic, code
		resp := kresp.(*kmsg.MetadataResponse)
		resp.Topics = append(resp.Topics, t)
	case *kmsg.ListOffsetsRequest:
		resp := kresp.(*kmsg.ListOffsetsResponse)
		for _, rt := range req.Topics {
			t := kmsg.NewListOffsetsResponseTopic()
			t.Topic = rt.Topic
			for _, rp := range rt.Partitions {
				p := kmsg.NewListOffsetsResponseTopicPartition()
				p.Partition, p.ErrorCode = rp.Partition, code
				t.Partitions = append(t.Partitions, p)
			}
			resp.Topics = append(resp.Topics, t)
		}
	case *kmsg.FetchRequest:
		resp := kresp.(*kmsg.FetchResponse)
		for _, rt := range req.Topics {
			t := kmsg.NewFetchResponseTopic()
			t.Topic, t.TopicID = rt.Topic, rt.TopicID
			for _, rp := range rt.Partitions {
				p := kmsg.NewFetchResponseTopicPartition()
				p.Partition, p.ErrorCode = rp.Partition, code
				t.Partitions = append(t.Partitions, p)
			}
			resp.Topics = append(resp.Topics, t)
		}
	}
	return true
}

// A seen counts requests that reach the brokers of the fake, by kind.
type seen struct{ n atomic.Int64 }

func (w *world) count(kinds ...kmsg.Key) *seen {
	s := &seen{}
	c := w.broker.Fake()
	for _, kind := range kinds {
		c.ControlKey(kind.Int16(), func(kmsg.Request) (kmsg.Response, error, bool) {
			c.KeepControl()
			s.n.Add(1)
			return nil, nil, false
		})
	}
	return s
}

// A network counts the connections that are open, and can be cut.
type network struct {
	open, dialed atomic.Int64
	cut          atomic.Bool
}

type countedConn struct {
	net.Conn
	n      *network
	closed atomic.Bool
}

// Close implements net.Conn.
func (c *countedConn) Close() error {
	if !c.closed.Swap(true) {
		c.n.open.Add(-1)
	}
	return c.Conn.Close()
}

// Read implements net.Conn.
func (c *countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.n.cut.Load() {
		return 0, errors.Join(errCut, c.Close())
	}
	return n, err
}

var errCut = errors.New("the network is cut")

func (n *network) opt() globaltable.Opt {
	return globaltable.Kafka(kgo.Dialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
		if n.cut.Load() {
			return nil, errCut
		}
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		n.dialed.Add(1)
		n.open.Add(1)
		return &countedConn{Conn: c, n: n}, nil
	}))
}
