package feed

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A header is what is needed of a record batch's: where it ends in the answer,
// its last offset, leader epoch and number of records. Of the message formats
// before Kafka 0.11 only the end is known; their epoch is -1.
type header struct {
	end     int
	magic   byte
	epoch   int32
	last    int64
	records int32
}

// headers returns those of the whole batches at the beginning of b, up to one of
// an unknown format. Brokers cut answers off at a size, in the middle of a batch.
func headers(b []byte) (found []header, err error) {
	const (
		lengthAt, afterLength = 8, 12
		epochAt, magicAt      = 12, 16
		deltaAt, recordsAt    = 23, 57
		headEnd               = 61
	)
	for at := 0; len(b)-at > magicAt+1; {
		in := b[at:]
		n := int64(binary.BigEndian.Uint32(in[lengthAt:])) + afterLength
		if n > int64(len(in)) {
			break
		}
		h := header{end: at + int(n), magic: in[magicAt], epoch: -1}
		switch {
		case h.magic > 2:
			return found, fmt.Errorf("format %d of a record batch is unknown", h.magic)
		case h.magic == 2 && n < headEnd:
			return found, fmt.Errorf("record batch has %d bytes, fewer than its header", n)
		case h.magic == 2:
			h.epoch = int32(binary.BigEndian.Uint32(in[epochAt:]))
			h.last = int64(binary.BigEndian.Uint64(in)) + int64(int32(binary.BigEndian.Uint32(in[deltaAt:])))
			h.records = int32(binary.BigEndian.Uint32(in[recordsAt:]))
		case n <= magicAt:
			return found, fmt.Errorf("message set has %d bytes, fewer than its header", n)
		}
		found = append(found, h)
		at = h.end
	}
	return found, nil
}

// decoded is what a partition's part of an answer holds.
type decoded struct {
	records []*kgo.Record
	next    int64
	epoch   int32 // of the last batch, if there is one
}

// decode decodes the batches at the beginning of rp that are whole and sound. It
// is an error if the first one is not sound. kgo alone would go on behind some
// that are not.
func decode(o kgo.ProcessFetchPartitionOpts, rp *kmsg.FetchResponseTopicPartition, dec kgo.Decompressor) (decoded, error) {
	whole, err := headers(rp.RecordBatches)
	for {
		if len(whole) == 0 {
			return decoded{next: o.Offset}, err
		}
		rp.RecordBatches = rp.RecordBatches[:whole[len(whole)-1].end]
		n, bad := 0, -1
		fp, next := kgo.ProcessFetchPartition(o, rp, dec, func(m kgo.FetchBatchMetrics) {
			if h := whole[n]; bad < 0 && h.magic == 2 && h.last >= o.Offset && m.NumRecords != int(h.records) {
				bad = n
				err = fmt.Errorf("%d of its %d records decode", m.NumRecords, h.records)
			}
			n++
		})
		if bad < 0 && n < len(whole) {
			bad = n
		}
		if bad < 0 {
			return decoded{records: fp.Records, next: next, epoch: whole[len(whole)-1].epoch}, nil
		}
		if fp.Err != nil {
			err = fp.Err
		} else if err == nil {
			err = errors.New("not all of it decodes")
		}
		whole = whole[:bad]
	}
}
