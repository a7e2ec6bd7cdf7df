package main

import "time"

// outcome is a reading as it leaves the join.
type outcome struct {
	partition int32
	offset    int64
	reading   Reading
	bad       string // why it is dropped; "" if it is not
	found     bool   // device is its row
	device    Device
}

// Reasons for a drop.
const (
	dropReading = "not a reading"
	dropDevice  = "its device's row is not usable"
)

// apply counts a reading and moves its device's state. A reading that was
// applied before does nothing: Kafka hands out again what was not committed
// when the process ended.
//
// Readings of one partition come in the order of their offsets.
func (s *state) apply(o outcome, domain string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.offset < s.applied[o.partition] {
		return nil
	}
	s.applied[o.partition] = o.offset + 1
	s.dirtyParts[o.partition], s.dirtyCount = true, true
	s.count.Readings++
	switch {
	case o.bad != "":
		if s.count.Dropped == nil {
			s.count.Dropped = make(map[string]int64)
		}
		s.count.Dropped[o.bad]++
		return nil
	case !o.found:
		s.count.Unmatched++
		return nil
	}
	s.count.Joined++
	return s.move(o, domain)
}

// move makes the transition, if there is one, durable before it returns.
func (s *state) move(o outcome, domain string) error {
	id := o.reading.Device
	a := s.devices[id]
	t := a.step(o.reading.Time, o.reading.celsius(), o.device.LimitC, o.device.ClearC)
	l := letter{
		Kind: t, Device: o.device, Reading: o.reading, Since: a.Since, PeakC: a.PeakC, Queued: time.Now().UTC(),
		ID: messageID(id, a.Since, t, domain),
	}
	switch t {
	case moveLate:
		s.count.Late++
		return nil
	case raised:
		s.count.Alerts++
		a.MessageID = l.ID
	case resolved:
		s.count.Resolved++
		l.InReplyTo = a.MessageID
		a.MessageID = ""
	}
	s.devices[id] = a
	s.dirtyDevices[id] = true
	if t == moveNone {
		return nil
	}
	s.newMails = append(s.newMails, queued{s.nextSeq, l})
	s.nextSeq++
	return s.flushLocked()
}
