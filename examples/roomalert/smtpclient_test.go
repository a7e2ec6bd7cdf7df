package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/wneessen/go-mail"
)

// selfSigned returns a server's TLS configuration for 127.0.0.1, and a file with
// the authority that signs it.
func selfSigned(t *testing.T) (server *tls.Config, caFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:        true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	cert := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	file := write(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}, file
}

func clientOf(t *testing.T, c smtpConfig) *smtpClient {
	t.Helper()
	s, err := newSMTPClient(c)
	require.NoError(t, err)
	t.Cleanup(s.hangUp)
	return s
}

func sampleMsg(t *testing.T) *mail.Msg {
	t.Helper()
	l := sampleLetter(raised)
	m, err := newComposer(mustAddress(t, "roomalert@example.com")).compose(&l)
	require.NoError(t, err)
	return m
}

func TestOneSessionForManyMails(t *testing.T) {
	server := startSMTPServer(t)
	c := clientOf(t, smtpConfig{addr: server.addr})
	for range 3 {
		require.NoError(t, c.send(t.Context(), sampleMsg(t)))
	}
	require.Len(t, server.caught(), 3)
	require.EqualValues(t, 1, server.sessions())
	c.hangUp()
	require.NoError(t, c.send(t.Context(), sampleMsg(t)))
	require.EqualValues(t, 2, server.sessions())
}

func TestLoginNeedsStartTLS(t *testing.T) {
	config, ca := selfSigned(t)
	server := newSMTPServer(t)
	server.user, server.password = "me", "secret"
	server.start() // without TLS
	login := smtpConfig{addr: server.addr, user: "me", password: "secret", tlsCA: ca}
	require.ErrorContains(t, clientOf(t, login).send(t.Context(), sampleMsg(t)), "STARTTLS")
	require.Zero(t, server.logins(), "the password is not sent in the clear")
	server.stop()

	server.tls = config
	server.start()
	require.NoError(t, clientOf(t, login).send(t.Context(), sampleMsg(t)))
	require.Equal(t, 1, server.logins())

	login.password = "wrong"
	err := clientOf(t, login).send(t.Context(), sampleMsg(t))
	require.Error(t, err)
	var no *refusal
	require.NotErrorAs(t, err, &no, "it is not about this mail")

	login.tlsCA = "" // the system's authorities do not know the server
	require.ErrorContains(t, clientOf(t, login).send(t.Context(), sampleMsg(t)), "certificate")
	require.Len(t, server.caught(), 1)
}

func TestStartTLSIsTakenWhereItIsOffered(t *testing.T) {
	config, ca := selfSigned(t)
	server := newSMTPServer(t)
	server.tls = config
	server.start()
	require.NoError(t, clientOf(t, smtpConfig{addr: server.addr, tlsCA: ca}).send(t.Context(), sampleMsg(t)))
	require.True(t, server.caught()[0].tls)
}

func TestWhichAnswersAreFinal(t *testing.T) {
	server := startSMTPServer(t)
	for _, c := range []struct {
		stage string
		code  int
		final bool
	}{
		{"mail", 451, false}, {"rcpt", 451, false}, {"data", 451, false}, {"data", 421, false},
		{"mail", 550, false}, // of the sender: the next mail would fare the same
		{"rcpt", 550, true}, {"data", 554, true}, {"data", 552, true},
	} {
		server.answer(func(stage string, _ *caughtMail) error {
			if stage == c.stage {
				return status(c.code, "no")
			}
			return nil
		})
		client := clientOf(t, smtpConfig{addr: server.addr})
		err := client.send(t.Context(), sampleMsg(t))
		require.ErrorContains(t, err, "no")
		var no *refusal
		if c.final {
			require.ErrorAs(t, err, &no, "%s %d", c.stage, c.code)
		} else {
			require.NotErrorAs(t, err, &no, "%s %d", c.stage, c.code)
		}
		server.answer(nil)
		require.NoError(t, client.send(t.Context(), sampleMsg(t)), "another session works")
	}
}

// A server that takes the mail and then hangs up has taken the mail.
func TestServerThatEndsTheSessionAfterTheMail(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan struct{})
	go func() {
		defer close(served)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		say := func(line string) { _, _ = conn.Write([]byte(line + "\r\n")) }
		say("220 here")
		r := bufio.NewReader(conn)
		for body := false; ; {
			line, err := r.ReadString('\n')
			switch line = strings.TrimSpace(line); {
			case err != nil:
				return
			case body && line == ".":
				say("250 taken")
				return
			case body:
			case line == "DATA":
				say("354 go on")
				body = true
			default:
				say("250 ok")
			}
		}
	}()
	c := clientOf(t, smtpConfig{addr: l.Addr().String()})
	require.NoError(t, c.send(t.Context(), sampleMsg(t)))
	<-served
	require.NoError(t, l.Close())
	require.ErrorContains(t, c.send(t.Context(), sampleMsg(t)), "refused", "the next one opens another session")
}

func TestStopLetsTheMailOnTheWireFinish(t *testing.T) {
	server := startSMTPServer(t)
	c := clientOf(t, smtpConfig{addr: server.addr})
	ctx, stop := context.WithCancel(t.Context())
	server.answer(func(stage string, _ *caughtMail) error {
		if stage == "data" {
			stop()
		}
		return nil
	})
	require.NoError(t, c.send(ctx, sampleMsg(t)))
	require.Len(t, server.caught(), 1)
}

func TestStopCutsAServerThatHangs(t *testing.T) {
	server := startSMTPServer(t)
	hang := make(chan struct{})
	defer close(hang)
	c := clientOf(t, smtpConfig{addr: server.addr})
	ctx, stop := context.WithCancel(t.Context())
	server.answer(func(stage string, _ *caughtMail) error {
		if stage == "data" {
			stop()
			<-hang
		}
		return nil
	})
	begun := time.Now()
	require.Error(t, c.send(ctx, sampleMsg(t)))
	require.Less(t, time.Since(begun), smtpTimeout)
}

// A server that accepts the connection and says nothing must not delay a stop.
func TestStopWhileConnecting(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		if conn, err := l.Accept(); err == nil {
			stop()
			_, _ = bufio.NewReader(conn).ReadByte() // until it is cut
			_ = conn.Close()
		}
	}()
	begun := time.Now()
	require.Error(t, clientOf(t, smtpConfig{addr: l.Addr().String()}).send(ctx, sampleMsg(t)))
	require.Less(t, time.Since(begun), smtpTimeout)
}

// A server may have accepted a connection that its client does not know of yet.
func TestStopBeforeTheConnectionIsKnown(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	c := clientOf(t, smtpConfig{addr: l.Addr().String()})
	c.stop()
	_, err = c.connect(t.Context(), "tcp", l.Addr().String())
	require.ErrorIs(t, err, context.Canceled)
	conn, err := l.Accept()
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	_, err = conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
}

func TestCatcherTakesMails(t *testing.T) {
	c, err := startCatcher()
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(c.addr, "127.0.0.1:"))
	client := clientOf(t, smtpConfig{addr: c.addr})
	for range 2 {
		require.NoError(t, client.send(t.Context(), sampleMsg(t)))
	}
	client.hangUp()
	require.NoError(t, c.close())
	require.EqualValues(t, 2, c.caught.Load())
}
