package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"
)

// alertState is what is remembered of a device.
type alertState struct {
	// Last is the highest event time seen.
	Last time.Time `json:"last"`
	// Alerting says that an episode is open. It began with the reading of time
	// Since; PeakC is its highest temperature, in degrees C.
	Alerting bool      `json:"alerting,omitempty"`
	Since    time.Time `json:"since,omitzero"`
	PeakC    float64   `json:"peak_c,omitempty"`
	// MessageID is that of the episode's alert mail.
	MessageID string `json:"message_id,omitempty"`
}

// transition is what a reading does to a device's state.
type transition string

const (
	moveNone transition = ""
	moveLate transition = "late" // the reading is older than the device's last
	raised   transition = "raised"
	resolved transition = "resolved"
)

// step takes a device's next reading. An alert is raised by a temperature
// strictly above limitC and resolved by one strictly below clearC. A reading
// older than the last one moves nothing.
func (s *alertState) step(at time.Time, c, limitC, clearC float64) transition {
	if at.Before(s.Last) {
		return moveLate
	}
	s.Last = at
	switch {
	case !s.Alerting && c > limitC:
		s.Alerting, s.Since, s.PeakC = true, at, c
		return raised
	case !s.Alerting:
		return moveNone
	}
	s.PeakC = max(s.PeakC, c)
	if c < clearC {
		s.Alerting = false
		return resolved
	}
	return moveNone
}

// messageID returns the Message-ID, without brackets, of the mail about a
// transition. An episode is a device and the event time of the reading that
// raised its alert, so that the same mail has the same id however often it is
// made.
func messageID(device string, since time.Time, t transition, domain string) string {
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%d %s\n%s\n%s\n", len(device), device, since.UTC().Format(time.RFC3339Nano), t)
	return hex.EncodeToString(h.Sum(nil)[:16]) + "@" + domain
}
