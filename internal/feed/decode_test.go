package feed

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// rawBatch is a record batch as it is in a log.
type rawBatch struct{ kmsg.RecordBatch }

// batch returns a sound batch of n records from an offset on, each of whose
// values has 10 bytes.
func batch(first int64, epoch int32, n int) *rawBatch {
	b := &rawBatch{}
	b.FirstOffset, b.PartitionLeaderEpoch, b.Magic = first, epoch, 2
	b.LastOffsetDelta, b.NumRecords = int32(n-1), int32(n)
	b.ProducerID, b.ProducerEpoch, b.FirstSequence = -1, -1, -1
	for i := range n {
		r := kmsg.Record{OffsetDelta: int32(i), Key: []byte("k"), Value: bytes.Repeat([]byte{'v'}, 10)}
		body := r.AppendTo(nil)[1:]
		b.Records = append(kbin.AppendVarint(b.Records, int32(len(body))), body...)
	}
	return b
}

// bytes returns it with length and checksum as they have to be.
func (b *rawBatch) bytes() []byte {
	raw := b.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-12))
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	return raw
}

func decodeAll(from int64, batches ...[]byte) (decoded, error) {
	rp := kmsg.NewFetchResponseTopicPartition()
	rp.RecordBatches = bytes.Join(batches, nil)
	return decode(kgo.ProcessFetchPartitionOpts{Topic: "t", Offset: from, IsolationLevel: kgo.ReadCommitted()}, &rp, kgo.DefaultDecompressor())
}

func TestDecode(t *testing.T) {
	sound := func(first int64, epoch int32, n int) []byte { return batch(first, epoch, n).bytes() }
	damaged := func(first int64) []byte {
		raw := sound(first, 9, 2)
		raw[len(raw)-1] ^= 1
		return raw
	}
	unknownFormat := func(first int64) []byte {
		raw := sound(first, 9, 2)
		raw[16] = 3
		return raw
	}
	// The checksum is right, and fewer records are there than it says.
	fewer := func(first int64) []byte {
		b := batch(first, 9, 3)
		b.Records = b.Records[:len(b.Records)-5]
		return b.bytes()
	}
	compressed := func(first int64) []byte {
		b := batch(first, 9, 2)
		b.Attributes = 1 // gzip, which it is not
		return b.bytes()
	}
	emptied := func(first int64, n int32) []byte {
		b := batch(first, 6, 0)
		b.LastOffsetDelta = n - 1
		return b.bytes()
	}
	short := func() []byte {
		raw := sound(0, 0, 1)[:40]
		binary.BigEndian.PutUint32(raw[8:], 40-12)
		return raw
	}
	for _, tc := range []struct {
		name    string
		from    int64
		in      [][]byte
		offsets []int64
		next    int64
		epoch   int32
		err     string
	}{
		{name: "nothing", from: 5, next: 5},
		{name: "two batches", in: [][]byte{sound(0, 3, 2), sound(2, 4, 1)}, offsets: []int64{0, 1, 2}, next: 3, epoch: 4},
		{name: "from the midst of one", from: 1, in: [][]byte{sound(0, 3, 3)}, offsets: []int64{1, 2}, next: 3, epoch: 3},
		{name: "from behind the first", from: 2, in: [][]byte{sound(0, 3, 2), sound(2, 4, 1)}, offsets: []int64{2}, next: 3, epoch: 4},
		{name: "across a gap", from: 1, in: [][]byte{sound(7, 3, 2)}, offsets: []int64{7, 8}, next: 9, epoch: 3},
		{name: "emptied by compaction", in: [][]byte{sound(0, 3, 1), emptied(1, 10)}, offsets: []int64{0}, next: 11, epoch: 6},
		{name: "cut off", in: [][]byte{sound(0, 3, 2), sound(2, 4, 2)[:70]}, offsets: []int64{0, 1}, next: 2, epoch: 3},
		{name: "cut off in the length", in: [][]byte{sound(0, 3, 2), sound(2, 4, 2)[:10]}, offsets: []int64{0, 1}, next: 2, epoch: 3},
		{name: "cut off in the first", from: 4, in: [][]byte{sound(4, 4, 2)[:70]}, next: 4},
		{name: "damaged behind a sound one", in: [][]byte{sound(0, 3, 2), damaged(2), sound(4, 5, 2)}, offsets: []int64{0, 1}, next: 2, epoch: 3},
		{name: "damaged at once", from: 2, in: [][]byte{damaged(2), sound(4, 5, 2)}, err: "crc"},
		{name: "unknown format behind a sound one", in: [][]byte{sound(0, 3, 2), unknownFormat(2), sound(4, 5, 2)}, offsets: []int64{0, 1}, next: 2, epoch: 3},
		{name: "unknown format at once", from: 2, in: [][]byte{unknownFormat(2), sound(4, 5, 2)}, err: "format 3 of a record batch is unknown"},
		{name: "fewer records behind a sound one", in: [][]byte{sound(0, 3, 2), fewer(2), sound(5, 5, 2)}, offsets: []int64{0, 1}, next: 2, epoch: 3},
		{name: "fewer records at once", from: 2, in: [][]byte{fewer(2), sound(5, 5, 2)}, err: "2 of its 3 records decode"},
		{name: "not compressed as it says behind a sound one", in: [][]byte{sound(0, 3, 2), compressed(2), sound(4, 5, 2)}, offsets: []int64{0, 1}, next: 2, epoch: 3},
		{name: "not compressed as it says", from: 2, in: [][]byte{compressed(2), sound(4, 5, 2)}, err: "gzip"},
		{name: "shorter than its header", in: [][]byte{short()}, err: "fewer than its header"},
		{name: "shorter than any header", in: [][]byte{make([]byte, 40)}, err: "fewer than its header"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := decodeAll(tc.from, tc.in...)
			if tc.err != "" {
				require.ErrorContains(t, err, tc.err)
				return
			}
			require.NoError(t, err)
			var offsets []int64
			for _, r := range got.records {
				offsets = append(offsets, r.Offset)
			}
			require.Equal(t, tc.offsets, offsets)
			require.Equal(t, tc.next, got.next)
			require.Equal(t, tc.epoch, got.epoch)
		})
	}
}

// Logs may still have records from before Kafka 0.11, whose leader epoch nobody
// knows.
func TestDecodeOfMessageSets(t *testing.T) {
	m := kmsg.MessageV1{Offset: 4, Magic: 1, Timestamp: 5, Key: []byte("k"), Value: []byte("v")}
	raw := m.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-12))
	binary.BigEndian.PutUint32(raw[12:], crc32.ChecksumIEEE(raw[16:]))

	got, err := decodeAll(4, raw)
	require.NoError(t, err)
	require.Len(t, got.records, 1)
	require.Equal(t, "v", string(got.records[0].Value))
	require.Equal(t, int64(5), got.next)
	require.Equal(t, int32(-1), got.epoch)
}

func FuzzHeaders(f *testing.F) {
	f.Add([]byte{})
	f.Add(batch(0, 1, 3).bytes())
	f.Add(append(batch(0, 1, 3).bytes(), batch(3, 2, 1).bytes()[:50]...))
	f.Add(bytes.Repeat([]byte{0xff}, 100))
	f.Fuzz(func(t *testing.T, b []byte) {
		found, _ := headers(b)
		at := 0
		for _, h := range found {
			if h.end <= at || h.end > len(b) {
				t.Fatalf("a batch ends at %d, after one to %d, in %d bytes", h.end, at, len(b))
			}
			at = h.end
		}
		got, err := decodeAll(0, b)
		if err == nil && got.next < 0 {
			t.Fatalf("next offset %d", got.next)
		}
	})
}

// FuzzDecode damages, or cuts off, three batches of an answer, of which all but one
// are compressed. What decodes is the beginning of what was there; where a batch
// has a sound checksum and is garbage all the same, nothing goes further than an
// error.
func FuzzDecode(f *testing.F) {
	f.Add([]byte("value"), uint8(0), uint16(0), byte(0), uint16(0), false)
	for kind := range uint8(5) {
		f.Add([]byte("value value value"), kind, uint16(0), byte(0), uint16(kind)*40, false)
		f.Add([]byte("value value value"), kind, uint16(200), byte(1), uint16(0), false)
		f.Add([]byte("value value value"), kind, uint16(61), byte(0x80), uint16(0), true)
	}
	f.Fuzz(func(t *testing.T, value []byte, kind uint8, at uint16, flip byte, cut uint16, seal bool) {
		const first, each = 5, 3
		var raw []byte
		var ends []int
		for i := range 3 {
			b := batch(first+int64(i*each), 1, 0)
			b.LastOffsetDelta, b.NumRecords = each-1, each
			for j := range each {
				r := kmsg.Record{OffsetDelta: int32(j), Key: []byte{byte(i), byte(j)}, Value: value}
				body := r.AppendTo(nil)[1:]
				b.Records = append(kbin.AppendVarint(b.Records, int32(len(body))), body...)
			}
			if i > 0 {
				b.compress(t, kind)
			}
			raw = append(raw, b.bytes()...)
			ends = append(ends, len(raw))
		}
		// exact is how many batches have to decode as they were.
		exact, harmed := len(ends), 0
		if i := int(at) % len(raw); flip != 0 {
			harmed = slices.IndexFunc(ends, func(end int) bool { return i < end })
			begin := append([]int{0}, ends...)[harmed]
			raw[i] ^= flip
			exact = harmed
			if seal && i-begin >= 21 {
				binary.BigEndian.PutUint32(raw[begin+17:], crc32.Checksum(raw[begin+21:ends[harmed]], crc32.MakeTable(crc32.Castagnoli)))
			} else {
				seal = i-begin < 17 // offset, length and epoch have no checksum
			}
		}
		raw = raw[:len(raw)-int(cut)%len(raw)]
		for exact > 0 && ends[exact-1] > len(raw) {
			exact--
		}
		got, err := decodeAll(first, raw)
		if err == nil && got.next < first {
			t.Fatalf("next offset %d", got.next)
		}
		if len(got.records) < exact*each {
			t.Fatalf("%d records of %d whole batches decode: %v", len(got.records), exact, err)
		}
		if !seal && len(got.records) > exact*each {
			t.Fatalf("%d records decode where %d batches are sound", len(got.records), exact)
		}
		for i, r := range got.records[:exact*each] {
			if r.Offset != int64(first+i) || !bytes.Equal(r.Key, []byte{byte(i / each), byte(i % each)}) || !bytes.Equal(r.Value, value) {
				t.Fatalf("record %d is %d %q=%q", i, r.Offset, r.Key, r.Value)
			}
		}
	})
}

// compress compresses the records in one of five ways.
func (b *rawBatch) compress(t *testing.T, kind uint8) {
	codecs := []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()}
	c, err := kgo.DefaultCompressor(codecs[int(kind)%len(codecs)])
	require.NoError(t, err)
	if c == nil {
		return
	}
	var to bytes.Buffer
	out, as := c.Compress(&to, b.Records)
	b.Records = bytes.Clone(out)
	b.Attributes |= int16(as)
}
