package stream

import (
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

// BadRecordPolicy says what becomes of a record that cannot be decoded or
// encoded, or for which a user's function returned an error or panicked: it is
// [Fail], [Skip], or made by [DeadLetter].
//
// An error marked by codec.Retryable is never about a bad record. The
// partition waits, 100 ms at first and up to 5 s, and tries the same record
// again; the other partitions go on.
type BadRecordPolicy string

const (
	// Fail ends Run with a [*RecordError]. Nothing is committed past the
	// record, which is read again by the next run.
	Fail BadRecordPolicy = "fail"
	// Skip counts the record and goes on.
	Skip BadRecordPolicy = "skip"
)

const deadLetterPrefix = "dead-letter "

// DeadLetter writes the record to a topic and goes on. The dead letter has the
// input's key, value, headers and timestamp, as they were read, and says in
// the headers named Header... where it comes from and what was wrong. The
// input's offset is committed only after the dead letter is acknowledged. One
// input makes at most one dead letter, however many records made from it fail.
func DeadLetter(topic string) BadRecordPolicy { return BadRecordPolicy(deadLetterPrefix + topic) }

// Headers that a dead letter has in addition to those of its record.
const (
	HeaderTopic     = "enrich.dead-letter.topic"
	HeaderPartition = "enrich.dead-letter.partition" // decimal
	HeaderOffset    = "enrich.dead-letter.offset"    // decimal
	HeaderStage     = "enrich.dead-letter.stage"     // as in [RecordError]
	HeaderError     = "enrich.dead-letter.error"     // text, at most 1,000 bytes
)

// maxErrorHeader keeps the text of an error from making a record too large.
const maxErrorHeader = 1000

// deadLetterTopic returns the topic of a policy made by DeadLetter.
func (b BadRecordPolicy) deadLetterTopic() (string, bool) {
	return strings.CutPrefix(string(b), deadLetterPrefix)
}

func (b BadRecordPolicy) valid() bool {
	topic, dead := b.deadLetterTopic()
	return b == Fail || b == Skip || dead && topic != ""
}

func deadLetter(topic string, e *RecordError, raw *kgo.Record) kgo.Record {
	text := e.Err.Error()
	if len(text) > maxErrorHeader {
		text = text[:maxErrorHeader]
	}
	return kgo.Record{
		Topic: topic, Key: raw.Key, Value: raw.Value, Timestamp: raw.Timestamp,
		Headers: append(slices.Clip(raw.Headers),
			Header{Key: HeaderTopic, Value: []byte(e.Topic)},
			Header{Key: HeaderPartition, Value: strconv.AppendInt(nil, int64(e.Partition), 10)},
			Header{Key: HeaderOffset, Value: strconv.AppendInt(nil, e.Offset, 10)},
			Header{Key: HeaderStage, Value: []byte(e.Stage)},
			Header{Key: HeaderError, Value: []byte(text)},
		),
	}
}

// reject gives an input to the error policy. It returns an error if that is to
// end the run; otherwise the caller's reference is still the caller's.
func (p *partition) reject(in *input, stage string, err error) error {
	e := &RecordError{Stage: stage, Topic: p.topic, Partition: p.id, Offset: in.rec.Offset, Err: err}
	w := p.w
	policy := w.cfg.badRecord
	first := !in.rejected
	in.rejected = true
	if first {
		w.hooks.badRecord(e, policy)
		w.log.Warn("bad record", "stage", stage, "topic", e.Topic, "partition", e.Partition, "offset", e.Offset, "error", err, "policy", policy)
	}
	topic, dead := policy.deadLetterTopic()
	switch {
	case dead && first:
		w.count.deadLettered.Add(1)
		in.retain()
		return p.send(in, &output{rec: deadLetter(topic, e, in.rec)}, &w.count.deadLetters)
	case dead, policy == Skip && !first:
		return nil
	case policy == Skip:
		w.count.skipped.Add(1)
		return nil
	}
	w.count.failed.Add(1)
	return e
}
