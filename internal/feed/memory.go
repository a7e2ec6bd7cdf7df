package feed

import (
	"unsafe"

	"github.com/twmb/franz-go/pkg/kgo"
)

// recordBytes is what a record takes besides its bytes: about 190 B, as much as
// many a row.
const recordBytes = int64(unsafe.Sizeof(kgo.Record{}))

// recordMemory is the memory of the records that one partition has in an answer.
// It is used again for those of the next.
type recordMemory struct {
	all  []kgo.Record
	used int
}

// These bound the memory that is kept: 6 MB. It grows to that only where answers
// bring so many records.
const recordsFirst, recordsKept = 1 << 8, 1 << 15

// GetRecords implements kgo.PoolRecords. kgo sets every field of what it returns.
func (m *recordMemory) GetRecords(n int) []kgo.Record {
	if len(m.all)-m.used < n {
		// What was handed out before stays with who has it.
		m.all, m.used = make([]kgo.Record, max(n, min(2*len(m.all), recordsKept), recordsFirst)), 0
	}
	s := m.all[m.used:][:n:n]
	m.used += n
	return s
}

// PutRecords implements kgo.PoolRecords. What one record batch had comes back
// with the rest, see done.
func (m *recordMemory) PutRecords([]kgo.Record) {}

// done takes back all that was handed out.
func (m *recordMemory) done() {
	if len(m.all) > recordsKept {
		m.all = nil
	}
	clear(m.all[:min(m.used, len(m.all))]) // they hold on to the answer
	m.used = 0
}
