package main

import (
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/emersion/go-smtp"
)

// catcher is an SMTP server that takes every mail and keeps none, so that the
// program needs no other.
type catcher struct {
	server *smtp.Server
	listen net.Listener
	addr   string
	caught atomic.Int64
	done   chan error
}

// maxMail bounds a mail that the catcher takes, in bytes.
const maxMail = 1 << 20

func startCatcher() (*catcher, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start the mail catcher: %w", err)
	}
	c := &catcher{listen: l, addr: l.Addr().String(), done: make(chan error, 1)}
	c.server = smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return catchSession{c}, nil }))
	c.server.Domain = "localhost"
	c.server.MaxMessageBytes = maxMail
	c.server.ReadTimeout, c.server.WriteTimeout = time.Minute, time.Minute
	c.server.ErrorLog = silent{}
	go func() { c.done <- c.server.Serve(l) }()
	return c, nil
}

func (c *catcher) close() error {
	err := c.server.Close()
	_ = c.listen.Close() // which the server may not know of yet
	if served := <-c.done; err == nil {
		err = served
	}
	return err
}

// catchSession is one connection.
type catchSession struct{ c *catcher }

func (catchSession) Mail(string, *smtp.MailOptions) error { return nil }
func (catchSession) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (catchSession) Reset()                               {}
func (catchSession) Logout() error                        { return nil }

func (s catchSession) Data(r io.Reader) error {
	if _, err := io.Copy(io.Discard, r); err != nil {
		return err
	}
	s.c.caught.Add(1)
	return nil
}

// silent is a log for a server whose only client is this program.
type silent struct{}

func (silent) Printf(string, ...any) {}
func (silent) Println(...any)        {}
