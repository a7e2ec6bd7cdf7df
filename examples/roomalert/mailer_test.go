package main

import (
	"context"
	netmail "net/mail"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

func mustAddress(t *testing.T, text string) *netmail.Address {
	t.Helper()
	a, err := netmail.ParseAddress(text)
	require.NoError(t, err)
	return a
}

// mailing is a mailer at work.
type mailing struct {
	*mailer
	t        *testing.T
	out, err output
	stop     context.CancelFunc
	finish   chan struct{}
	done     chan error
}

func startMailer(t *testing.T, s *state, addr string) *mailing {
	t.Helper()
	m := &mailing{t: t, finish: make(chan struct{}), done: make(chan error, 1)}
	client, err := newSMTPClient(smtpConfig{addr: addr})
	require.NoError(t, err)
	m.mailer = &mailer{
		state: s, compose: newComposer(mustAddress(t, "roomalert@example.com")), client: client, addr: addr,
		con: newConsole(&m.out, &m.err, false),
	}
	ctx, stop := context.WithCancel(context.Background())
	m.stop = stop
	go func() { m.done <- m.run(ctx, m.finish) }()
	t.Cleanup(stop)
	return m
}

// drain waits until everything is sent.
func (m *mailing) drain() {
	m.t.Helper()
	close(m.finish)
	require.NoError(m.t, <-m.done)
}

// alerts fills the outbox with n mails.
func alerts(t *testing.T, s *state, n int) {
	t.Helper()
	for i := range n {
		next := s.applied[0]
		require.NoError(t, s.apply(hot(0, next, "a", int(next), []float64{31, 27}[i%2]), "example.com"))
	}
}

func TestMailsGoOutInOrderAndOnce(t *testing.T) {
	server := startSMTPServer(t)
	s := memState(t, vfs.NewMem())
	defer func() { require.NoError(t, s.close()) }()
	alerts(t, s, 4)
	m := startMailer(t, s, server.addr)
	server.untilMails(4)
	alerts(t, s, 2) // while it is idle
	m.drain()
	require.Len(t, server.caught(), 6)
	require.Equal(t, int64(6), s.snapshot().Mails)
	require.Contains(t, m.out.String(), "mail to a@example.com: Alert: Room a, Hotel is at 31.0 °C, limit 30 °C\n"+
		"mail to a@example.com: Resolved: Room a, Hotel is back to 27.0 °C\n")
	require.Empty(t, m.err.String())
}

func TestServerThatIsAwayLosesNothing(t *testing.T) {
	server := newSMTPServer(t)
	s := memState(t, vfs.NewMem())
	defer func() { require.NoError(t, s.close()) }()
	alerts(t, s, 2)
	m := startMailer(t, s, server.addr)
	require.Eventually(t, func() bool { return m.trouble.Load() != nil }, patience, tick)
	require.Contains(t, *m.trouble.Load(), "SMTP server "+server.addr+": dial tcp "+server.addr)
	require.Contains(t, m.err.String(), "trying again until it works")
	server.start()
	server.untilMails(2)
	server.stop() // and away again
	alerts(t, s, 2)
	require.Eventually(t, func() bool { return m.trouble.Load() != nil }, patience, tick)
	server.start()
	m.drain()
	require.Len(t, server.caught(), 4)
	require.Equal(t, int64(4), s.snapshot().Mails)
	require.Nil(t, m.trouble.Load())
}

func TestTemporaryAnswersAreTriedAgain(t *testing.T) {
	server := startSMTPServer(t)
	var asked atomic.Int32
	server.answer(func(stage string, _ *caughtMail) error {
		if stage == []string{"mail", "rcpt", "data"}[asked.Load()%3] && asked.Add(1) <= 3 {
			return status(451, "greylisted, come back later")
		}
		return nil
	})
	s := memState(t, vfs.NewMem())
	defer func() { require.NoError(t, s.close()) }()
	alerts(t, s, 2)
	m := startMailer(t, s, server.addr)
	m.drain()
	require.Len(t, server.caught(), 2)
	require.Contains(t, m.err.String(), "greylisted, come back later")
	n := s.snapshot()
	require.Equal(t, int64(2), n.Mails)
	require.Empty(t, n.failed)
}

func TestRefusedMailsAreKeptAndDoNotBlockTheNext(t *testing.T) {
	server := startSMTPServer(t)
	var first atomic.Bool
	server.answer(func(stage string, _ *caughtMail) error {
		if stage == "rcpt" && first.CompareAndSwap(false, true) {
			return status(550, "no such user")
		}
		return nil
	})
	s := memState(t, vfs.NewMem())
	defer func() { require.NoError(t, s.close()) }()
	alerts(t, s, 3)
	m := startMailer(t, s, server.addr)
	m.drain()
	require.Len(t, server.caught(), 2)
	n := s.snapshot()
	require.Equal(t, int64(2), n.Mails)
	require.Len(t, n.failed, 1)
	require.Contains(t, n.failed[0].Reason, "no such user")
	require.Contains(t, m.err.String(), "cannot be delivered: Alert: Room a, Hotel is at 31.0 °C, limit 30 °C: ")
}

func TestMailThatCannotBeComposedIsKept(t *testing.T) {
	server := startSMTPServer(t)
	s := memState(t, vfs.NewMem())
	defer func() { require.NoError(t, s.close()) }()
	o := hot(0, 0, "a", 0, 31)
	o.device.Owner = "nobody"
	require.NoError(t, s.apply(o, "example.com"))
	m := startMailer(t, s, server.addr)
	m.drain()
	require.Empty(t, server.caught())
	require.Len(t, s.snapshot().failed, 1)
}

func TestMailerStopsWhileItWaits(t *testing.T) {
	server := newSMTPServer(t)
	s := memState(t, vfs.NewMem())
	defer func() { require.NoError(t, s.close()) }()
	alerts(t, s, 1)
	m := startMailer(t, s, server.addr)
	require.Eventually(t, func() bool { return m.trouble.Load() != nil }, patience, tick)
	m.stop()
	require.NoError(t, <-m.done)
	require.Equal(t, 1, s.snapshot().waiting)
}

// The same mail, with the same Message-ID, goes out again when nobody knows
// whether it arrived.
func TestMailOnTheWireIsSentAgain(t *testing.T) {
	server := startSMTPServer(t)
	s := memState(t, vfs.NewMem())
	defer func() { require.NoError(t, s.close()) }()
	alerts(t, s, 1)
	var cut atomic.Bool
	server.answer(func(stage string, m *caughtMail) error {
		if stage == "data" && cut.CompareAndSwap(false, true) {
			server.keep(m)
			return status(421, "lost my mind after I took it")
		}
		return nil
	})
	m := startMailer(t, s, server.addr)
	m.drain()
	ids := server.ids()
	require.Len(t, ids, 2)
	require.Equal(t, ids[0], ids[1])
	require.Equal(t, int64(1), s.snapshot().Mails)
}
