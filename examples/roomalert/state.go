package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// state is what alerts and mails depend on. All of it is in memory, and in a
// small store: which readings have been applied, what each device's state is,
// the counters, and the mails to send. It changes in one synced batch, when an
// alert is raised or resolved and before the stream commits. So a mail goes out
// only for a transition that cannot be forgotten, and the offsets committed to
// Kafka are never past what the store holds.
type state struct {
	mu sync.Mutex
	db *pebble.DB

	meta    meta
	applied map[int32]int64 // per partition, the next offset to apply
	devices map[string]alertState
	count   counters
	outbox  []queued // by seq
	failed  []failedMail
	nextSeq uint64

	dirtyParts   map[int32]bool
	dirtyDevices map[string]bool
	dirtyCount   bool
	newMails     []queued // not in the store yet

	wake chan struct{} // holds a token when the outbox has grown
}

// meta says what the state belongs to.
type meta struct {
	Format int `json:"format"`
	// Group is the consumer group of this state.
	Group string `json:"group"`
	// Cluster, Topic and TopicID are where the applied offsets mean something;
	// empty until the brokers were reached once.
	Cluster string `json:"cluster,omitempty"`
	Topic   string `json:"topic,omitempty"`
	TopicID string `json:"topic_id,omitempty"`
	// Loads are the files that were loaded to the end, with their topic's id.
	Loads map[string]bool `json:"loads,omitempty"`
}

// counters are the figures of the summary. They count each reading once.
type counters struct {
	Readings  int64            `json:"readings"`
	Joined    int64            `json:"joined"`
	Unmatched int64            `json:"unmatched"`
	Dropped   map[string]int64 `json:"dropped,omitempty"` // by reason
	Late      int64            `json:"late"`              // of those joined
	Alerts    int64            `json:"alerts"`
	Resolved  int64            `json:"resolved"`
	Mails     int64            `json:"mails"` // delivered
}

func (c *counters) dropped() (n int64) {
	for _, m := range c.Dropped {
		n += m
	}
	return n
}

// The keys of the store: a letter for the kind, then the rest.
const (
	keyMeta    = "m"
	keyCount   = "c"
	kindPart   = 'p' // partition, 4 bytes
	kindDevice = 'd' // device id
	kindOutbox = 'o' // seq, 8 bytes
	kindFailed = 'f' // seq, 8 bytes
)

const stateFormat = 1

// openState opens the state in dir, or makes it.
func openState(dir string, opts *pebble.Options) (*state, error) {
	db, err := pebble.Open(dir, opts)
	if err != nil {
		return nil, fmt.Errorf("open the alert state in %s: %w", dir, err)
	}
	s := &state{
		db: db, applied: make(map[int32]int64), devices: make(map[string]alertState),
		dirtyParts: make(map[int32]bool), dirtyDevices: make(map[string]bool), wake: make(chan struct{}, 1),
	}
	if err := s.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("read the alert state in %s: %w", dir, err), db.Close())
	}
	return s, nil
}

func (s *state) load() (err error) {
	it, err := s.db.NewIter(nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for it.First(); it.Valid(); it.Next() {
		if err := s.loadOne(it.Key(), it.Value()); err != nil {
			return fmt.Errorf("key %q: %w", it.Key(), err)
		}
	}
	if err := it.Error(); err != nil {
		return err
	}
	switch s.meta.Format {
	case stateFormat:
	case 0:
		s.meta = meta{Format: stateFormat, Group: "roomalert-" + randomID()}
		return s.saveMeta()
	default:
		return fmt.Errorf("format %d is not known to this version of roomalert, which writes %d", s.meta.Format, stateFormat)
	}
	if len(s.outbox) > 0 {
		s.wake <- struct{}{}
	}
	return nil
}

func (s *state) loadOne(key, value []byte) error {
	rest := key[1:]
	switch {
	case string(key) == keyMeta:
		return json.Unmarshal(value, &s.meta)
	case string(key) == keyCount:
		return json.Unmarshal(value, &s.count)
	case key[0] == kindPart && len(rest) == 4:
		var next int64
		err := json.Unmarshal(value, &next)
		s.applied[int32(binary.BigEndian.Uint32(rest))] = next
		return err
	case key[0] == kindDevice:
		var a alertState
		err := json.Unmarshal(value, &a)
		s.devices[string(rest)] = a
		return err
	case key[0] == kindOutbox && len(rest) == 8:
		q := queued{seq: binary.BigEndian.Uint64(rest)}
		err := json.Unmarshal(value, &q.letter)
		s.outbox = append(s.outbox, q)
		s.nextSeq = max(s.nextSeq, q.seq+1)
		return err
	case key[0] == kindFailed && len(rest) == 8:
		var f failedMail
		err := json.Unmarshal(value, &f)
		s.failed = append(s.failed, f)
		s.nextSeq = max(s.nextSeq, binary.BigEndian.Uint64(rest)+1)
		return err
	}
	return errors.New("is not one of this program")
}

// flush makes everything applied so far durable.
func (s *state) flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.flushLocked()
}

func (s *state) flushLocked() error {
	b := s.db.NewBatch()
	defer func() { _ = b.Close() }()
	var errs []error
	for p := range s.dirtyParts {
		errs = append(errs, put(b, partKey(p), s.applied[p]))
	}
	for id := range s.dirtyDevices {
		errs = append(errs, put(b, append([]byte{kindDevice}, id...), s.devices[id]))
	}
	if s.dirtyCount {
		errs = append(errs, put(b, []byte(keyCount), s.count))
	}
	for _, q := range s.newMails {
		errs = append(errs, put(b, seqKey(kindOutbox, q.seq), q.letter))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("write the alert state: %w", err)
	}
	if b.Empty() {
		return nil
	}
	if err := b.Commit(pebble.Sync); err != nil {
		return fmt.Errorf("write the alert state: %w", err)
	}
	clear(s.dirtyParts)
	clear(s.dirtyDevices)
	s.dirtyCount = false
	if len(s.newMails) > 0 {
		s.outbox = append(s.outbox, s.newMails...)
		s.newMails = nil
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
	return nil
}

// snapshot is what progress and summary show.
type snapshot struct {
	counters
	waiting int // mails
	failed  []failedMail
}

func (s *state) snapshot() snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := snapshot{counters: s.count, waiting: len(s.outbox), failed: slices.Clone(s.failed)}
	n.Dropped = maps.Clone(s.count.Dropped)
	return n
}

// group returns the consumer group that belongs to this state.
func (s *state) group() string { return s.meta.Group }

func (s *state) loaded(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.meta.Loads[id]
}

// setLoaded remembers that files were loaded to the end.
func (s *state) setLoaded(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.meta.Loads == nil {
		s.meta.Loads = make(map[string]bool)
	}
	s.meta.Loads[id] = true
	return s.saveMeta()
}

func (s *state) saveMeta() error {
	b, err := json.Marshal(s.meta)
	if err == nil {
		err = s.db.Set([]byte(keyMeta), b, pebble.Sync)
	}
	if err != nil {
		return fmt.Errorf("write the alert state: %w", err)
	}
	return nil
}

func (s *state) close() error {
	return errors.Join(s.flush(), s.db.Close())
}

func put(b *pebble.Batch, key []byte, v any) error {
	value, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return b.Set(key, value, nil)
}

func partKey(p int32) []byte { return binary.BigEndian.AppendUint32([]byte{kindPart}, uint32(p)) }

func seqKey(kind byte, seq uint64) []byte { return binary.BigEndian.AppendUint64([]byte{kind}, seq) }
