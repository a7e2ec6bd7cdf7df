package globaltable_test

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/codec"
	"github.com/globaltable/enrich/globaltable"
)

// A model is all that was produced to a topic. It knows nothing of the table.
type model struct {
	id    globaltable.TopicID
	parts [][]logged // in the order of offsets
	start []int64    // of each partition's log
}

// Of the record's transaction, if it has one.
const (
	committed = iota
	aborted
	undecided
)

type logged struct {
	rec
	offset, timestamp int64
	state             int
}

// row is what a table tells of a key.
type row struct {
	Value             string
	Partition         int32
	Offset, Timestamp int64
}

func newModel(id globaltable.TopicID, partitions int) *model {
	m := &model{id: id}
	m.grow(partitions)
	return m
}

func (m *model) grow(partitions int) {
	for len(m.parts) < partitions {
		m.parts, m.start = append(m.parts, nil), append(m.start, 0)
	}
}

func (m *model) add(rs []rec, produced []*kgo.Record, state int) {
	for i, r := range rs {
		p := produced[i]
		m.parts[r.partition] = append(m.parts[r.partition], logged{r, p.Offset, p.Timestamp.UnixMilli(), state})
	}
}

// decide ends the transaction that is open.
func (m *model) decide(commit bool) {
	for _, p := range m.parts {
		for i := range p {
			if p[i].state == undecided {
				p[i].state = aborted
				if commit {
					p[i].state = committed
				}
			}
		}
	}
}

// stable is the offset from which on a partition cannot be read yet.
func (m *model) stable(p int, o options) int64 {
	for _, r := range m.parts[p] {
		if r.state == undecided && !o.uncommitted {
			return r.offset
		}
	}
	return math.MaxInt64
}

// end is the offset behind the last record of a partition that can be seen.
func (m *model) end(p int, o options) (end int64) {
	stable := m.stable(p, o)
	for _, r := range m.parts[p] {
		if r.offset < stable && (r.state == committed || o.uncommitted) {
			end = r.offset + 1
		}
	}
	return end
}

// rows folds what can be seen.
func (m *model) rows(o options) map[string]row {
	rows := map[string]row{}
	for p, recs := range m.parts {
		stable := m.stable(p, o)
		for _, r := range recs {
			if r.offset >= stable || r.offset < m.start[p] || r.nullKey || r.state != committed && !o.uncommitted {
				continue
			}
			value, keep, err := shapeOf(o.transform, r.value)
			if r.deletes || !keep || err != nil {
				delete(rows, r.key)
				continue
			}
			rows[r.key] = row{value, r.partition, r.offset, r.timestamp}
		}
	}
	return rows
}

// shapeOf is what the transform of a version makes of a value.
func shapeOf(version, value string) (string, bool, error) {
	switch {
	case version == "":
	case version == "+" && strings.HasPrefix(value, "filter"):
		return "", false, nil
	case version == "+" && strings.HasPrefix(value, "reject"):
		return "", false, errors.New("no")
	}
	return version + value, true, nil
}

// opts are a table's options for these.
func (o options) opts() []globaltable.Opt {
	opts := []globaltable.Opt{
		globaltable.BulkOf(int64(o.bulkFrom), o.chunk), globaltable.FlushInterval(o.flush), globaltable.MemoryBudget(o.budget),
		globaltable.AcceptUncompacted(), globaltable.Pebble(o.tune),
	}
	if o.uncommitted {
		opts = append(opts, globaltable.ReadUncommitted())
	}
	if o.transform != "" {
		opts = append(opts, globaltable.Transform(o.transform, func(e globaltable.Entry[string, string]) (string, bool, error) {
			return shapeOf(o.transform, e.Value)
		}))
	}
	return opts
}

// texts is a codec of keys that is not codec.String, whose lookups are shorter.
type texts struct{ codec.Codec[string] }

func (o options) keys() codec.Codec[string] {
	if o.encodes {
		return texts{codec.String()}
	}
	return codec.String()
}

// joined is what has to become of a reading, and what a join makes of it.
func joined(left bool, r rec, rows map[string]row) string {
	got, ok := rows[r.key]
	switch {
	case r.nullKey && left:
		return "left none"
	case r.nullKey:
		return "drop no-key"
	case !ok && left:
		return "left none"
	case !ok:
		return "drop no-match"
	}
	return showJoined(left, r.key, got)
}

func showJoined(left bool, key string, got row) string {
	kind := "inner"
	if left {
		kind = "left"
	}
	return fmt.Sprintf("%s %q=%q %d/%d at %d", kind, key, got.Value, got.Partition, got.Offset, got.Timestamp)
}

func rowOf(e globaltable.Entry[string, string]) row {
	return row{e.Value, e.Partition, e.Offset, e.Timestamp.UnixMilli()}
}
