package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// The first and the longest wait between two attempts to send a mail.
const (
	firstRetry = 200 * time.Millisecond
	lastRetry  = 10 * time.Second
)

// mailer sends the mails of the outbox, one at a time and in order. A server
// that is away, or says "later", keeps it waiting for as long as it takes. A
// mail leaves the outbox after the server has taken it: one that was on the
// wire when the process ended is sent again, with the same Message-ID.
type mailer struct {
	state   *state
	compose *composer
	client  *smtpClient
	addr    string
	con     *console

	trouble atomic.Pointer[string] // why the first mail waits; nil if it does not
}

// run sends until ctx ends, or until the outbox is empty after finish was
// closed. Its error is one of the state, which ends the program.
func (m *mailer) run(ctx context.Context, finish <-chan struct{}) error {
	defer m.client.hangUp()
	attempt := 0
	for ctx.Err() == nil {
		q, ok := m.state.head()
		if !ok {
			m.client.hangUp()
			select {
			case <-m.state.wake:
				continue
			case <-finish:
				if _, ok := m.state.head(); ok {
					continue
				}
				return nil
			case <-ctx.Done():
				return nil
			}
		}
		err := m.deliver(ctx, &q.letter)
		if no, refused := errors.AsType[*refusal](err); refused {
			m.con.note("cannot be delivered: %s: %v", q.letter.subject(), no)
			err = m.state.refused(no.Error())
		} else if err == nil {
			if err = m.state.delivered(); err == nil {
				m.con.result("mail to %s: %s", q.letter.Device.Owner, q.letter.subject())
			}
		} else if ctx.Err() == nil {
			m.wait(ctx, attempt, err)
			attempt++
			continue
		} else {
			return nil
		}
		if err != nil {
			return err
		}
		attempt = 0
		m.trouble.Store(nil)
	}
	return nil
}

func (m *mailer) deliver(ctx context.Context, l *letter) error {
	msg, err := m.compose.compose(l)
	if err != nil {
		return &refusal{err}
	}
	return m.client.send(ctx, msg)
}

// wait backs off, visibly.
func (m *mailer) wait(ctx context.Context, attempt int, err error) {
	text := fmt.Sprintf("SMTP server %s: %v", m.addr, err)
	if old := m.trouble.Swap(&text); old == nil || *old != text {
		m.con.note("%s; trying again until it works", text)
	}
	d := min(firstRetry<<min(attempt, 10), lastRetry)
	d = d/2 + rand.N(d/2+1) // so that many that wait do not all come back at once
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
