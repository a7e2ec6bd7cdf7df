package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/globaltable/enrich/stream"
)

// app is one run.
type app struct {
	cfg *config
	in  *inputs
	con *console

	dirs    *stateDirs
	state   *state
	compose *composer
	mailer  *mailer
	brokers []string
	opts    []kgo.Opt
	cluster *cluster
	load    *loader
	phase   atomic.Pointer[string] // what it is doing
	drops   dropNotes
	table   atomic.Pointer[func() string] // its state; nil before it is opened

	closers []func() error // in the order of opening
}

// runApp runs the program and returns its exit code. The error says why that is
// not [exitDone], if there is more to say than was said.
func runApp(ctx context.Context, cfg *config, in *inputs, con *console) (code int, err error) {
	a := &app{cfg: cfg, in: in, con: con}
	a.setPhase("starting")
	defer func() {
		if cerr := a.close(); cerr != nil {
			code, err = max(code, exitFailed), errors.Join(err, cerr)
		}
	}()
	if err := a.open(); err != nil {
		return exitFailed, err
	}
	return a.run(ctx)
}

func (a *app) setPhase(text string) { a.phase.Store(&text) }

func (a *app) onClose(fn func() error) { a.closers = append(a.closers, fn) }

func (a *app) close() error {
	var errs []error
	for i := len(a.closers) - 1; i >= 0; i-- {
		errs = append(errs, a.closers[i]())
	}
	a.closers = nil
	return errors.Join(errs...)
}

// open starts everything that does not need to wait for anyone.
func (a *app) open() (err error) {
	if a.dirs, err = openDirs(a.cfg.state); err != nil {
		return err
	}
	a.onClose(a.dirs.close)
	a.compose = newComposer(a.cfg.from)
	if a.state, err = openState(a.dirs.alerts(), stateOptions(a.dirs.temporary)); err != nil {
		return err
	}
	a.onClose(a.state.close)
	if err := a.openMailer(); err != nil {
		return err
	}
	return a.openKafka()
}

// stateOptions returns the options of a store that is small.
func stateOptions(temporary bool) *pebble.Options {
	o := &pebble.Options{
		CacheSize: 1 << 20, MemTableSize: 1 << 20, FormatMajorVersion: pebble.FormatNewest,
		FS: vfs.Default, Logger: discardLog{pebble.DefaultLogger},
	}
	if temporary {
		o.FS = vfs.NewMem()
	}
	return o
}

// discardLog keeps of Pebble's log what ends the process: a write ahead log
// that cannot be written leaves nothing else to do.
type discardLog struct{ pebble.Logger }

func (discardLog) Infof(string, ...any)  {}
func (discardLog) Errorf(string, ...any) {}

func (a *app) openMailer() error {
	smtp := a.cfg.smtp
	if smtp.addr == "" {
		c, err := startCatcher()
		if err != nil {
			return err
		}
		a.onClose(c.close)
		smtp.addr = c.addr
	}
	client, err := newSMTPClient(smtp)
	if err != nil {
		return err
	}
	a.mailer = &mailer{state: a.state, compose: a.compose, client: client, addr: smtp.addr, con: a.con}
	return nil
}

func (a *app) openKafka() (err error) {
	if a.opts, err = a.cfg.kafka.clientOpts(); err != nil {
		return err
	}
	a.brokers = a.cfg.kafka.brokers
	if len(a.brokers) == 0 {
		dir := ""
		if !a.dirs.temporary {
			dir = a.dirs.broker()
		}
		broker, err := startBroker(dir)
		if err != nil {
			return err
		}
		a.onClose(func() error { broker.Close(); return nil })
		a.brokers = broker.ListenAddrs()
		a.con.note("the broker runs in this process, on %s", a.brokers[0])
	}
	if a.cluster, err = newCluster(a.brokers, a.opts, a.con); err != nil {
		return err
	}
	a.onClose(func() error { a.cluster.close(); return nil })
	a.load = &loader{c: a.cluster, brokers: a.brokers, opts: a.opts, con: a.con, own: len(a.cfg.kafka.brokers) == 0}
	return nil
}

// run works until the end of the readings, or until ctx ends.
func (a *app) run(ctx context.Context) (int, error) {
	work, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	finish := make(chan struct{})
	mailed := make(chan struct{})
	go func() {
		defer close(mailed)
		if err := a.mailer.run(work, finish); err != nil {
			fail(err)
		}
	}()
	shown := make(chan struct{})
	showing, hide := context.WithCancel(context.Background())
	go func() {
		defer close(shown)
		showProgress(showing, a.con, a.progressLine)
	}()

	caughtUp, err := a.pipeline(work)
	if err == nil && work.Err() == nil {
		a.setPhase("sending mails")
		close(finish)
		<-mailed
	}
	// A failure of the mailer ends work, and is then the one to report.
	if cause := context.Cause(work); cause != nil && ctx.Err() == nil {
		err = cause
	}
	completed := err == nil && ctx.Err() == nil
	fail(nil)
	<-mailed
	if ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, stream.ErrShutdownTimeout)) {
		// What could not be committed in time is handed out again, and
		// recognised.
		err = nil
	}
	err = errors.Join(err, a.state.flush())
	hide()
	<-shown
	return a.finish(ctx, completed, caughtUp, err)
}

// finish prints the summary and chooses the exit code.
func (a *app) finish(ctx context.Context, completed, caughtUp bool, err error) (int, error) {
	if a.dirs.temporary && len(a.cfg.kafka.brokers) > 0 {
		a.forgetGroup(ctx)
	}
	n := a.state.snapshot()
	code := exitDone
	switch {
	case err != nil:
		code = exitFailed
	case !completed && !(a.cfg.follow && caughtUp):
		code = exitInterrupted
	}
	if code != exitDone {
		a.con.note("stopped before the end; %s", a.howToGoOn())
	}
	if n.waiting > 0 && a.dirs.temporary {
		a.con.note("%d mails were waiting, and are lost: only -state keeps them", n.waiting)
	}
	a.printSummary(&n, code == exitDone && a.cfg.keep)
	if code == exitDone && a.cfg.keep {
		<-ctx.Done()
	}
	return code, err
}

func (a *app) howToGoOn() string {
	if a.dirs.temporary {
		return "without -state nothing is kept, and the next run begins anew"
	}
	return "start again with -state " + a.cfg.state + " to go on from here"
}

// forgetGroup removes the consumer group of a run that leaves nothing behind.
// If that fails the brokers forget it by themselves in time.
func (a *app) forgetGroup(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_, _ = a.cluster.adm.DeleteGroups(ctx, a.state.group())
}

// noteLog is a log that ends up among the console's remarks.
func noteLog(con *console) *slog.Logger {
	return slog.New(slog.NewTextHandler(noteWriter{con}, &slog.HandlerOptions{
		Level: slog.LevelWarn,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
				return slog.Attr{}
			}
			return a
		},
	}))
}

type noteWriter struct{ con *console }

var _ io.Writer = noteWriter{}

func (w noteWriter) Write(b []byte) (int, error) {
	w.con.note("%s", strings.TrimSpace(string(b)))
	return len(b), nil
}
