package main

import (
	"bytes"
	netmail "net/mail"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func sampleLetter(kind transition) letter {
	h := 48.25
	l := letter{
		Kind:    kind,
		Device:  Device{"5C:CF", "Room <204> & Süd", "Hotel Aurora", "front@example.com", 30, 28.5},
		Reading: Reading{"5C:CF", at("2017-09-11T06:00:00.5Z"), 86.36, &h},
		Since:   at("2017-09-11T06:00:00.5Z"), PeakC: 30.2,
		Queued: at("2026-02-03T04:05:06Z"), ID: "alert@example.com",
	}
	if kind == resolved {
		l.Reading.Time, l.Reading.TempF = at("2017-09-11T08:30:01.5Z"), 83.2
		l.PeakC = 33.456
		l.ID, l.InReplyTo = "resolve@example.com", "alert@example.com"
	}
	return l
}

func composed(t *testing.T, l letter) caughtMail {
	t.Helper()
	from, err := netmail.ParseAddress("Wächter <roomalert@example.com>")
	require.NoError(t, err)
	msg, err := newComposer(from).compose(&l)
	require.NoError(t, err)
	var raw bytes.Buffer
	_, err = msg.WriteTo(&raw)
	require.NoError(t, err)
	return caughtMail{raw: raw.Bytes()}
}

func TestAlertMail(t *testing.T) {
	m := composed(t, sampleLetter(raised))
	h := m.parse(t).Header
	require.Equal(t, "Alert: Room <204> & Süd, Hotel Aurora is at 30.2 °C, limit 30 °C", m.subject(t))
	from, err := h.AddressList("From")
	require.NoError(t, err)
	require.Equal(t, []*netmail.Address{{Name: "Wächter", Address: "roomalert@example.com"}}, from)
	to, err := h.AddressList("To")
	require.NoError(t, err)
	require.Equal(t, []*netmail.Address{{Address: "front@example.com"}}, to)
	date, err := h.Date()
	require.NoError(t, err)
	require.True(t, date.Equal(at("2026-02-03T04:05:06Z")))
	require.Equal(t, "<alert@example.com>", h.Get("Message-Id"))
	require.Empty(t, h.Get("In-Reply-To"))
	require.Empty(t, h.Get("References"))
	require.Equal(t, "auto-generated", h.Get("Auto-Submitted"))

	parts := m.parts(t)
	require.Len(t, parts, 2)
	require.Equal(t, `Room <204> & Süd at Hotel Aurora is too warm.

Room         Room <204> & Süd
Site         Hotel Aurora
Device       5C:CF
Reading      30.2 °C (86.36 °F)
Humidity     48.2 %
Measured at  2017-09-11 06:00:00 UTC
Limit        above 30 °C
Clears       below 28.5 °C
Alert since  2017-09-11 06:00:00 UTC
`, parts["text/plain"])
	html := parts["text/html"]
	require.Contains(t, html, "<h2>Room &lt;204&gt; &amp; Süd at Hotel Aurora is too warm.</h2>")
	require.Contains(t, html, `<tr><th align="left">Reading</th><td>30.2 °C (86.36 °F)</td></tr>`)
	require.NotContains(t, html, "<204>")
}

func TestResolveMailIsInTheAlertsThread(t *testing.T) {
	m := composed(t, sampleLetter(resolved))
	h := m.parse(t).Header
	require.Equal(t, "Resolved: Room <204> & Süd, Hotel Aurora is back to 28.4 °C", m.subject(t))
	require.Equal(t, "<resolve@example.com>", h.Get("Message-Id"))
	require.Equal(t, "<alert@example.com>", h.Get("In-Reply-To"))
	require.Equal(t, "<alert@example.com>", h.Get("References"))
	plain := m.parts(t)["text/plain"]
	require.Contains(t, plain, "is well again.")
	require.Contains(t, plain, "Alert since  2017-09-11 06:00:00 UTC\n")
	require.Contains(t, plain, "Lasted       2h30m1s\n")
	require.Contains(t, plain, "Highest      33.5 °C\n")
}

func TestMailWithoutHumidity(t *testing.T) {
	l := sampleLetter(raised)
	l.Reading.Humidity = nil
	m := composed(t, l)
	require.NotContains(t, m.parts(t)["text/plain"], "Humidity")
}

// What validate refuses must not reach a header by another way either: a letter
// may come from a store that was written to by hand.
func TestHeadersCannotBeInjected(t *testing.T) {
	l := sampleLetter(raised)
	l.Device.Room = "Room\r\nBcc: victim@example.com\r\n\r\nbody"
	m := composed(t, l)
	h := m.parse(t).Header
	require.Empty(t, h.Get("Bcc"))
	require.Equal(t, "<alert@example.com>", h.Get("Message-Id"))

	l.Device.Owner = "front@example.com\r\nBcc: victim@example.com"
	_, err := newComposer(&netmail.Address{Address: "a@example.com"}).compose(&l)
	require.Error(t, err)
}

func TestDegreesShowTheSideOfTheLimit(t *testing.T) {
	for _, c := range []struct {
		c, limit float64
		want     string
	}{
		{30.2, 30, "30.2 °C"}, {30.04, 30, "30.04 °C"}, {30.0044, 30, "30.004 °C"}, {29.96, 30, "29.96 °C"}, {29.94, 30, "29.9 °C"},
		{30, 30, "30.0 °C"}, {-0.04, 0, "-0.04 °C"}, {30.06, 30.05, "30.1 °C"}, {30.05, 30.05, "30.1 °C"},
		{30.000000000000004, 30, "30.000000000000004 °C"},
	} {
		require.Equal(t, c.want, degrees(c.c, c.limit))
	}
	require.Equal(t, "28.5 °C", exact(28.5))
	require.Equal(t, "-3 °C", exact(-3))
}

func TestMailsOfTheDemoParse(t *testing.T) {
	server := startSMTPServer(t)
	want := example(t)
	r := runProgram(t.Context(), "-smtp", server.addr, "-from", "Alerts <roomalert@example.com>")
	require.Equal(t, exitDone, r.code, r.stderr)
	mails := server.caught()
	require.Len(t, server.ids(), 2*len(want.episodes)) // not the mails, which nobody could read
	alerts := make(map[string]string)                  // Message-ID -> recipient
	for i, m := range mails {
		h := m.parse(t).Header
		id := h.Get("Message-Id")
		require.Equal(t, r.subjects()[i], m.subject(t), "what is shown, in the order of delivery")
		require.Equal(t, "roomalert@example.com", m.from)
		require.Len(t, m.to, 1)
		require.Equal(t, "auto-generated", h.Get("Auto-Submitted"))
		date, err := h.Date()
		require.NoError(t, err)
		require.WithinDuration(t, time.Now(), date, patience)
		parts := m.parts(t)
		require.Len(t, parts, 2)
		for _, word := range []string{"Room", "Device", "Reading", "°C", "Limit", "Alert since"} {
			require.Contains(t, parts["text/plain"], word)
			require.Contains(t, parts["text/html"], word)
		}
		if root := h.Get("In-Reply-To"); root != "" {
			require.Equal(t, root, h.Get("References"))
			require.Contains(t, alerts, root, "the alert's mail was first")
			require.Equal(t, alerts[root], m.to[0])
			delete(alerts, root)
			continue
		}
		require.NotContains(t, alerts, id)
		alerts[id] = m.to[0]
	}
	require.Empty(t, alerts, "every alert has its resolve mail")
}
