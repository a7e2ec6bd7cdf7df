package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"
)

// refusal is the server's last word on one mail: another attempt would end the
// same way, and the next mail may well go through.
type refusal struct{ err error }

func (e *refusal) Error() string { return e.err.Error() }
func (e *refusal) Unwrap() error { return e.err }

// smtpTimeout bounds connecting, and sending one mail.
const smtpTimeout = 15 * time.Second

// sendGrace is how long a mail that is on the wire may still take when the
// program is asked to stop. What is cut off then may have arrived.
const sendGrace = 2 * time.Second

// smtpClient keeps one connection open as long as there are mails.
type smtpClient struct {
	dial *mail.Client

	mu      sync.Mutex
	conn    net.Conn // of the open session, or of one that is being opened
	stopped bool     // a connection that comes now comes too late

	session *smtp.Client
}

// newSMTPClient makes a client. With a login it insists on STARTTLS, so that the
// password is never sent in the clear; without one it takes STARTTLS where the
// server offers it.
func newSMTPClient(c smtpConfig) (*smtpClient, error) {
	host, portText, err := net.SplitHostPort(c.addr)
	if err != nil {
		return nil, fmt.Errorf("-smtp %q: %w", c.addr, err)
	}
	port, err := net.LookupPort("tcp", portText)
	if err != nil {
		return nil, fmt.Errorf("-smtp %q: %w", c.addr, err)
	}
	roots, err := readRoots("-smtp-tls-ca", c.tlsCA)
	if err != nil {
		return nil, err
	}
	s := new(smtpClient)
	opts := []mail.Option{
		mail.WithPort(port), mail.WithTimeout(smtpTimeout), mail.WithTLSPolicy(mail.TLSOpportunistic),
		mail.WithTLSConfig(&tls.Config{ServerName: host, MinVersion: tls.VersionTLS12, RootCAs: roots}),
		mail.WithDialContextFunc(s.connect),
	}
	if c.user != "" {
		opts = append(opts, mail.WithTLSPolicy(mail.TLSMandatory), mail.WithSMTPAuth(mail.SMTPAuthAutoDiscover),
			mail.WithUsername(c.user), mail.WithPassword(c.password))
	}
	if s.dial, err = mail.NewClient(host, opts...); err != nil {
		return nil, fmt.Errorf("-smtp %s: %w", net.JoinHostPort(host, strconv.Itoa(port)), err)
	}
	return s, nil
}

// connect keeps the connection, to be able to close it when a session could not
// be opened on it or has to be cut off.
func (s *smtpClient) connect(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		_ = conn.Close()
		return nil, context.Canceled
	}
	s.conn = conn
	return conn, nil
}

// stop cuts the session that is being opened, also when its connection is not
// yet known: the server may have accepted it already.
func (s *smtpClient) stop() {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	s.cut()
}

// cut closes the connection under whatever is going on.
func (s *smtpClient) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		_ = s.conn.Close()
		s.conn = nil
	}
}

// quitTimeout bounds saying goodbye.
const quitTimeout = time.Second

// hangUp ends the session, politely if that is possible.
func (s *smtpClient) hangUp() {
	if s.session != nil {
		s.mu.Lock()
		if s.conn != nil {
			_ = s.conn.SetDeadline(time.Now().Add(quitTimeout))
		}
		s.mu.Unlock()
		_ = s.dial.CloseWithSMTPClient(s.session)
		s.session = nil
	}
	s.cut()
}

// send returns nil when the server has taken the mail, a [*refusal] if it never
// will, and any other error if it is worth another attempt. When ctx ends, a
// mail that is on the wire has [sendGrace] to get through.
func (s *smtpClient) send(ctx context.Context, m *mail.Msg) error {
	if err := s.open(ctx); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(sendGrace, s.cut) })
	err := s.dial.SendWithSMTPClient(s.session, m)
	stop()
	if err == nil || m.IsDelivered() {
		if err != nil { // taken, but the session is no good any more
			s.drop()
		}
		return nil
	}
	s.drop()
	if se, ok := errors.AsType[*mail.SendError](err); ok && se.ErrorCode() >= 500 {
		switch se.Reason {
		case mail.ErrSMTPRcptTo, mail.ErrSMTPData, mail.ErrSMTPDataClose:
			return &refusal{err}
		}
	}
	return err
}

// drop ends a session after an error.
func (s *smtpClient) drop() {
	s.session = nil
	s.cut()
}

func (s *smtpClient) open(ctx context.Context) error {
	if s.session != nil {
		return nil
	}
	s.mu.Lock()
	s.stopped = false
	s.mu.Unlock()
	stop := context.AfterFunc(ctx, s.stop)
	session, err := s.dial.DialToSMTPClientWithContext(ctx)
	stop()
	if err != nil {
		s.cut()
		return err
	}
	s.session = session
	return nil
}
