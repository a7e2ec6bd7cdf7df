package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Identity says whose rows a generation holds and what shaped them. A
// generation whose identity differs from what is wanted has to be built anew.
type Identity struct {
	// ClusterID is Kafka's cluster id; empty means unknown.
	ClusterID string
	// Topic is the topic's name, TopicID its id; all zero means unknown.
	Topic   string
	TopicID [16]byte
	// ReadUncommitted says whether open and aborted transactions are rows.
	ReadUncommitted bool
	// Transform is the version of the function that every record went
	// through; empty means that rows are as the topic has them.
	Transform string
	// BadRecords names the policy for records that do not decode; empty
	// means that records are not decoded when they arrive.
	BadRecords string
	// Headers says whether rows keep their record's headers.
	Headers bool
}

// A Partition is how far one partition of the topic has been read.
type Partition struct {
	// Known is false for a partition number that was never seen.
	Known bool
	// Next is the next offset to apply: all visible records below it are in
	// the rows.
	Next int64
	// Epoch is the leader epoch of the last batch read, -1 if unknown.
	Epoch int32
	// LogStart is the lowest offset that the partition's log still has, as
	// last seen. Rows below it are gone from the table.
	LogStart int64
	// AtEnd is when Next was last known to be the end of the log; zero if
	// never. For a partition that is read for the first time it is when
	// that began.
	AtEnd time.Time
}

// Counters count records over the life of a generation.
type Counters struct {
	Records    uint64 // records seen, whatever became of them
	Tombstones uint64 // records with a null value
	NullKeys   uint64 // records dropped because they have no key
	Rejected   uint64 // records that a transform rejected, or a policy skipped as bad
	Filtered   uint64 // records that a transform chose not to keep
	Verified   uint64 // rows deleted by a verification
}

// State is what a generation has reached: positions and counters. It is
// written with every batch. A State that was handed to Apply or got from a
// generation must not be changed any more; use Clone.
type State struct {
	// Partitions is indexed by partition number.
	Partitions []Partition
	Counters   Counters
	// PendingVerify names why a verification was begun and has not ended;
	// empty when the rows need none.
	PendingVerify string
}

// Clone returns a copy that may be changed.
func (s *State) Clone() *State {
	c := *s
	c.Partitions = slices.Clone(s.Partitions)
	return &c
}

// At returns the partition's entry for changing it, growing the slice.
func (s *State) At(p int32) *Partition {
	for int(p) >= len(s.Partitions) {
		s.Partitions = append(s.Partitions, Partition{Epoch: -1})
	}
	return &s.Partitions[p]
}

// Get returns the partition's entry, or a zero one that is not Known.
func (s *State) Get(p int32) Partition {
	if p < 0 || int(p) >= len(s.Partitions) {
		return Partition{Epoch: -1}
	}
	return s.Partitions[p]
}

// Gone reports whether a row of that place is below the log start of its
// partition.
func (s *State) Gone(partition int32, offset int64) bool {
	return int(partition) < len(s.Partitions) && offset < s.Partitions[partition].LogStart
}

const (
	stateVersion    byte = 1
	identityVersion byte = 1
	// maxPartitions bounds what a damaged record can make a reader allocate.
	maxPartitions = 1 << 20
)

var errShortRecord = errors.New("internal record ends early")

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func appendBool(dst []byte, b bool) []byte {
	if b {
		return append(dst, 1)
	}
	return append(dst, 0)
}

func encodeIdentity(id *Identity) []byte {
	dst := []byte{identityVersion}
	dst = appendString(dst, id.ClusterID)
	dst = appendString(dst, id.Topic)
	dst = append(dst, id.TopicID[:]...)
	dst = appendBool(dst, id.ReadUncommitted)
	dst = appendString(dst, id.Transform)
	dst = appendString(dst, id.BadRecords)
	return appendBool(dst, id.Headers)
}

func parseIdentity(b []byte) (id Identity, err error) {
	d := decoder{b: b}
	if v := d.byte(); v != identityVersion && d.err == nil {
		return id, corrupt(fmt.Errorf("identity record has version %d", v))
	}
	id.ClusterID = d.string()
	id.Topic = d.string()
	copy(id.TopicID[:], d.bytes(16))
	id.ReadUncommitted = d.bool()
	id.Transform = d.string()
	id.BadRecords = d.string()
	id.Headers = d.bool()
	return id, d.end()
}

func appendState(dst []byte, s *State) []byte {
	dst = append(dst, stateVersion)
	c := &s.Counters
	for _, n := range []uint64{c.Records, c.Tombstones, c.NullKeys, c.Rejected, c.Filtered, c.Verified} {
		dst = binary.AppendUvarint(dst, n)
	}
	dst = appendString(dst, s.PendingVerify)
	dst = binary.AppendUvarint(dst, uint64(len(s.Partitions)))
	for i := range s.Partitions {
		p := &s.Partitions[i]
		dst = appendBool(dst, p.Known)
		dst = binary.AppendVarint(dst, p.Next)
		dst = binary.AppendVarint(dst, int64(p.Epoch))
		dst = binary.AppendVarint(dst, p.LogStart)
		var at int64
		if !p.AtEnd.IsZero() {
			at = p.AtEnd.UnixMilli()
		}
		dst = binary.AppendVarint(dst, at)
	}
	return dst
}

func parseState(b []byte) (*State, error) {
	d := decoder{b: b}
	if v := d.byte(); v != stateVersion && d.err == nil {
		return nil, corrupt(fmt.Errorf("state record has version %d", v))
	}
	s := &State{}
	c := &s.Counters
	for _, n := range []*uint64{&c.Records, &c.Tombstones, &c.NullKeys, &c.Rejected, &c.Filtered, &c.Verified} {
		*n = d.uvarint()
	}
	s.PendingVerify = d.string()
	n := d.uvarint()
	// Each entry takes five bytes at least.
	if n > maxPartitions || n > uint64(len(d.b)/5) {
		return nil, corrupt(errShortRecord)
	}
	s.Partitions = make([]Partition, n)
	for i := range s.Partitions {
		p := &s.Partitions[i]
		p.Known = d.bool()
		p.Next = d.varint()
		p.Epoch = d.int32()
		p.LogStart = d.varint()
		if at := time.UnixMilli(d.varint()); at.UnixMilli() != 0 && !at.IsZero() {
			p.AtEnd = at
		}
	}
	return s, d.end()
}

// decoder reads an internal record; its first error sticks.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) bytes(n int) []byte {
	if d.err == nil && n > len(d.b) {
		d.err = errShortRecord
	}
	if d.err != nil {
		return nil
	}
	b := d.b[:n]
	d.b = d.b[n:]
	return b
}

func (d *decoder) byte() byte {
	if b := d.bytes(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

func (d *decoder) bool() bool {
	v := d.byte()
	if v > 1 && d.err == nil {
		d.err = fmt.Errorf("flag has value %d", v)
	}
	return v == 1
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		n = len(d.b) + 1
	}
	d.bytes(n)
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		n = len(d.b) + 1
	}
	d.bytes(n)
	return v
}

func (d *decoder) int32() int32 {
	v := d.varint()
	if v != int64(int32(v)) && d.err == nil {
		d.err = fmt.Errorf("%d does not fit into 32 bits", v)
	}
	return int32(v)
}

func (d *decoder) string() string {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		n = uint64(len(d.b)) + 1
	}
	return string(d.bytes(int(n)))
}

// end returns the first error, or one if bytes are left.
func (d *decoder) end() error {
	if d.err == nil && len(d.b) > 0 {
		d.err = fmt.Errorf("%d bytes are left over", len(d.b))
	}
	if d.err != nil {
		return corrupt(d.err)
	}
	return nil
}
