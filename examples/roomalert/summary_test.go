package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSummary(t *testing.T) {
	var out, errs bytes.Buffer
	a := &app{con: newConsole(&out, &errs, false), brokers: []string{"127.0.0.1:1"}}
	a.printSummary(&snapshot{
		counters: counters{Readings: 9, Joined: 4, Unmatched: 2, Dropped: map[string]int64{"b": 1, "a": 2}, Late: 1, Alerts: 2, Resolved: 1, Mails: 1},
		waiting:  1, failed: []failedMail{{sampleLetter(raised), "550 no"}},
	}, true)
	require.Equal(t, `1 mails were refused by the SMTP server for good:
  to front@example.com: Alert: Room <204> & Süd, Hotel Aurora is at 30.2 °C, limit 30 °C: 550 no
2 readings dropped: a
1 readings dropped: b
1 readings came later than a newer one of their device, and moved nothing
1 mails are waiting to be sent
the broker stays up on 127.0.0.1:1 until Ctrl-C
readings=9 joined=4 unmatched=2 dropped=3 alerts=2 resolved=1 mails=1
`, out.String())
}
