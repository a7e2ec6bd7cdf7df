package main

import (
	"bytes"
	"fmt"
	htmltemplate "html/template"
	netmail "net/mail"
	"strconv"
	"strings"
	texttemplate "text/template"
	"time"

	"github.com/wneessen/go-mail"
)

// letter is what a mail says, before it is written out. It is kept in the
// outbox, so that a mail that is sent again is the same mail.
type letter struct {
	Kind    transition `json:"kind"` // raised or resolved
	Device  Device     `json:"device"`
	Reading Reading    `json:"reading"`
	Since   time.Time  `json:"since"`  // event time of the reading that raised the alert
	PeakC   float64    `json:"peak_c"` // the episode's highest temperature
	Queued  time.Time  `json:"queued"` // the mail's Date
	// ID is the Message-ID, InReplyTo that of the alert's mail in a resolve
	// mail; both without brackets.
	ID        string `json:"id"`
	InReplyTo string `json:"in_reply_to,omitempty"`
}

// subject is also what is shown when the mail is delivered.
func (l *letter) subject() string {
	c := l.Reading.celsius()
	where := l.Device.Room + ", " + l.Device.Site
	if l.Kind == resolved {
		return fmt.Sprintf("Resolved: %s is back to %s", where, degrees(c, l.Device.ClearC))
	}
	return fmt.Sprintf("Alert: %s is at %s, limit %s", where, degrees(c, l.Device.LimitC), exact(l.Device.LimitC))
}

// degrees rounds a temperature for display: to one digit, or to as many as it
// takes to see on which side of a limit it is.
func degrees(c, limit float64) string {
	for digits := 1; ; digits++ {
		text := strconv.FormatFloat(c, 'f', digits, 64)
		shown, _ := strconv.ParseFloat(text, 64)
		if c == limit || (shown > limit) == (c > limit) && (shown < limit) == (c < limit) || digits == 17 {
			return text + " °C"
		}
	}
}

// exact shows a limit as it was set.
func exact(c float64) string { return strconv.FormatFloat(c, 'f', -1, 64) + " °C" }

// mailLine is a row of a mail's table.
type mailLine struct{ Name, Value string }

// mailText is what the templates show.
type mailText struct {
	Title string
	Lines []mailLine
}

func (l *letter) text() mailText {
	d, r := &l.Device, &l.Reading
	c := r.celsius()
	t := mailText{Title: fmt.Sprintf("%s at %s is too warm.", d.Room, d.Site)}
	against := d.LimitC
	if l.Kind == resolved {
		t.Title = fmt.Sprintf("%s at %s is well again.", d.Room, d.Site)
		against = d.ClearC
	}
	t.Lines = []mailLine{{"Room", d.Room}, {"Site", d.Site}, {"Device", d.ID}, {"Reading", fmt.Sprintf("%s (%.2f °F)", degrees(c, against), r.TempF)}}
	if r.Humidity != nil {
		t.Lines = append(t.Lines, mailLine{"Humidity", fmt.Sprintf("%.1f %%", *r.Humidity)})
	}
	t.Lines = append(t.Lines, mailLine{"Measured at", clock(r.Time)},
		mailLine{"Limit", "above " + exact(d.LimitC)}, mailLine{"Clears", "below " + exact(d.ClearC)},
		mailLine{"Alert since", clock(l.Since)})
	if l.Kind == resolved {
		t.Lines = append(t.Lines, mailLine{"Lasted", r.Time.Sub(l.Since).Round(time.Second).String()},
			mailLine{"Highest", degrees(l.PeakC, d.LimitC)})
	}
	return t
}

func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

const plainPart = `{{.Title}}

{{range .Lines}}{{printf "%-12s" .Name}} {{.Value}}
{{end}}`

const htmlPart = `<!DOCTYPE html>
<html><body>
<h2>{{.Title}}</h2>
<table>
{{range .Lines}}<tr><th align="left">{{.Name}}</th><td>{{.Value}}</td></tr>
{{end}}</table>
</body></html>
`

// composer writes letters out as mails.
type composer struct {
	from  *netmail.Address
	plain *texttemplate.Template
	html  *htmltemplate.Template
}

func newComposer(from *netmail.Address) *composer {
	return &composer{
		from:  from,
		plain: texttemplate.Must(texttemplate.New("plain").Parse(plainPart)),
		html:  htmltemplate.Must(htmltemplate.New("html").Parse(htmlPart)),
	}
}

// domain is where Message-IDs are from.
func (c *composer) domain() string {
	return c.from.Address[strings.LastIndexByte(c.from.Address, '@')+1:]
}

// compose makes the mail of a letter: a plain and an HTML part, in the thread
// of its alert, marked so that no vacation responder answers.
func (c *composer) compose(l *letter) (*mail.Msg, error) {
	m := mail.NewMsg(mail.WithNoDefaultUserAgent())
	if err := m.FromFormat(c.from.Name, c.from.Address); err != nil {
		return nil, fmt.Errorf("from %s: %w", c.from, err)
	}
	if err := m.To(l.Device.Owner); err != nil {
		return nil, fmt.Errorf("to %q: %w", l.Device.Owner, err)
	}
	m.Subject(l.subject())
	m.SetDateWithValue(l.Queued)
	m.SetMessageIDWithValue(l.ID)
	m.SetGenHeader("Auto-Submitted", "auto-generated")
	if l.InReplyTo != "" {
		m.SetGenHeader(mail.HeaderInReplyTo, "<"+l.InReplyTo+">")
		m.SetGenHeader(mail.HeaderReferences, "<"+l.InReplyTo+">")
	}
	text := l.text()
	var plain, html bytes.Buffer
	if err := c.plain.Execute(&plain, text); err != nil {
		return nil, err
	}
	if err := c.html.Execute(&html, text); err != nil {
		return nil, err
	}
	m.SetBodyString(mail.TypeTextPlain, plain.String())
	m.AddAlternativeString(mail.TypeTextHTML, html.String())
	return m, nil
}
