package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestConsoleOffATerminal(t *testing.T) {
	var out, errs bytes.Buffer
	c := newConsole(&out, &errs, false)
	c.status("10 readings")
	c.status("10 readings") // nothing new
	c.result("mail %d", 1)
	c.note("waiting")
	c.status("20 readings")
	c.done()
	c.result("last")
	require.Equal(t, "mail 1\nlast\n", out.String())
	require.Equal(t, "10 readings\nroomalert: waiting\n20 readings\n", errs.String())
}

func TestConsoleOnATerminal(t *testing.T) {
	var both bytes.Buffer
	c := newConsole(&both, &both, true)
	c.status("10 °C")
	c.result("mail")
	c.status("9")
	c.done()
	c.result("last")
	require.Equal(t, "10 °C"+"\r     \r"+"mail\n"+"10 °C"+"\r     \r"+"9"+"\r \r"+"last\n", both.String())
	require.False(t, isTerminal(&both))
}

func TestDropsAreToldAFewTimes(t *testing.T) {
	var out, errs bytes.Buffer
	c := newConsole(&out, &errs, false)
	var d dropNotes
	for i := range 100 {
		d.note(c, "reason", "offset %d", i)
	}
	d.note(c, "other", "x")
	require.Equal(t, "roomalert: dropped (reason): offset 0\nroomalert: dropped (reason): offset 1\nroomalert: dropped (reason): offset 2\n"+
		"roomalert: dropped (reason): offset 3\nroomalert: dropped (reason): offset 4\n"+
		"roomalert: dropped (reason): more of them, which are only counted\nroomalert: dropped (other): x\n", errs.String())
}
