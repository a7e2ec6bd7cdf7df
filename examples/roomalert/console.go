package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"unicode/utf8"
)

// console keeps what the program says in order: results on stdout, remarks and
// progress on stderr. On a terminal the progress is one line, rewritten in
// place, under everything else.
type console struct {
	mu       sync.Mutex
	out, err io.Writer
	terminal bool
	progress string // what was shown last
}

func newConsole(out, err io.Writer, terminal bool) *console {
	return &console{out: out, err: err, terminal: terminal}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// result prints a line to stdout.
func (c *console) result(format string, args ...any) {
	c.print(c.out, fmt.Sprintf(format, args...))
}

// note prints a remark or an error to stderr.
func (c *console) note(format string, args ...any) {
	c.print(c.err, "roomalert: "+fmt.Sprintf(format, args...))
}

func (c *console) print(w io.Writer, line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	shown := c.progress
	c.clear()
	_, _ = fmt.Fprintln(w, line)
	if c.terminal {
		c.show(shown)
	}
}

// status shows progress. Off a terminal it is a line of its own, unless nothing
// has changed.
func (c *console) status(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if line == c.progress {
		return
	}
	c.clear()
	c.show(line)
}

// done removes the progress line from a terminal.
func (c *console) done() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clear()
	if c.terminal {
		c.progress = ""
	}
}

func (c *console) show(line string) {
	c.progress = line
	if !c.terminal {
		_, _ = fmt.Fprintln(c.err, line)
	} else if line != "" {
		_, _ = fmt.Fprint(c.err, line)
	}
}

// clear overwrites with blanks, which every terminal knows.
func (c *console) clear() {
	if n := utf8.RuneCountInString(c.progress); c.terminal && n > 0 {
		_, _ = fmt.Fprintf(c.err, "\r%s\r", strings.Repeat(" ", n))
	}
}
