package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// A progress tells a person how far a run is: by a bar with the time that is left
// on a terminal, and by a line for each measurement elsewhere.
type progress struct {
	w        io.Writer
	terminal bool
	began    time.Time
	all, got float64
	now      func() time.Time
	current  string
}

func newProgress(w io.Writer) *progress {
	return &progress{w: w, terminal: isTerminal(w), began: time.Now(), now: time.Now}
}

// isTerminal tells whether w is a character device, as a terminal is.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}

// expect sets the weight of all that will be done.
func (p *progress) expect(weight float64) { p.all = weight }

func (p *progress) title(s string) {
	p.current = s
	p.draw("")
}

// done adds the weight of something.
func (p *progress) done(weight float64) {
	p.got += weight
	p.draw("")
}

// note prints a line that stays.
func (p *progress) note(line string) {
	if p.terminal {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
	fmt.Fprintln(p.w, line)
	p.draw("")
}

// making tells how much of a topic is made; only a terminal shows it.
func (p *progress) making(what string, done, all int) {
	p.draw(fmt.Sprintf("making %s %d %%", what, 100*done/max(1, all)))
}

func (p *progress) draw(what string) {
	if !p.terminal || p.all == 0 {
		return
	}
	if what == "" {
		what = p.current
	}
	fmt.Fprintf(p.w, "\r\x1b[K%s %s", p.bar(), what)
}

const barWidth = 30

// bar is the bar and the time that is left, which is estimated from the time that
// what is done has taken.
func (p *progress) bar() string {
	part := min(1, p.got/p.all)
	full := int(part * barWidth)
	left := ""
	if part > 0.02 {
		took := p.now().Sub(p.began)
		left = fmt.Sprintf(" %v left", time.Duration(float64(took)*(1-part)/part).Round(time.Second))
	}
	return fmt.Sprintf("[%s%s] %3.0f %%%s", strings.Repeat("#", full), strings.Repeat(".", barWidth-full), 100*part, left)
}

// end removes the bar.
func (p *progress) end() {
	if p.terminal {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
