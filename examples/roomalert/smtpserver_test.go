package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net"
	netmail "net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"
)

// smtpServer is a server that keeps every mail and does what a test tells it.
type smtpServer struct {
	t    *testing.T
	addr string

	mu    sync.Mutex
	srv   *smtp.Server
	l     net.Listener
	mails []caughtMail
	auths int
	conns int

	tls            *tls.Config
	user, password string // empty: no login
	// on is asked at every stage, "mail", "rcpt" and "data"; what it returns is
	// the server's answer. For "data" it is called with the mail, which is kept
	// unless there is an error. It is called without the lock.
	on func(stage string, m *caughtMail) error
}

type caughtMail struct {
	from string
	to   []string
	raw  []byte
	tls  bool
	// session numbers the connection it came by.
	session int
}

// newSMTPServer chooses an address and does not listen yet.
func newSMTPServer(t *testing.T) *smtpServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &smtpServer{t: t, addr: l.Addr().String()}
	require.NoError(t, l.Close())
	t.Cleanup(s.stop)
	return s
}

func startSMTPServer(t *testing.T) *smtpServer {
	t.Helper()
	s := newSMTPServer(t)
	s.start()
	return s
}

func (s *smtpServer) start() {
	s.t.Helper()
	l, err := net.Listen("tcp", s.addr)
	require.NoError(s.t, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	srv := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		_, secure := c.TLSConnectionState()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.conns++
		return &serverSession{s: s, tls: secure, number: s.conns}, nil
	}))
	srv.Domain = "localhost"
	srv.TLSConfig = s.tls
	srv.ErrorLog = silent{}
	srv.ReadTimeout, srv.WriteTimeout = patience, patience
	s.srv, s.l = srv, l
	go func() { _ = srv.Serve(l) }()
}

// stop closes the server and every connection.
func (s *smtpServer) stop() {
	s.mu.Lock()
	srv, l := s.srv, s.l
	s.srv = nil
	s.mu.Unlock()
	if srv != nil {
		_ = srv.Close()
		_ = l.Close() // which the server may not know of yet
	}
}

func (s *smtpServer) caught() []caughtMail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]caughtMail(nil), s.mails...)
}

// ids are the Message-IDs in the order of arrival.
func (s *smtpServer) ids() (ids []string) {
	for _, m := range s.caught() {
		ids = append(ids, m.parse(s.t).Header.Get("Message-Id"))
	}
	return ids
}

func (s *smtpServer) keep(m *caughtMail) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mails = append(s.mails, *m)
}

func (s *smtpServer) sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns
}

func (s *smtpServer) logins() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.auths
}

func (s *smtpServer) ask(stage string, m *caughtMail) error {
	s.mu.Lock()
	on := s.on
	s.mu.Unlock()
	if on == nil {
		return nil
	}
	return on(stage, m)
}

// answer sets what the server does.
func (s *smtpServer) answer(on func(stage string, m *caughtMail) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.on = on
}

func status(code int, text string) error {
	return &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{code / 100, 0, 0}, Message: text}
}

type serverSession struct {
	s      *smtpServer
	m      caughtMail
	authed bool
	tls    bool
	number int
}

func (c *serverSession) AuthMechanisms() []string {
	if c.s.user == "" {
		return nil
	}
	return []string{sasl.Plain}
}

func (c *serverSession) Auth(string) (sasl.Server, error) {
	if c.s.user == "" {
		return nil, smtp.ErrAuthUnsupported
	}
	return sasl.NewPlainServer(func(_, user, password string) error {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		c.s.auths++
		if user != c.s.user || password != c.s.password {
			return errors.New("wrong")
		}
		c.authed = true
		return nil
	}), nil
}

func (c *serverSession) Mail(from string, _ *smtp.MailOptions) error {
	if c.s.user != "" && !c.authed {
		return smtp.ErrAuthRequired
	}
	c.m = caughtMail{from: from, tls: c.tls, session: c.number}
	return c.s.ask("mail", &c.m)
}

func (c *serverSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	c.m.to = append(c.m.to, to)
	return c.s.ask("rcpt", &c.m)
}

func (c *serverSession) Data(r io.Reader) (err error) {
	if c.m.raw, err = io.ReadAll(r); err != nil {
		return err
	}
	if err := c.s.ask("data", &c.m); err != nil {
		return err
	}
	c.s.keep(&c.m)
	return nil
}

func (c *serverSession) Reset()        {}
func (c *serverSession) Logout() error { return nil }

// parse reads a mail as a mail reader does.
func (m *caughtMail) parse(t testing.TB) *netmail.Message {
	t.Helper()
	msg, err := netmail.ReadMessage(bytes.NewReader(m.raw))
	require.NoError(t, err)
	return msg
}

// subject is the mail's subject, decoded.
func (m *caughtMail) subject(t testing.TB) string {
	t.Helper()
	s, err := new(mime.WordDecoder).DecodeHeader(m.parse(t).Header.Get("Subject"))
	require.NoError(t, err)
	return s
}

// parts are the mail's bodies by content type.
func (m *caughtMail) parts(t testing.TB) map[string]string {
	t.Helper()
	msg := m.parse(t)
	kind, params, err := mime.ParseMediaType(msg.Header.Get("Content-Type"))
	require.NoError(t, err)
	require.Equal(t, "multipart/alternative", kind)
	parts := make(map[string]string)
	r := multipart.NewReader(msg.Body, params["boundary"])
	for {
		p, err := r.NextPart() // decodes quoted-printable
		if errors.Is(err, io.EOF) {
			return parts
		}
		require.NoError(t, err)
		body, err := io.ReadAll(p)
		require.NoError(t, err)
		kind, _, err := mime.ParseMediaType(p.Header.Get("Content-Type"))
		require.NoError(t, err)
		parts[kind] = strings.ReplaceAll(string(body), "\r\n", "\n")
	}
}

// untilMails waits for n mails.
func (s *smtpServer) untilMails(n int) {
	s.t.Helper()
	require.Eventually(s.t, func() bool { return len(s.caught()) >= n }, patience, time.Millisecond)
}
